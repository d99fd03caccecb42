//! The queue, measured: how fast it takes mail beside Debian's Postfix, how fast a backlog goes to a backend that is
//! back beside what that backend takes from a client directly, and how much memory very many messages need.
//!
//! | file | what |
//! |---|---|
//! | `outage` | a Ravenry whose frontends cannot be reached: everything is queued |
//! | `accept` | taking mail, beside Postfix |
//! | `drain` | a backend comes back; and what the queue gives away when nothing behind it is slow |
//! | `memory` | very many messages: memory, and a start with them |

mod accept;
mod drain;
mod memory;
mod outage;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;

use crate::bench::ground::Ground;

const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// All of it.
    All,
    /// Taking mail, beside Postfix.
    Accept,
    /// A backlog, and a backend that comes back.
    Drain,
    /// Very many messages.
    Memory,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of each measure.
    pub rounds: usize,
    /// Messages of each round with 64 sessions.
    pub messages: usize,
    /// The same with one.
    pub alone: usize,
    /// Messages that wait for a backend.
    pub backlog: usize,
    /// Messages that are queued to see how much memory they take.
    pub very_many: usize,
}

impl Scale {
    /// For docs/benchmarks.md.
    pub fn full() -> Self {
        Self { rounds: 5, messages: 6_400, alone: 500, backlog: 5_000, very_many: 1_000_000 }
    }

    /// A few minutes.
    pub fn quick() -> Self {
        Self { rounds: 2, backlog: 2_000, very_many: 100_000, ..Self::full() }
    }
}

/// Measures, and returns tables.
pub async fn run(part: Part, scale: Scale) -> Result<String> {
    let ground = Ground::prepare(true).await?;
    let mut out = String::new();
    let wanted = |this| part == this || part == Part::All;
    if wanted(Part::Accept) {
        accept::measure(&ground, scale, &mut out).await?;
    }
    if wanted(Part::Drain) {
        drain::measure(&ground, scale, &mut out).await?;
    }
    if wanted(Part::Memory) {
        memory::measure(&ground, scale, &mut out).await?;
    }
    writeln!(out)?;
    for (what, is) in ground.describe().await? {
        writeln!(out, "- {what}: {is}")?;
    }
    Ok(out)
}
