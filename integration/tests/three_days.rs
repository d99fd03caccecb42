//! Ravenry was off for three days, the murder went on without it, and then the master is down: what is on disk is not
//! served, and what it owes is not replayed; a frontend's list and a person's word bring Ravenry up.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::clock;
use ravenry_integration::murder::Plan;
use ravenry_integration::ravenry::NOT_CONFIRMED;
use ravenry_integration::sight::Sight;
use ravenry_integration::stage::Stage;
use serde_json::Value;
use tokio::net::TcpStream;

const SHOWN: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(60);
const TWO_DAYS: u64 = 2 * 24 * 3600;
const MESSAGE: &str = "Subject: of the second one\r\n\r\nkept\r\n";

/// What the master's list holds of a name.
async fn master_holds(stage: &Stage, name: &str) -> Result<bool> {
    Ok(stage.murder.mm.dump().await?.get(name).is_some())
}

/// How many changes it owes the master.
async fn owed(stage: &Stage) -> Result<u64> {
    let status = stage.ravenry.status().await?;
    status.pointer("/journal_detail/records").and_then(Value::as_u64).context("the journal")
}

#[tokio::test(flavor = "multi_thread")]
async fn after_three_days_a_frontend_and_a_person_know_better_than_the_disk() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    let murder = &stage.murder;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.remade").await?.ok()?;
    alice.create("INBOX.gone").await?.ok()?;
    stage.agreement().await?.reached_within(SHOWN).await?;

    // Standing in, two mailboxes are deleted and two are made; then Ravenry is off.
    murder.mm.stop_cyrus().await?;
    stage.ravenry.wait_for_state("standing-in", SHOWN).await?;
    for mailbox in ["INBOX.remade", "INBOX.gone"] {
        alice.delete(mailbox).await?.ok()?;
    }
    for mailbox in ["INBOX.new", "INBOX.dropped"] {
        alice.create(mailbox).await?.ok()?;
    }
    stage.ravenry.terminate().await?;
    // Only time makes that list an old one.
    stage.ravenry.launch().await?;
    stage.ravenry.wait_for_state("standing-in", SHOWN).await?;
    let all_owed = owed(&stage).await?;
    stage.ravenry.terminate().await?;

    // The murder goes on past it: the backends push what the master has not heard, and a name is made anew.
    stage.go_past_ravenry().await?;
    let murder = &stage.murder;
    let agreement = Agreement::begin(murder).await?;
    agreement.reached_within(SETTLED).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.remade").await?.ok()?;
    // A frontend of 3.2 waits for the master's tick.
    agreement.reached_within(SETTLED).await?;
    alice.append("INBOX.remade", MESSAGE).await?.ok()?;
    alice.delete("INBOX.dropped").await?.ok()?;
    agreement.reached_within(SETTLED).await?;

    // Three days later the master is down, and the murder is pointed at a Ravenry that is started.
    murder.mm.stop_cyrus().await?;
    let before: Vec<_> = [murder.fe1.dump().await?, murder.fe2.dump().await?].into();
    stage.point_murder_at(stage.ravenry.address());
    stage.ravenry.set_environment(clock::later("+3d")?);
    stage.ravenry.launch().await?;
    stage.ravenry.wait_for_state("learning", SHOWN).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let status = stage.ravenry.status().await?;
    ensure!(status["now"].as_u64() > Some(now + TWO_DAYS), "it does not know how late it is: {status}");
    ensure!(status["reason"].as_str().is_some_and(|why| why.contains("too old")), "{status}");
    ensure!(TcpStream::connect(stage.ravenry.address()).await.is_err(), "the old list is served");
    // A person may look at it, and hears how old it is.
    let found = stage.ravenry.cli(&["list", "find", "user.alice.new", "--json"]).await?.success()?;
    let held: Value = serde_json::from_str(&found.stdout).with_context(|| found.stdout.clone())?;
    ensure!(held["name"] == "user.alice.new", "{held}");
    ensure!(found.stderr.contains("served last, 3 days ago"), "its age is not told: {}", found.stderr);

    // Learned from a frontend that goes on working, once a person has said how many names are forgotten by it.
    let murder = &stage.murder;
    let fe1 = murder.fe1.mupdate_address().to_string();
    let learn = ["list", "learn", "--from", &fe1, "--json"];
    for wrong in [["--yes"].as_slice(), &["--yes", "--forget", "7"], &["--forget", "1"]] {
        let unsure = stage.ravenry.cli(&[learn.as_slice(), wrong].concat()).await?;
        ensure!(unsure.exit == NOT_CONFIRMED, "{wrong:?}: {unsure:?}");
        ensure!(stage.ravenry.status().await?["state"] == "learning", "{wrong:?} was enough");
    }
    let word = ["--yes", "--forget", "1"];
    let learned = stage.ravenry.cli(&[learn.as_slice(), &word].concat()).await?.success()?;
    let told: Value = serde_json::from_str(&learned.stdout).with_context(|| learned.stdout.clone())?;
    ensure!(told["replaces"] == true && told["forgotten"] == 1, "user.alice.dropped was forgotten: {told}");
    stage.ravenry.wait_for_state("standing-in", SHOWN).await?;
    stage.ravenry.wait_for(SHOWN, "both streams", |now| now["streams"] == 2).await?;
    let served = stage.list().await?;
    for (frontend, before) in murder.frontends().into_iter().zip(before) {
        ensure!(served == before, "{} is not served what it had: {served:?}", frontend.name());
        ensure!(frontend.dump().await? == before, "{} is not what it was", frontend.name());
    }
    // What was overtaken is not owed any more; what came to pass is owed still.
    let still_owed = owed(&stage).await?;
    ensure!(0 < still_owed && still_owed < all_owed, "of {all_owed} changes {still_owed} are owed still");
    murder.fe2.imap("bob").await?.create("INBOX.meanwhile").await?.ok()?;

    // The master comes back: nothing that was made anew is deleted there.
    murder.mm.start_cyrus().await?;
    stage.ravenry.wait_for_state("following", SETTLED).await?;
    for name in ["user.alice.remade", "user.alice.new", "user.bob.meanwhile"] {
        ensure!(master_holds(&stage, name).await?, "the master lost {name}");
    }
    for name in ["user.alice.gone", "user.alice.dropped"] {
        ensure!(!master_holds(&stage, name).await?, "{name} is back");
    }
    let mut sight = Sight::open(murder).await?;
    sight.active("user.alice.remade", SHOWN).await?;
    for frontend in murder.frontends() {
        assert_eq!(frontend.imap("alice").await?.count("INBOX.remade").await?, 1, "{}", frontend.name());
    }
    stage.agreement().await?.reached_within(SETTLED).await?;
    stage.stop().await
}
