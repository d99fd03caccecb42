//! The way of a mail client to its frontend, measured: Ravenry beside HAProxy, nginx's mail proxy and no proxy, in one
//! run.
//!
//! What is compared alternates, round by round, so that a busy machine disturbs all alike; what is added is the median
//! of the differences to the direct way within each round. The frontend is a stub that costs as little as possible,
//! and it and the clients have a thread each. HAProxy carries bytes and knows no IMAP; nginx reads the login, as Ravenry
//! does. What idle sessions take is measured on a fresh process each.
//!
//! | file | what |
//! |---|---|
//! | `client` | a mail client |
//! | `ways` | the proxies, and what they have used |
//! | `measures` | a turn of each measure |

mod client;
mod measures;
mod ways;

use std::fmt::Write as _;

use anyhow::Result;

use crate::bench::ground::Ground;
use crate::imap_stub::ImapStub;
use crate::mail_load::median;
use measures::{Figures, idle};
use ways::{Keys, Product, Running, Way};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of each measure.
    pub rounds: usize,
    /// NOOPs of a round.
    pub noops: usize,
    /// Logins of a round.
    pub logins: usize,
    /// Messages of a MiB that are fetched in a round, and as many that are filed.
    pub messages: usize,
    /// Idle sessions.
    pub idle: usize,
}

/// Measures, and returns tables.
pub async fn run(scale: Scale) -> Result<String> {
    let ground = Ground::prepare(true).await?;
    let (stub, keys) = (ImapStub::start()?, Keys::make()?);
    let mut out = String::new();
    sessions(scale, stub, &keys, &ground, &mut out).await?;
    memory(scale, stub, &keys, &ground, &mut out).await?;
    writeln!(out)?;
    for (what, is) in ground.describe().await? {
        writeln!(out, "- {what}: {is}")?;
    }
    Ok(out)
}

async fn sessions(
    scale: Scale,
    stub: ImapStub,
    keys: &Keys,
    ground: &Ground,
    out: &mut String,
) -> Result<()> {
    let direct = Way { name: "direct".to_owned(), address: stub.imap, tls: false, pid: None };
    let (mut running, mut all) = (Vec::new(), vec![Figures::new(direct)]);
    for product in Product::ALL {
        let proxy = Running::start(product, stub, keys, ground).await?;
        all.extend(proxy.ways()?.map(Figures::new));
        running.push(proxy);
    }
    for round in 0..=scale.rounds {
        let begins = round % all.len();
        for turn in (begins..all.len()).chain(0..begins) {
            if let Some(figures) = all.get_mut(turn) {
                // The first round only warms up.
                figures.round(scale, &keys.client, round > 0).await?;
            }
        }
    }
    writeln!(
        out,
        "| way | NOOP p50 µs | p99 µs | added p50 µs | added p99 µs | logins/s | CPU ms per login | FETCH MiB/s | \
         CPU s per GB | APPEND MiB/s | CPU s per GB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    )?;
    if let Some(direct) = all.first() {
        for figures in &all {
            writeln!(out, "| {} | {} |", figures.way.name, figures.cells(direct))?;
        }
    }
    for proxy in running {
        proxy.stop().await?;
    }
    Ok(())
}

async fn memory(scale: Scale, stub: ImapStub, keys: &Keys, ground: &Ground, out: &mut String) -> Result<()> {
    writeln!(
        out,
        "\n| {} idle sessions through | KiB before | KiB with them | KiB for each |\n|---|---:|---:|---:|",
        scale.idle
    )?;
    for tls in [false, true] {
        for product in Product::ALL {
            let proxy = Running::start(product, stub, keys, ground).await?;
            for way in proxy.ways()?.into_iter().filter(|way| way.tls == tls) {
                let (before, after) = idle(&proxy, &way, &keys.client, scale.idle).await?;
                let each = (after - before) / scale.idle as f64;
                eprintln!("bench: {}: {each:.2} KiB for each idle session", way.name);
                writeln!(out, "| {} | {before:.0} | {after:.0} | {each:.2} |", way.name)?;
            }
            proxy.stop().await?;
        }
    }
    Ok(())
}

/// The median of the differences to what it is compared with, round by round.
fn added(figures: &[f64], than: &[f64]) -> f64 {
    let differences: Vec<f64> = figures.iter().zip(than).map(|(figure, than)| figure - than).collect();
    median(&differences)
}
