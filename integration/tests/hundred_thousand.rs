//! A hundred thousand mailboxes, and a master that comes back empty: noticed at once, nobody loses a name, and the reseed
//! costs little memory and may be killed in the middle.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::agreement::Difference;
use ravenry_integration::murder::{Dump, Murder, Plan};
use ravenry_integration::ravenry::Ravenry;
use ravenry_integration::stage::Stage;
use serde_json::Value;

const MAILBOXES: u64 = 100_000;

/// For a debug build on a busy machine; the figures are in docs/benchmarks.md.
const PATIENCE: Duration = Duration::from_secs(600);

/// The decision is to take a second.
const DECIDED: Duration = Duration::from_secs(5);

/// In KiB: four times what a debug build needs for it.
const MEMORY: u64 = 512 << 10;

/// A master gets most of it from a backup, and the rest from us: all of it would take an hour on a busy machine.
const BACKED_UP: u64 = 97_000;
/// Ravenry is killed with fewer names than this to go.
const LEFT: u64 = 2_000;
/// So that there is a middle.
const SLOWLY: &str = "[replay]\nrate = 200\n";

fn is_modest(ravenry: &Ravenry) -> Result<()> {
    let peak = ravenry.peak()?;
    println!("peak of memory: {} MiB", peak >> 10);
    ensure!(peak < MEMORY, "it used {peak} KiB");
    Ok(())
}

async fn frontends_hold(murder: &Murder, list: &Dump) -> Result<()> {
    for frontend in murder.frontends() {
        ensure!(frontend.dump().await? == *list, "{} is not what it was", frontend.name());
    }
    Ok(())
}

/// How many names the master holds; counted there, since a dump takes longer to read than to write.
async fn held(murder: &Murder) -> Result<usize> {
    let count = murder.mm.exec(&["sh", "-c", "ctl_mboxlist -d | grep -c '\"name\"\\|!'"]).await?;
    Ok(count.stdout.trim().parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_murder_is_given_back_to_an_empty_master() -> Result<()> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    murder.start_master().await?;
    murder.fill_master(MAILBOXES).await?;
    let mut stage = Stage::start_around(murder, SLOWLY).await?;
    let good = stage.murder.mm.dump().await?;
    ensure!(good.0.len() as u64 == MAILBOXES, "the master holds {} names", good.0.len());
    frontends_hold(&stage.murder, &good).await?;
    is_modest(&stage.ravenry)?;

    stage.murder.mm.stop_cyrus().await?;
    stage.ravenry.wait_for_state("standing-in", PATIENCE).await?;
    stage.murder.mm.lose_list().await?;
    stage.murder.mm.start_cyrus().await?;
    stage.ravenry.wait_for(PATIENCE, "the master's list", |now| now["master"]["connected"] == true).await?;
    let decided = stage.ravenry.wait_for_state("holding", DECIDED).await?;
    println!("holding {decided:.2?} after the master was there");
    let reason = stage.ravenry.status().await?["reason"].to_string();
    ensure!(reason.contains(&format!("lacks {MAILBOXES}")), "{reason}");
    frontends_hold(&stage.murder, &good).await?;

    let plan = stage.ravenry.cli_within(PATIENCE, &["plan", "--for", "reseed", "--json"]).await?;
    ensure!(plan.exit == 1 && plan.stdout.lines().count() as u64 == MAILBOXES + 1, "{}", plan.stderr);
    is_modest(&stage.ravenry)?;

    // The first names of the list are there, the rest is not.
    stage.murder.fill_master(BACKED_UP).await?;
    let lacks = format!("lacks {}", MAILBOXES - BACKED_UP);
    let holding = |now: &Value| now["state"] == "holding" && now["reason"].to_string().contains(&lacks);
    stage.ravenry.wait_for(PATIENCE, "the older list being judged", holding).await?;
    // As Ravenry counts it: a dump of the master's list takes longer than the rest of it.
    let in_the_middle = |now: &Value| now["replaying"].as_u64().is_some_and(|left| (1..LEFT).contains(&left));
    let power_cut = async {
        stage.ravenry.wait_for(PATIENCE, "a part of the rest at the master", in_the_middle).await?;
        stage.ravenry.signal("KILL").await
    };
    let (killed, cut) = tokio::join!(stage.ravenry.cli_within(PATIENCE, &["reseed", "--yes"]), power_cut);
    cut?;
    let killed = killed?;
    ensure!(killed.exit != 0, "a reseed that was killed said that it was done: {killed:?}");
    ensure!(killed.stderr.contains("names given to the master"), "no progress was shown: {killed:?}");
    let part = held(&stage.murder).await?;
    ensure!(part < good.0.len(), "the reseed was too fast to be killed in the middle");
    println!("killed with {part} names at the master");

    stage.ravenry.crash_and_restart().await?;
    stage.ravenry.wait_for_state("following", PATIENCE).await?;
    is_modest(&stage.ravenry)?;
    let again = stage.ravenry.cli_within(PATIENCE, &["reseed", "--yes"]).await?.success()?;
    ensure!(again.said().contains("takes 0 changes"), "{again:?}");
    stage.ravenry.wait_for_state("following", PATIENCE).await?;
    let rebuilt = stage.murder.mm.dump().await?;
    ensure!(rebuilt == good, "the master does not hold what it held");
    ensure!(rebuilt.0.values().all(|entry| entry.remote), "the master lacks the remote flag");
    frontends_hold(&stage.murder, &good).await?;
    stage.ravenry.cli_within(PATIENCE, &["plan"]).await?.success()?;
    is_modest(&stage.ravenry)?;
    // No backend holds what this master lists.
    stage.stop_but_for(Difference::is_ghost).await
}
