//! At a steady pace, well below what is possible: what a way adds to the time that a message takes.
//!
//! Messages come by chance (a Poisson process), whether or not the one before is done, each on one of the three
//! ways by lot: so all three meet the same server in the same moments, and its own bad moments fall to each alike.
//! The time of a message counts from the moment at which it came, also while no session was free. With every
//! quantile goes what chance alone leaves open of its difference to the direct way: 19 of 20 samples drawn again from
//! those that were measured (a bootstrap) give a difference within it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::{Scale, Stand, Way};
use crate::mail_load::{Dialect, Load, Session, quantile};

/// How often samples are drawn again.
const DRAWS: usize = 400;

pub(super) async fn measure(stand: &Stand, scale: Scale, out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n| behind | messages/s in all | sessions each | way | p50 ms | added | p99 ms | added | 19 of 20 within |\n\
         |---|---:|---:|---|---:|---:|---:|---:|---|"
    )?;
    for (behind, ways, pace, sessions) in [
        ("counter", stand.to_counter()?, 1_000, 8),
        ("counter", stand.to_counter()?, 1_000, 64),
        ("counter", stand.to_counter()?, 4_000, 64),
        ("Cyrus", stand.to_cyrus()?, 60, 8),
        ("Cyrus", stand.to_cyrus()?, 60, 16),
    ] {
        let times = keep_pace(ways, pace, sessions, scale.steady).await?;
        let [direct, ..] = &times;
        for ((name, ..), own) in ways.iter().zip(&times) {
            let added = |share| quantile(own, share) - quantile(direct, share);
            let (from, to) = left_to_chance(own, direct, 0.99);
            writeln!(
                out,
                "| {behind} | {pace} | {sessions} | {name} | {:.2} | {:.2} | {:.2} | {:.2} | {from:.2} … {to:.2} |",
                quantile(own, 0.5),
                added(0.5),
                quantile(own, 0.99),
                added(0.99),
            )?;
            eprintln!("bench: {behind} at {pace}/s, {name}: {:.2} ms at 99 %", quantile(own, 0.99));
        }
    }
    Ok(())
}

/// How long the messages of each way took, in milliseconds, sorted.
async fn keep_pace(ways: [Way; 3], pace: u32, sessions: usize, time: Duration) -> Result<[Vec<f64>; 3]> {
    let mut working: [JoinSet<Result<Vec<f64>>>; 3] = Default::default();
    let mut senders = Vec::new();
    for ((_, address, _), working) in ways.iter().zip(&mut working) {
        let (sender, queue) = mpsc::unbounded_channel::<Instant>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..sessions {
            let mut session = Session::open(Load::new(*address, Dialect::Lmtp)).await?;
            let queue = queue.clone();
            working.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let Some(came) = queue.lock().await.recv().await else { return Ok(times) };
                    session.deliver().await?;
                    times.push(came.elapsed().as_secs_f64() * 1000.0);
                }
            });
        }
        senders.push(sender);
    }
    // On a thread of its own: the clock of the runtime ticks in milliseconds.
    let coming = tokio::task::spawn_blocking(move || {
        let (began, mut due) = (Instant::now(), Duration::ZERO);
        while due < time {
            std::thread::sleep((began + due).saturating_duration_since(Instant::now()));
            let sender = senders.get(fastrand::usize(..senders.len())).context("no way")?;
            sender.send(Instant::now()).ok().context("a way is gone")?;
            due += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / f64::from(pace));
        }
        anyhow::Ok(())
    });
    coming.await??;
    let mut all = <[Vec<f64>; 3]>::default();
    for (times, mut working) in all.iter_mut().zip(working) {
        while let Some(done) = working.join_next().await {
            times.extend(done??);
        }
        times.sort_by(f64::total_cmp);
    }
    Ok(all)
}

/// The differences of a quantile between which 19 of 20 samples lie that are drawn again.
fn left_to_chance(own: &[f64], other: &[f64], share: f64) -> (f64, f64) {
    let again = |times: &[f64]| {
        let mut drawn: Vec<f64> = (0..times.len()).filter_map(|_| fastrand::choice(times).copied()).collect();
        drawn.sort_by(f64::total_cmp);
        quantile(&drawn, share)
    };
    let mut differences: Vec<f64> = (0..DRAWS).map(|_| again(own) - again(other)).collect();
    differences.sort_by(f64::total_cmp);
    (quantile(&differences, 0.025), quantile(&differences, 0.975))
}
