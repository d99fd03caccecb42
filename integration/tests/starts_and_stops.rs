//! Ravenry is started and stopped while the master is down, and the master while Ravenry runs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::clients::{Line, Mupdate};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Dump, Murder, Plan};
use ravenry_integration::sight::Sight;
use ravenry_integration::stage::Stage;
use serde_json::Value;
use tokio::net::TcpStream;

const SHOWN: Duration = Duration::from_secs(5);
const SETTLED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_and_stops_while_the_master_is_down() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    let (murder, ravenry) = (&stage.murder, &mut stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let mut agreement = Agreement::begin(murder).await?.with_ravenry(ravenry.address());
    let mut alice = murder.fe1.imap("alice").await?;
    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.before").await?.ok()?;

    // SIGTERM: streams and sessions are closed bare, what was acknowledged is durable, and the exit status is 0.
    let mut stream = Mupdate::login(ravenry.address()).await?;
    stream.update().await?;
    let mut idle = Mupdate::login(ravenry.address()).await?;
    let known = lists(murder).await?;
    assert!(ravenry.terminate().await?.success());
    assert_eq!(last_words(&mut stream).await?, Vec::<String>::new());
    assert_eq!(last_words(&mut idle).await?, Vec::<String>::new());
    assert_eq!(lists(murder).await?, known, "the frontends keep what they know");

    // With a list on disk it serves.
    let start = Instant::now();
    ravenry.launch().await?;
    let serving = |status: &Value| status["state"] == "standing-in" && status["streams"] == 2;
    ravenry.wait_for(SETTLED, "standing in, with both streams", serving).await?;
    println!("both frontends were back {:.1?} after the start", start.elapsed());
    assert_eq!(lists(murder).await?, known, "and so does Ravenry");
    alice.create("INBOX.after").await?.ok()?;
    let mut sight = Sight::open(murder).await?;
    sight.active("user.alice.after", SHOWN).await?;
    sight.active("user.alice.before", SHOWN).await?;

    // Without one it does not listen, and says why.
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SETTLED).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SETTLED).await?;
    let known = lists(murder).await?;
    murder.mm.stop_cyrus().await?;
    assert!(ravenry.terminate().await?.success());
    let state = ravenry.home().join("state");
    tokio::fs::remove_dir_all(&state).await?;
    tokio::fs::create_dir(&state).await?;
    ravenry.launch().await?;
    let waiting =
        |status: &Value| status["state"] == "learning" && status["master"]["last_error"].is_string();
    ravenry.wait_for(SETTLED, "learning", waiting).await?;
    assert!(TcpStream::connect(ravenry.address()).await.is_err(), "it listens, without a list");
    let why = ravenry.status().await?["reason"].as_str().unwrap_or_default().to_owned();
    assert!(why.contains("no list"), "{why}");
    let told = ravenry.cli(&["status"]).await?.success()?.stdout;
    assert!(told.contains("learning") && told.contains(&why), "{told}");
    assert!(ravenry.log()?.contains(&why), "the log does not say why");
    // Longer than the frontends wait before they try again.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(TcpStream::connect(ravenry.address()).await.is_err());
    assert_eq!(lists(murder).await?, known, "the frontends keep what they know");
    assert!(alice.count("INBOX.after").await? == 0, "and serve it");

    // And it serves as soon as it may.
    murder.mm.start_cyrus().await?;
    let master = murder.mm.mupdate_address();
    eventually(SETTLED, "the master's port", async || Ok(TcpStream::connect(master).await.ok())).await?;
    let open = Instant::now();
    let address = ravenry.address();
    eventually(SETTLED, "Ravenry's port", async || Ok(TcpStream::connect(address).await.ok())).await?;
    println!("it listened {:.1?} after the master's port had opened", open.elapsed());
    ravenry.wait_for(SETTLED, "both streams", |status| status["streams"] == 2).await?;
    agreement.master_was_restarted().await?;
    alice.create("INBOX.at last").await?.ok()?;
    agreement.reached_within(SETTLED).await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_takes_the_master_out_for_maintenance() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    let (murder, ravenry) = (&stage.murder, &mut stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let mut agreement = Agreement::begin(murder).await?.with_ravenry(ravenry.address());
    let mut alice = murder.fe1.imap("alice").await?;
    let mut sight = Sight::open(murder).await?;
    let held = |status: &Value| status["state"] == "standing-in" && status["held_by_operator"] == true;

    println!("{}", ravenry.cli(&["stand-in"]).await?.success()?.stdout.trim());
    ravenry.wait_for(SHOWN, "standing in by order", held).await?;
    let told = ravenry.cli(&["status"]).await?.success()?.stdout;
    assert!(told.contains("held by an operator"), "{told}");
    alice.create("INBOX.one").await?.ok()?;
    sight.active("user.alice.one", SHOWN).await?;
    assert_eq!(murder.mm.mupdate().await?.find("user.alice.one").await?, None, "the master is left alone");

    // The maintenance: the master comes and goes, and so does Ravenry.
    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.two").await?.ok()?;
    murder.mm.start_cyrus().await?;
    murder.mm.wait_until_up().await?;
    agreement.master_was_restarted().await?;
    ravenry.crash_and_restart().await?;
    let back =
        |status: &Value| held(status) && status["streams"] == 2 && status["master"]["connected"] == true;
    ravenry.wait_for(SETTLED, "still standing in by order", back).await?;
    alice.create("INBOX.three").await?.ok()?;
    Sight::open(murder).await?.active("user.alice.three", SHOWN).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(held(&ravenry.status().await?), "until somebody says otherwise");
    let mut master = murder.mm.mupdate().await?;
    for name in ["user.alice.one", "user.alice.two", "user.alice.three"] {
        assert_eq!(master.find(name).await?, None, "the master was given {name} before its time");
    }

    println!("{}", ravenry.cli(&["follow"]).await?.success()?.stdout.trim());
    ravenry.wait_for_state("following", SETTLED).await?;
    agreement.reached_within(SETTLED).await?;
    agreement.nothing_to_push().await?;
    // Nor does the next start remember an order that was taken back.
    ravenry.crash_and_restart().await?;
    ravenry.wait_for_state("following", SETTLED).await?;

    // Without a Ravenry to give orders to, they are no success.
    assert!(ravenry.terminate().await?.success());
    for order in ["stand-in", "follow", "status"] {
        let output = ravenry.cli(&[order]).await?;
        assert!(output.exit != 0 && output.stderr.contains("admin.sock"), "{order}: {output:?}");
    }
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SETTLED).await?;
    stage.stop().await
}

/// What both frontends hold.
async fn lists(murder: &Murder) -> Result<Vec<Dump>> {
    let mut lists = Vec::new();
    for frontend in murder.frontends() {
        lists.push(frontend.dump().await?);
    }
    Ok(lists)
}

/// What a session is told before it is closed, but for changes of the list. After a NO, a BAD or a BYE a frontend
/// would lose its list.
async fn last_words(session: &mut Mupdate) -> Result<Vec<String>> {
    let mut words = Vec::new();
    while let Some(frame) = session.wire().frame().await.context("the connection was not closed")? {
        let line = Line::parse(&frame);
        if !matches!(line.keyword.as_str(), "MAILBOX" | "RESERVE" | "DELETE") {
            words.push(format!("{line:?}"));
        }
        if words.len() > 10 {
            bail!("{words:?}");
        }
    }
    Ok(words)
}
