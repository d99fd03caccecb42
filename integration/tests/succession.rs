//! Ravenry's own death: a spare takes over from a copy of its state; or the murder is pointed past it, and what it left
//! behind is never replayed blindly.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::murder::Plan;
use ravenry_integration::ravenry::{NOT_CONFIRMED, Ravenry, Settings};
use ravenry_integration::sight::Sight;
use ravenry_integration::stage::Stage;

const SHOWN: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(60);
/// Long enough for a list to be compared, and for a replay, if there were one.
const A_WHILE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_spare_takes_over_from_a_copy() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    let Stage { mut ravenry, to_master, from_frontends, from_backends, murder } = stage;
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.old").await?.ok()?;
    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.before").await?.ok()?;
    alice.rename("INBOX.old", "INBOX.older").await?.ok()?;

    let copy = ravenry.home().join("copy.redb");
    let path = copy.to_str().context("a path in UTF-8")?;
    ravenry.cli(&["backup", path]).await?.success()?;
    let refused = ravenry.cli(&["backup", path]).await?;
    ensure!(refused.exit != 0, "a copy is never written over: {}", refused.said());
    ravenry.kill().await?;

    let settings = Settings { listen: ravenry.address(), master: to_master.address(), extra: String::new() };
    let mut spare = Ravenry::prepare(settings).await?;
    tokio::fs::create_dir_all(spare.home().join("state/list")).await?;
    tokio::fs::copy(&copy, spare.home().join("state/list/list.redb")).await?;
    spare.launch().await?;
    spare.wait_for(SHOWN, "the spare, with both streams", |now| now["streams"] == 2).await?;
    alice.create("INBOX.after").await?.ok()?;
    let mut sight = Sight::open(&murder).await?;
    for name in ["user.alice.before", "user.alice.older", "user.alice.after"] {
        sight.active(name, SHOWN).await?;
    }

    murder.mm.start_cyrus().await?;
    spare.wait_for_state("following", SETTLED).await?;
    let agreement = Agreement::begin(&murder).await?.with_ravenry(spare.address());
    agreement.reached_within(SETTLED).await?;
    agreement.nothing_to_push().await?;
    ravenry.stop().await?;
    Stage { ravenry: spare, to_master, from_frontends, from_backends, murder }.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_retired_ravenry_left_behind_is_not_replayed_blindly() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    let murder = &stage.murder;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.remade").await?.ok()?;
    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.new").await?.ok()?;
    alice.create("INBOX.dropped").await?.ok()?;
    alice.delete("INBOX.remade").await?.ok()?;

    let refused = stage.ravenry.cli(&["retire"]).await?;
    ensure!(refused.exit != 0, "not while it runs: {}", refused.said());
    stage.ravenry.kill().await?;
    let retired = stage.ravenry.cli(&["retire"]).await?.success()?;
    println!("{}", retired.said());

    // The murder is pointed at the master, and the backends push what it has not heard.
    stage.go_past_ravenry().await?;
    let agreement = Agreement::begin(murder).await?;
    agreement.reached_within(SETTLED).await?;
    // Life goes on without Ravenry: what it has in its journal is not true any more.
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.remade").await?.ok()?;
    alice.delete("INBOX.dropped").await?.ok()?;
    agreement.reached_within(SETTLED).await?;

    stage.ravenry.launch().await?;
    stage.ravenry.wait_for(SHOWN, "the master's list", |now| now["master"]["connected"] == true).await?;
    tokio::time::sleep(A_WHILE).await;
    let status = stage.ravenry.status().await?;
    assert_eq!(status["state"], "learning", "{status}");
    agreement.reached_within(SETTLED).await.context("nothing was replayed")?;
    let mut sight = Sight::open(murder).await?;
    sight.active("user.alice.remade", SHOWN).await?;
    sight.active("user.alice.new", SHOWN).await?;
    sight.gone("user.alice.dropped", SHOWN).await?;

    // A person takes the master's list; the murder comes back.
    let asked = stage.ravenry.cli(&["accept", "--yes"]).await?;
    assert_eq!(asked.exit, NOT_CONFIRMED, "what would be forgotten is told, and its number wanted");
    let told = asked.said();
    let number = told.split(" are forgotten or moved").next().and_then(|told| told.rsplit(' ').next());
    let number = number.context(told.clone())?;
    stage.ravenry.cli(&["accept", "--yes", "--forget", number]).await?.success()?;
    stage.ravenry.wait_for_state("following", SETTLED).await?;
    stage.point_murder_at(stage.ravenry.address());
    stage.ravenry.wait_for(SHOWN, "both streams", |now| now["streams"] == 2).await?;
    murder.fe1.imap("alice").await?.create("INBOX.again").await?.ok()?;
    stage.agreement().await?.reached_within(SETTLED).await?;
    stage.stop().await
}
