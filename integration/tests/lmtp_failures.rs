//! Frontends and backends that fail in the middle of a delivery.

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::clients::{Lmtp, message};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::post::{Post, arrived};

/// From a frontend's return, on a busy machine.
const DRAINED: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(20);

/// Short enough for a story.
const IMPATIENT: &str = "[lmtp.upstream]\nconnect_timeout = \"1s\"\nreply_timeout = \"2s\"\n\
                         delivery_timeout = \"4s\"\nprobe = \"1s\"";

/// What happens to the frontend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Blow {
    /// Every process of Cyrus dies; connections are refused.
    Kill,
    /// Every process freezes; connections stay open and nothing answers.
    Pause,
}

impl Blow {
    async fn strike(self, murder: &Murder) -> Result<()> {
        match self {
            Self::Kill => murder.fe1.kill_cyrus().await,
            Self::Pause => murder.fe1.pause().await,
        }
    }

    async fn heal(self, murder: &Murder) -> Result<()> {
        match self {
            Self::Kill => murder.fe1.start_cyrus().await?,
            Self::Pause => murder.fe1.unpause().await?,
        }
        murder.fe1.wait_until_up().await.map(drop)
    }
}

/// How far the client has come when it happens.
const STEPS: [&str; 6] = ["LHLO", "MAIL", "RCPT", "DATA", "half of the text", "the text"];

/// One message to alice and bob, and the blow at a step: both are told 250.
async fn deliver(post: &Post, step: &str, blow: Blow, id: &str) -> Result<()> {
    let murder = &post.stage.murder;
    let mut lmtp = post.lmtp().await?;
    let text = message(id);
    let (head, tail) = text.split_at(text.len() / 2);
    let strike = async |at: &str| if at == step { blow.strike(murder).await } else { Ok(()) };
    strike("LHLO").await?;
    anyhow::ensure!(lmtp.run("MAIL FROM:<sender@example.org>").await?.is_ok());
    strike("MAIL").await?;
    for user in ["alice", "bob"] {
        let reply = lmtp.run(&format!("RCPT TO:<{user}>")).await?;
        anyhow::ensure!(reply.is_ok(), "{user}: {reply:?}");
    }
    strike("RCPT").await?;
    let reply = lmtp.run("DATA").await?;
    anyhow::ensure!(reply.code == 354, "{reply:?}");
    strike("DATA").await?;
    lmtp.send_raw(head.as_bytes()).await?;
    strike("half of the text").await?;
    lmtp.send_raw(format!("{tail}.\r\n").as_bytes()).await?;
    strike("the text").await?;
    for user in ["alice", "bob"] {
        let reply = lmtp.reply().await?;
        anyhow::ensure!(reply.is_ok(), "{user}: {reply:?}");
    }
    anyhow::ensure!(lmtp.run("NOOP").await?.is_ok(), "one reply each, and no more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_struck_at_any_step_costs_no_message() -> Result<()> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    let only = [murder.fe1.lmtp_address()];
    let post = Post::start_in(murder, &only, IMPATIENT).await?;
    let murder = &post.stage.murder;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut count = 0;
    for blow in [Blow::Kill, Blow::Pause] {
        for step in STEPS {
            let id = format!("{blow:?}-{}", step.replace(' ', "-"));
            deliver(&post, step, blow, &id).await.with_context(|| id.clone())?;
            blow.heal(murder).await?;
            count += 1;
            // Exactly once: what came twice is recognised by its Message-ID.
            for user in ["alice", "bob"] {
                let waited = arrived(&murder.fe2, user, "INBOX", count, DRAINED).await;
                waited.with_context(|| format!("{id}, {user}"))?;
            }
        }
    }
    post.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_recipients_only_those_on_the_dead_backend_are_queued() -> Result<()> {
    let post = Post::start(Plan::chosen()?, IMPATIENT).await?;
    let murder = &post.stage.murder;
    let users: Vec<String> = (0..50).map(|n| format!("u{n:03}")).collect();
    for (n, user) in users.iter().enumerate() {
        murder.create_user(user, murder.backends()[n % 2]).await?;
    }
    murder.be2.kill_cyrus().await?;
    let to: Vec<&str> = users.iter().map(String::as_str).collect();
    let text = message("fifty") + &format!("{}\r\n", "x".repeat(76)).repeat(3000);
    let deliveries = post.lmtp().await?.deliver(&to, &text).await?;
    for (n, delivery) in deliveries.iter().enumerate() {
        let verdict = delivery.verdict();
        assert!(verdict.is_ok(), "{delivery:?}");
        let queued = verdict.lines.concat().contains("Queued as");
        assert_eq!(queued, n % 2 == 1, "{delivery:?}");
    }
    let status = post.stage.ravenry.status().await?;
    assert_eq!(status["lmtp"]["queued"].as_u64(), Some(25), "{status}");
    // One message, one text, and nobody in it who has it already.
    let queued = post.stage.ravenry.cli(&["queue", "list", "--json"]).await?.success()?.stdout;
    let queued: serde_json::Value = serde_json::from_str(&queued).context("one message")?;
    let id = queued["id"].as_str().context("no id")?;
    let shown = post.stage.ravenry.cli(&["queue", "show", id, "--json"]).await?.success()?.stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    let open = shown["recipients"].as_array().context("nobody waits")?;
    let waiting: Vec<&str> = open.iter().filter_map(|one| one["address"].as_str()).collect();
    let odd: Vec<&str> = users.iter().skip(1).step_by(2).map(String::as_str).collect();
    assert_eq!(waiting, odd);
    let (bytes, on_disk) = (status["queue"]["bytes"].as_u64(), status["queue"]["disk_bytes"].as_u64());
    let len = text.len() as u64;
    assert!(bytes.is_some_and(|bytes| (len..len + 1000).contains(&bytes)), "{status}");
    assert!(on_disk.is_some_and(|bytes| bytes < len + 20_000), "{status}");
    for user in users.iter().step_by(2) {
        arrived(&murder.be1, user, "INBOX", 1, SOON).await?;
    }
    murder.be2.start_cyrus().await?;
    murder.be2.wait_until_up().await?;
    for (n, user) in users.iter().enumerate() {
        arrived(murder.backends()[n % 2], user, "INBOX", 1, DRAINED).await?;
    }
    // That it is there is written down a moment later.
    post.stage.ravenry.wait_for(SOON, "an empty queue", |status| status["queue"]["messages"] == 0).await?;
    post.stop().await
}

/// A frontend that wants a login, as one that lost its `-a`, must not bounce what comes; the other one gets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_that_wants_a_login_is_passed_over() -> Result<()> {
    // A backend's lmtpd is such a one.
    let murder = Murder::prepare(Plan::chosen()?).await?;
    let frontends = [murder.be1.lmtp_address(), murder.fe1.lmtp_address()];
    let post = Post::start_in(murder, &frontends, IMPATIENT).await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    for n in 0..4 {
        let delivery =
            Lmtp::connect(post.address()).await?.deliver_one("alice", &format!("login-{n}")).await?;
        assert!(delivery.verdict().is_ok(), "{delivery:?}");
    }
    arrived(&murder.fe1, "alice", "INBOX", 4, SOON).await?;
    let why = eventually(SOON, "the misconfigured one known", async || {
        let status = ravenry.status().await?;
        Ok(status["lmtp"]["frontends"][0]["down"].as_str().map(str::to_owned))
    });
    let (why, _) = why.await?;
    assert!(why.contains("30 Authentication required"), "{why}");
    post.stop().await
}

/// The same with an account for it: as frontends do at backends.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_cyrus_that_wants_a_login_gets_it() -> Result<()> {
    let plan = Plan { mechanisms: "PLAIN SCRAM-SHA-256".into(), ..Plan::chosen()? };
    let murder = Murder::prepare(plan).await?;
    let only = [murder.be1.lmtp_address()];
    let login = format!("{IMPATIENT}\nuser = \"murder\"\npassword_file = \"{{home}}/master-password\"");
    let post = Post::start_in(murder, &only, &login).await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let delivery = post.lmtp().await?.deliver_one("alice", "after-a-login").await?;
    assert!(delivery.verdict().is_ok(), "{delivery:?}");
    assert!(!delivery.verdict().lines.concat().contains("Queued"), "{delivery:?}");
    arrived(&murder.be1, "alice", "INBOX", 1, SOON).await?;
    let status = ravenry.status().await?;
    assert!(status["lmtp"]["frontends"][0]["down"].is_null(), "{status}");
    post.stop().await
}
