//! The chaos run: many users at work on a real murder, everything that can go wrong goes wrong, and in the end every
//! promise is looked up.
//!
//! What is done and what goes wrong, when and to whom, is a pure function of the seed ([`schedule`], [`strike`]). How the
//! servers interleave is not: the same seed meets the same faults at the same times, and may still end otherwise.
//!
//! ```text
//!   schedule ──▶ actors, mailers ──▶ ledger ──▶ check ──▶ report
//!            └─▶ fate ──▶ faults      (promises)   ▲
//!                                     backends, master, Ravenry, frontends
//! ```

pub mod actor;
pub mod check;
pub mod fate;
pub mod ledger;
mod mail;
pub mod mailer;
pub mod report;
pub mod schedule;
pub mod strike;
pub mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::deadline::{eventually, within};
use crate::faulty_disk::SmallDisk;
use crate::murder::{Murder, Plan};
use crate::postbox::Postbox;
use crate::stage::{BACKENDS, IMAP, LMTP, Stage};
use crate::storm::deadlock;
use actor::{Places, Worker};
use fate::{Fate, Felt};
use ledger::Ledger;
use mailer::Mailer;
pub use report::Report;
pub use schedule::{Scale, Schedule, Verb};
pub use strike::Kind;
use verdict::Verdict;

/// What Ravenry's state has room for, in KiB.
const DISK: u32 = 256 * 1024;
/// For whatever a user or an MTA is still waiting for when the last fault is over.
const SETTLED: Duration = Duration::from_secs(120);

/// Frontends are given up soon, mail is tried again soon, no XFER takes long, and a reservation is old as soon as nobody
/// works.
const CONFIG: &str = "[replay]\npostpone = \"10s\"\n\n[lmtp.upstream]\nconnect_timeout = \"1s\"\nreply_timeout = \"2s\"\ndelivery_timeout = \"10s\"\n\
                      probe = \"1s\"\n\n[spool]\nmin_free = \"1KiB\"\nmin_free_inodes = 1\nretry_max = \"5s\"\n\
                      report_from = \"MAILER-DAEMON@murder.test\"\n";

/// Carries a schedule out on a murder of its own, and looks everything up.
pub async fn run(schedule: &Schedule) -> Result<Report> {
    let postbox = Postbox::open().await?;
    let backends = BACKENDS.replacen("[backends]\n", "[backends]\nreservations = \"1s\"\n", 1);
    let spool = format!("submission = \"{}\"\n", postbox.address());
    let extra = format!("{IMAP}{LMTP}{CONFIG}{spool}\n{backends}");
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), &extra).await?;
    let disk = small_disk(&mut stage).await?;
    let ledger = enrol(&stage.murder, schedule).await?;
    let outcome = carry_out(schedule, &mut stage, &ledger, &postbox).await;
    let report = match outcome {
        Ok((felt, told, verdict)) => {
            let mut report = Report::new(schedule, &ledger, felt, verdict);
            report.explain(&stage, &ledger, &told).await;
            report
        }
        Err(error) => {
            let kept = stage.ravenry.home().join("ravenry.log");
            return Err(error.context(format!("seed {}; the log was {}", schedule.seed, kept.display())));
        }
    };
    if report.is_clean() {
        stage.ravenry.terminate().await?;
        drop(disk);
        stage.leave_apart("its disk is gone; the verdict was given before").await?;
    } else {
        stage.ravenry.kill().await?;
        drop(disk);
    }
    Ok(report)
}

/// Puts Ravenry's state on a disk of its own, which can be filled.
async fn small_disk(stage: &mut Stage) -> Result<SmallDisk> {
    stage.ravenry.terminate().await?;
    let disk = SmallDisk::over(&stage.ravenry.home().join("state"), DISK).await?;
    stage.ravenry.launch().await?;
    // A frontend whose stream was cut comes back after some seconds, and knows nobody who came meanwhile.
    let is = |status: &serde_json::Value| status["state"] == "following" && status["streams"] == 2;
    stage.ravenry.wait_for(SETTLED, "following, with both streams", is).await?;
    Ok(disk)
}

/// Everybody has an inbox before anything goes wrong.
async fn enrol(murder: &Murder, schedule: &Schedule) -> Result<Ledger> {
    let ledger = Ledger::open();
    let [be1, be2] = murder.backends();
    for actor in schedule.users.iter().chain(&schedule.movers) {
        murder.create_user(&actor.name, if actor.home.index() == 0 { be1 } else { be2 }).await?;
        ledger.enrolled(&actor.name, actor.home);
    }
    Ok(ledger.restarted())
}

async fn carry_out(
    schedule: &Schedule,
    stage: &mut Stage,
    ledger: &Ledger,
    postbox: &Postbox,
) -> Result<(BTreeMap<Kind, Felt>, Vec<String>, Verdict)> {
    let (over, given_up) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let places = places(stage);
    let (mut workers, mut mailers) = (JoinSet::new(), JoinSet::new());
    for actor in schedule.actors() {
        let (post, mail) = mpsc::unbounded_channel();
        let (name, lmtp, ledger) = (actor.name.clone(), places.lmtp, ledger.clone());
        let mailer = Mailer { name, lmtp, ledger: ledger.clone(), mail, given_up: given_up.clone() };
        mailers.spawn(mailer.work());
        let (actor, places, over) = (actor.clone(), places.clone(), over.clone());
        workers.spawn(Worker { actor, places, ledger, post, over }.work());
    }
    let mut fate = Fate::of(stage, ledger);
    let felt = fate.fulfil(&schedule.strikes, schedule.length).await;
    let told = std::mem::take(&mut fate.told);
    let felt = felt.with_context(|| told.join("\n"))?;
    tokio::time::sleep(schedule.length.saturating_sub(ledger.now())).await;
    over.store(true, Ordering::Relaxed);
    within(SETTLED, "the users coming to an end", async {
        while let Some(worker) = workers.join_next().await {
            worker??;
        }
        Ok(())
    })
    .await?;
    // MTAs go on until they have their 250, but not for ever: what has none is no promise.
    let last = within(SETTLED / 2, "the MTAs coming to an end", async {
        while let Some(mailer) = mailers.join_next().await {
            mailer?;
        }
        Ok(())
    });
    if let Err(error) = last.await {
        tracing::warn!("{error:#}");
        given_up.store(true, Ordering::Relaxed);
        while let Some(mailer) = mailers.join_next().await {
            mailer?;
        }
    }
    let mut verdict = Verdict { losses: ledger.book().losses.clone(), ..Verdict::default() };
    // What was promised is looked for all the same.
    if let Err(error) = quiet(stage, &mut verdict).await {
        verdict.lost("the murder", format!("it does not come to rest: {error:#}"));
    }
    // What was found before it broke off is told, and so is that it did.
    if let Err(error) = check::check(stage, ledger, postbox, &mut verdict).await {
        verdict.lost("the check", format!("it broke off: {error:#}"));
    }
    Ok((felt, told, verdict))
}

fn places(stage: &Stage) -> Places {
    let murder = &stage.murder;
    Places {
        frontends: murder.frontends().map(|node| node.imap_address()),
        backends: murder.backends().map(|node| node.imap_address()),
        servers: murder.backends().map(|node| node.server()),
        imap: stage.imap(),
        lmtp: (murder.gateway(), 2424).into(),
    }
}

/// Everything is up, Ravenry follows, both streams are there, nothing is owed to the master, and the queue is empty or
/// holds only what a person has to see.
async fn quiet(stage: &Stage, verdict: &mut Verdict) -> Result<()> {
    for node in stage.murder.nodes() {
        node.wait_until_up().await?;
    }
    let is = |status: &serde_json::Value| status["state"] == "following" && status["journal"] == 0;
    stage.ravenry.wait_for(SETTLED, "following, nothing owed", is).await?;
    free_frontends(&stage.murder, verdict).await?;
    stage.ravenry.wait_for(SETTLED, "both streams", |status| status["streams"] == 2).await?;
    stage.ravenry.cli_within(SETTLED, &["queue", "retry", "--all"]).await?.success()?;
    let drained = eventually(SETTLED, "an empty queue", async || {
        let status = stage.ravenry.status().await?;
        Ok((status.pointer("/queue/messages").and_then(serde_json::Value::as_u64) == Some(0)).then_some(()))
    });
    if let Err(error) = drained.await {
        tracing::warn!("{error:#}");
    }
    Ok(())
}

/// A frontend whose slave and imapd wait for each other does so for ever. Ravenry keeps out of that where it can; a
/// frontend that was cut off or does not keep up is not waited for.
async fn free_frontends(murder: &Murder, verdict: &mut Verdict) -> Result<()> {
    for frontend in murder.frontends() {
        if let Some(what) = deadlock(frontend).await? {
            tracing::info!("{}: {what}", frontend.name());
            verdict.exceptions.deadlocks += 1;
            frontend.kill_cyrus().await?;
            frontend.start_cyrus().await?;
            frontend.wait_until_up().await?;
        }
    }
    Ok(())
}
