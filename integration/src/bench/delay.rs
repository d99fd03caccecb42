//! From the moment a backend sends a change to the moment a frontend's stream has it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use ravenry_parsers::mupdate::ServerLine;
use tokio::sync::mpsc;

use super::client::{Client, activate};
use super::load::Names;
use super::report::{Aim, Row, Unit, Who, quantile};
use super::stage::Stage;
use super::{Scale, say};

/// The master's tick, with some slack.
const TICK: Duration = Duration::from_secs(6);

/// Changes per second.
const RATE: f64 = 100.0;

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Vec<Row>> {
    let mut half = Row::new("change to a frontend's stream, median", Unit::Milliseconds, &[]);
    let ten = [Aim::AtMost(Who::Following, 10.0), Aim::AtMost(Who::StandingIn, 10.0)];
    let mut most = Row::new("change to a frontend's stream, 99 %", Unit::Milliseconds, &ten);
    for (who, address) in stage.in_turn(0) {
        let changes = match who {
            Who::Cyrus => (scale.delay_of_master.as_secs_f64() * RATE) as usize,
            Who::Following | Who::StandingIn => scale.delay_changes,
        };
        let delays = delays(address, changes, &stage.names(who)).await?;
        let (p50, p99) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
        say(format_args!("delay: {who:?} p50 {p50:.2?} ms, p99 {p99:.2?} ms, {} changes", delays.len()));
        half.add(who, p50.unwrap_or(f64::NAN));
        most.add(who, p99.unwrap_or(f64::NAN));
    }
    Ok(vec![half, most])
}

/// Sorted, in milliseconds.
async fn delays(address: SocketAddr, changes: usize, names: &Names) -> Result<Vec<f64>> {
    let mut frontend = Client::open(address).await?;
    frontend.stream().await?;
    let (seen, mut shown) = mpsc::unbounded_channel();
    let watching = tokio::spawn(async move {
        loop {
            if let ServerLine::Mailbox { mailbox, .. } = frontend.line().await?
                && seen.send((mailbox, Instant::now())).is_err()
            {
                return anyhow::Ok(());
            }
        }
    });
    let mut backend = Client::open(address).await?;
    let mut sent = HashMap::new();
    for _ in 0..changes {
        let name = names.next();
        let start = Instant::now();
        sent.insert(name.clone(), start);
        backend.call(&activate(&name)).await?;
        // At random moments, as far as a closed loop can: not in step with anybody's clock.
        tokio::time::sleep(
            Duration::from_secs_f64(fastrand::f64() * 2.0 / RATE).saturating_sub(start.elapsed()),
        )
        .await;
    }
    let mut delays = Vec::new();
    while !sent.is_empty() {
        let Some((mailbox, at)) = tokio::time::timeout(TICK, shown.recv()).await? else { break };
        if let Some(start) = std::str::from_utf8(&mailbox).ok().and_then(|name| sent.remove(name)) {
            delays.push((at - start).as_secs_f64() * 1e3);
        }
    }
    drop(shown);
    watching.abort();
    anyhow::ensure!(sent.is_empty(), "{} of {changes} changes were never shown", sent.len());
    delays.sort_by(f64::total_cmp);
    Ok(delays)
}
