//! As fast as it goes. What is compared alternates, round by round, so that a busy machine disturbs all alike; a ratio
//! is the median of the ratios within each round.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Scale, Stand, Way};
use crate::mail_figures::Measured;
use crate::mail_load::{Dialect, Load};

/// A frontend of the murder has 50 processes for LMTP.
const MOST_TO_CYRUS: usize = 16;

pub(super) async fn measure(stand: &Stand, scale: Scale, out: &mut String) -> Result<()> {
    writeln!(
        out,
        "| behind | sessions | way | messages/s | of direct | p50 ms | p99 ms | CPU s per 1,000 |\n\
         |---|---:|---|---:|---:|---:|---:|---:|"
    )?;
    for sessions in [1, 8, 64] {
        let (few, messages) = (sessions.min(MOST_TO_CYRUS), scale.messages);
        compare("Cyrus", stand.to_cyrus()?, few, scale.rounds, messages, out).await?;
        compare("counter", stand.to_counter()?, sessions, scale.rounds, scale.counted, out).await?;
    }
    Ok(())
}

async fn compare(
    behind: &str,
    ways: [Way; 3],
    sessions: usize,
    rounds: usize,
    messages: usize,
    out: &mut String,
) -> Result<()> {
    let mut ways =
        ways.map(|(name, address, pid)| Measured::new(name, Load::new(address, Dialect::Lmtp), pid));
    for round in 0..=rounds {
        // Every round another one begins.
        ways.rotate_left(1);
        for way in &mut ways {
            way.round(sessions, messages, round > 0).await?;
        }
    }
    // As they were given.
    let turned = (rounds + 1) % ways.len();
    ways.rotate_right(turned);
    let [direct, ..] = &ways;
    for way in &ways {
        writeln!(out, "| {behind} | {sessions} | {} | {} |", way.name, way.cells(direct))?;
    }
    Ok(())
}
