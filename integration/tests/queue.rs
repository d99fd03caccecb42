//! Mail that could not be delivered at once: kept, delivered as soon as that is possible, or returned.
//!
//! `QUEUE_MESSAGES` says how many messages the story sends; CI sends 1,000.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mail_parser::{MessageParser, MimeHeaders, PartType};
use ravenry_integration::clients::Lmtp;
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Node, Plan};
use ravenry_integration::post::{Post, arrived};
use ravenry_integration::postbox::{Postbox, Submitted};
use ravenry_integration::ravenry::Ravenry;
use serde_json::Value;
use tokio::task::JoinSet;

/// Enough for one delivery on a busy machine.
const DELIVERED: Duration = Duration::from_secs(30);
/// Senders at a time.
const SENDERS: usize = 8;

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// As an MTA with a queue of its own: tries until there is a 250.
async fn send(address: SocketAddr, to: &str, id: &str) {
    let mut session: Option<Lmtp> = None;
    loop {
        let connected = match session.take() {
            Some(session) => Ok(session),
            None => Lmtp::connect(address).await,
        };
        if let Ok(mut lmtp) = connected {
            lmtp.set_patience(Duration::from_secs(90));
            if let Ok(delivery) = lmtp.deliver_one(to, id).await {
                assert!(!delivery.verdict().is_permanent(), "{to} bounces: {delivery:?}");
                if delivery.verdict().is_ok() {
                    return;
                }
                session = Some(lmtp);
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Sends messages `PREFIX-0` and so on, from several senders in order; returns when all have their 250.
async fn send_all(address: SocketAddr, to: &'static str, prefix: &'static str, count: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let next = next.clone();
        senders.spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return;
                }
                send(address, to, &format!("{prefix}-{n}")).await;
            }
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender?;
    }
    Ok(())
}

/// The subjects in a user's inbox, in the order of their arrival.
async fn subjects(frontend: &Node, user: &str) -> Result<Vec<String>> {
    let mut imap = frontend.imap(user).await?;
    imap.set_patience(Duration::from_secs(60));
    imap.select("INBOX").await?.ok()?;
    let found = imap.run("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?;
    let text = found.untagged.join("\n");
    Ok(text.lines().filter_map(|line| line.trim().strip_prefix("Subject: ")).map(str::to_owned).collect())
}

async fn queue(ravenry: &Ravenry) -> Result<Vec<Value>> {
    let listed = ravenry.cli(&["queue", "list", "--json"]).await?.success()?;
    listed.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

async fn wait_for_queue(ravenry: &Ravenry, messages: u64, limit: Duration) -> Result<Duration> {
    let is = |status: &Value| status.pointer("/queue/messages").and_then(Value::as_u64) == Some(messages);
    ravenry.wait_for(limit, &format!("{messages} messages in the queue"), is).await
}

/// The status of a report, field by field, and the text that came back.
fn understand(report: &Submitted) -> Result<(BTreeMap<String, String>, String)> {
    ensure!(report.from.starts_with("MAIL FROM:<>"), "{}", report.from);
    ensure!(report.to == ["RCPT TO:<sender@example.org>"], "{:?}", report.to);
    let parsed = MessageParser::default().parse(&report.text).context("no message")?;
    let kind = parsed.content_type().context("no type")?;
    ensure!(kind.attribute("report-type") == Some("delivery-status"), "{kind:?}");
    let status = parsed.part(2).context("no status")?;
    let status = match &status.body {
        PartType::Text(text) => text.to_string(),
        PartType::Binary(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => anyhow::bail!("{other:?}"),
    };
    let fields = status.lines().filter_map(|line| line.split_once(": "));
    let returned = parsed.part(3).context("nothing returned")?;
    let PartType::Message(returned) = &returned.body else { anyhow::bail!("{returned:?}") };
    let subject = returned.subject().unwrap_or_default().to_owned();
    Ok((fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(), subject))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_was_down_gets_its_mail_within_seconds_and_senders_learn_what_cannot_be_delivered()
-> Result<()> {
    let count = number("QUEUE_MESSAGES", 1000);
    let postbox = Postbox::open().await?;
    let extra = format!(
        "[spool]\nsubmission = \"{}\"\nreport_from = \"MAILER-DAEMON@murder.test\"",
        postbox.address()
    );
    let mut post = Post::start(Plan::chosen()?, &extra).await?;
    let murder = &post.stage.murder;
    for (user, backend) in
        [("alice", &murder.be1), ("carol", &murder.be1), ("dave", &murder.be1), ("bob", &murder.be2)]
    {
        murder.create_user(user, backend).await?;
    }
    let mut admin = murder.fe1.imap("cyrus").await?;
    // Full: Cyrus asks only whether a mailbox is over its quota already.
    let mut carol = murder.fe1.imap("carol").await?;
    carol.append("INBOX", &format!("Subject: full\r\n\r\n{}\r\n", "x".repeat(4000))).await?.ok()?;
    admin.run("SETQUOTA user.carol (STORAGE 1)").await?.ok()?;

    murder.be1.stop_cyrus().await?;
    let address = post.address();
    let mut lmtp = post.lmtp().await?;
    // One message, one recipient on either backend: only the one that failed is queued.
    let both = lmtp
        .deliver(
            &["alice", "bob"],
            "Subject: both\r\nMessage-ID: <both@x>\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\nx\r\n",
        )
        .await?;
    assert!(both.iter().all(|delivery| delivery.verdict().is_ok()), "{both:?}");
    arrived(&murder.fe1, "bob", "INBOX", 1, DELIVERED).await?;
    let queued = queue(&post.stage.ravenry).await?;
    assert_eq!(queued.len(), 1, "{queued:?}");
    assert_eq!(queued[0]["open"].as_array().map(Vec::len), Some(1), "{queued:?}");
    assert_eq!(queued[0]["open"][0]["address"], "alice");
    // One that will be refused, one that cannot be delivered when all others can.
    for to in ["dave", "carol"] {
        assert!(lmtp.deliver_one(to, &format!("for-{to}")).await?.verdict().is_ok());
    }
    let dave = queue(&post.stage.ravenry).await?.into_iter().find(|m| m["open"][0]["address"] == "dave");
    let dave = dave.context("dave's message")?["id"].as_str().context("an id")?.to_owned();
    post.stage.ravenry.cli(&["queue", "hold", &dave]).await?.success()?;

    let began = Instant::now();
    send_all(address, "alice", "n", count).await?;
    println!("{count} messages queued in {:?}", began.elapsed());
    assert!(lmtp.deliver_one("bob", "meanwhile").await?.verdict().is_ok());
    arrived(&murder.fe1, "bob", "INBOX", 2, DELIVERED).await?;
    // The power fails in the middle of the outage.
    post.stage.ravenry.crash_and_restart().await?;
    wait_for_queue(&post.stage.ravenry, count as u64 + 3, DELIVERED).await?;
    // What was exported comes in again as it was.
    let murder = &post.stage.murder;
    let ravenry = &post.stage.ravenry;
    let exported = ravenry.home().join("exported");
    std::fs::create_dir(&exported)?;
    let text = ravenry.cli(&["queue", "cat", &dave]).await?.success()?.stdout;
    assert!(text.starts_with("Received: ") && text.contains("Subject: for-dave"), "{text}");
    ravenry.cli(&["queue", "export", &dave, "--directory", &exported.to_string_lossy()]).await?.success()?;
    ravenry.cli(&["queue", "delete", &dave]).await?.success()?;
    let json = exported.join(format!("{dave}.json"));
    let imported = ravenry.cli(&["queue", "import", &json.to_string_lossy()]).await?.success()?.stdout;
    let dave = imported.trim().to_owned();
    ravenry.cli(&["queue", "hold", &dave]).await?.success()?;
    assert_eq!(ravenry.cli(&["queue", "cat", &dave]).await?.success()?.stdout, text);

    murder.be1.start_cyrus().await?;
    murder.be1.wait_until_up().await?;
    let back = Instant::now();
    // New mail while the backlog drains.
    assert!(post.lmtp().await?.deliver_one("bob", "new").await?.verdict().is_ok());
    arrived(&murder.fe1, "bob", "INBOX", 3, DELIVERED).await?;
    let limit = Duration::from_secs(30 + count as u64 / 10);
    arrived(&murder.fe1, "alice", "INBOX", count as u32 + 1, limit).await?;
    println!("{count} messages drained {:?} after the backend's return", back.elapsed());
    let order: Vec<usize> = subjects(&murder.fe1, "alice")
        .await?
        .iter()
        .filter_map(|s| s.strip_prefix("n-")?.parse().ok())
        .collect();
    let early = order.iter().take(count / 2).filter(|n| **n < count / 2).count();
    assert!(early > count * 3 / 10, "roughly the oldest first: {order:?}");

    // Only carol, who is over quota, and dave, whose message is held, are left.
    wait_for_queue(ravenry, 2, DELIVERED).await?;
    let shown = ravenry.cli(&["queue", "list"]).await?.success()?.stdout;
    assert!(shown.contains("(452 4.2.2 ") && shown.contains(&format!("{dave}!")), "{shown}");
    // Deleted meanwhile: refused for good, and the sender is told.
    admin.run("SETACL user.dave cyrus lrswipkxtecda").await?.ok()?;
    admin.delete("user.dave").await?.ok()?;
    eventually(DELIVERED, "dave gone from the frontends", async || {
        let known = murder.fe1.lmtp().await?.deliver_one("dave", "probe").await?.rcpt.is_ok();
        let known_too = murder.fe2.lmtp().await?.deliver_one("dave", "probe").await?.rcpt.is_ok();
        Ok((!known && !known_too).then_some(()))
    })
    .await?;
    ravenry.cli(&["queue", "release", &dave]).await?.success()?;
    eventually(DELIVERED, "a report", async || Ok((postbox.kept().len() == 1).then_some(()))).await?;
    let (status, subject) = understand(&postbox.kept()[0])?;
    assert_eq!((status["Status"].as_str(), subject.as_str()), ("5.1.1", "for-dave"), "{status:?}");
    assert_eq!(status["Final-Recipient"], "rfc822; dave");
    assert_eq!(status["Action"], "failed");

    // Kept too long: the same for carol.
    let config = ravenry.home().join("ravenry.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace("[spool]\n", "[spool]\nexpiry = \"1s\"\nretry_max = \"1s\"\n"))?;
    post.stage.ravenry.terminate().await?;
    post.stage.ravenry.launch().await?;
    eventually(DELIVERED, "a second report", async || Ok((postbox.kept().len() == 2).then_some(()))).await?;
    let (status, subject) = understand(&postbox.kept()[1])?;
    assert_eq!((status["Status"].as_str(), subject.as_str()), ("5.4.7", "for-carol"), "{status:?}");
    assert!(status["Diagnostic-Code"].contains("452 4.2.2"), "{status:?}");
    wait_for_queue(&post.stage.ravenry, 0, DELIVERED).await?;
    let metrics = post.stage.ravenry.scrape().await?;
    assert!(metrics.contains("ravenry_queue_deliveries_total{outcome=\"expired\"} 1"), "{metrics}");
    post.stop().await
}
