//! A reseed is one thing at a time, and one that was killed half-way ends as one that was not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::deadline::eventually;
use ravenry_integration::engine::Output;
use ravenry_integration::murder::{Dump, Plan};
use ravenry_integration::ravenry::NOT_CONFIRMED;
use ravenry_integration::stage::Stage;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

/// What the command line answers when what was asked for cannot be had.
const UNAVAILABLE: i64 = 69;

/// So many mailboxes, so slowly given to the master (names a second) that there is a middle.
const FOLDERS: usize = 24;
const RATE: u64 = 2;

/// So small a murder needs a strict guard.
const GUARD: &str = "[guard]\nat_least = 2\n";

/// Names that only the master has: more than the guard lets pass.
const STRANGERS: usize = 4;

/// The master holds so much when the power goes.
const HALF_WAY: usize = 6;

fn is_refused(output: &Output) -> Result<()> {
    let text = output.said();
    let why = text.contains("a reseed is under way") || text.contains("a reseed goes on");
    ensure!(output.exit == UNAVAILABLE && why, "a second reseed was not refused: {output:?}");
    Ok(())
}

/// Every frontend has the whole list, and only that.
async fn frontends_hold(stage: &Stage, list: &Dump) -> Result<()> {
    for frontend in stage.murder.frontends() {
        ensure!(frontend.dump().await? == *list, "{} is not what it was", frontend.name());
    }
    Ok(())
}

/// Once the master holds half of it, a second reseed is tried, and the power of Ravenry goes. Until then the master
/// is never given more names than the seconds since the order allow, the first and the present one included.
async fn interfere(stage: &Stage, good: &Dump) -> Result<usize> {
    let ordered = Instant::now();
    let (half, _) = eventually(SOON, "the master holding half of the list", async || {
        let held = stage.murder.mm.dump().await?.0.len();
        let allowed = RATE * (ordered.elapsed().as_secs() + 2);
        ensure!(held as u64 <= allowed, "{held} names at the master, where {allowed} are allowed");
        Ok((held >= HALF_WAY).then_some(held))
    })
    .await?;
    ensure!(half < good.0.len(), "the reseed was too fast to be killed in the middle");
    is_refused(&stage.ravenry.cli(&["reseed", "--yes"]).await?)?;
    stage.ravenry.signal("KILL").await?;
    Ok(stage.murder.mm.dump().await?.0.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_reseed_is_refused_and_one_killed_half_way_ends_the_same() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?, &format!("{GUARD}\n[replay]\nrate = {RATE}\n")).await?;
    stage.murder.create_user("alice", &stage.murder.be1).await?;
    let mut alice = stage.murder.fe1.imap("alice").await?;
    for folder in 0..FOLDERS {
        alice.create(&format!("INBOX.{folder:02}")).await?.ok()?;
    }
    stage.agreement().await?.reached_within(SOON).await?;
    let good = stage.murder.mm.dump().await?;

    stage.murder.mm.stop_cyrus().await?;
    stage.murder.mm.lose_list().await?;
    stage.murder.mm.start_cyrus().await?;
    stage.ravenry.wait_for_state("holding", SOON).await?;
    // From here on the master must live.
    let agreement = Agreement::begin(&stage.murder).await?.with_ravenry(stage.ravenry.address());
    let (killed, half) = tokio::join!(stage.ravenry.cli(&["reseed", "--yes"]), interfere(&stage, &good));
    let (killed, half) = (killed?, half?);
    ensure!(killed.exit != 0, "a reseed that was killed said that it was done: {killed:?}");
    ensure!(half < good.0.len(), "the master had everything when Ravenry was killed");
    frontends_hold(&stage, &good).await?;

    // It goes on by itself. Run again meanwhile, it is refused; run again afterwards, it has nothing to do.
    stage.ravenry.crash_and_restart().await?;
    stage.ravenry.wait_for(SOON, "an answer", |_| true).await?;
    is_refused(&stage.ravenry.cli(&["reseed", "--yes"]).await?)?;
    stage.ravenry.wait_for_state("following", SOON).await?;
    let again = stage.ravenry.cli(&["reseed", "--yes"]).await?.success()?;
    ensure!(again.said().contains("takes 0 changes"), "{again:?}");
    stage.ravenry.wait_for_state("following", SOON).await?;

    let rebuilt = stage.murder.mm.dump().await?;
    ensure!(rebuilt == good, "the master does not hold what it held: {rebuilt:?}");
    ensure!(rebuilt.0.values().all(|entry| entry.remote), "the master lacks the remote flag");
    frontends_hold(&stage, &good).await?;
    agreement.reached_within(SOON).await?;
    stage.ravenry.cli(&["plan"]).await?.success()?;
    stage.stop().await
}

/// The master came back with nothing but names that nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_master_loses_by_a_reseed_is_named_by_its_number() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, GUARD).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    for folder in ["INBOX.one", "INBOX.two", "INBOX.three"] {
        alice.create(folder).await?.ok()?;
    }
    stage.agreement().await?.reached_within(SOON).await?;
    let good = murder.mm.dump().await?;
    murder.mm.stop_cyrus().await?;
    murder.mm.lose_list().await?;
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("holding", SOON).await?;
    let mut wire = murder.mm.mupdate().await?;
    for stranger in 0..STRANGERS {
        let name = format!("user.stranger{stranger}");
        wire.activate(&name, &murder.be2.location(), "anyone\tlrs\t").await?.ok()?;
    }
    let strange = murder.mm.dump().await?;
    ensure!(strange.0.len() == STRANGERS, "{strange:?}");

    let plan = ravenry.cli(&["plan", "--for", "reseed", "--json"]).await?;
    let summary: Value = serde_json::from_str(plan.stdout.lines().last().context("a summary")?)?;
    assert_eq!(summary["summary"]["removals_at_master"], STRANGERS, "{plan:?}");
    let right = STRANGERS.to_string();
    for (said, exit, why) in [
        (["--yes"].as_slice(), UNAVAILABLE, format!("confirm that with `--remove {right}`")),
        (&["--yes", "--remove", "3"], UNAVAILABLE, format!("lose {right} names, not 3")),
        (&["--yes", "--remove", "5"], UNAVAILABLE, format!("lose {right} names, not 5")),
        (&["--remove", &right], NOT_CONFIRMED, "nothing was changed".to_owned()),
    ] {
        let refused = ravenry.cli(&[&["reseed"], said].concat()).await?;
        ensure!(refused.exit == exit && refused.said().contains(&why), "{said:?}: {refused:?}");
        ensure!(murder.mm.dump().await? == strange, "{said:?}: the master was changed");
        ensure!(ravenry.status().await?["state"] == "holding", "{said:?}");
    }
    frontends_hold(&stage, &good).await?;

    let done = ravenry.cli(&["reseed", "--yes", "--remove", &right]).await?.success()?;
    ensure!(done.said().contains("read again from"), "{done:?}");
    ravenry.wait_for_state("following", SOON).await?;
    ensure!(murder.mm.dump().await? == good, "the master does not hold what it held");
    frontends_hold(&stage, &good).await?;
    stage.stop().await
}
