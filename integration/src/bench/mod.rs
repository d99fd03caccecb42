//! Benchmarks: the real mupdate master and a release-built Ravenry side by side, in one run, on one filesystem.
//!
//! Ravenry runs in the network namespace and the processor's control group of the master's container, so that both
//! are reached over the same bridge and get the same share of a busy machine; both keep their lists below one
//! directory of the host, durably. What is compared alternates, round by
//! round, so that a busy machine disturbs all alike. Every row is the median of its rounds, a ratio the median
//! of the ratios within each round; a worst case is the worst of all rounds.
//!
//! | file | what |
//! |---|---|
//! | `scale` | how much of everything: `full`, `--quick`, and a smoke test of the benchmark itself |
//! | `ground` | the machine, and where files lie |
//! | `stage` | the master with a filled list, and the Ravenries beside it |
//! | `client`, `load` | a fast MUPDATE client, and what several of them do |
//! | `model` | a master that is only a list of any length |
//! | `pairs`, `update`, `delay`, `find`, `replay`, `reseed`, `memory`, `ghosts` | the measures |
//! | `report` | rows, aims, the table |

pub(crate) mod apart;
mod client;
mod delay;
mod find;
mod ghosts;
pub(crate) mod ground;
mod load;
mod memory;
mod model;
mod pairs;
mod replay;
mod report;
mod reseed;
mod scale;
mod stage;
mod update;

use anyhow::Result;
use clap::ValueEnum;

use ground::Ground;
pub use report::Report;
pub use scale::Scale;
use stage::Stage;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Measure {
    /// RESERVE and ACTIVATE on a new connection each, as backends do.
    Pairs,
    /// The whole list to 1 and 10 slaves, and the worst write meanwhile.
    Update,
    /// From a change to the frontends' streams.
    Delay,
    /// Look-ups, one by one and pipelined.
    Find,
    /// What the master is given when it returns.
    Replay,
    /// A master that returns empty: noticing it, and giving it everything.
    Reseed,
    /// Names that no backend holds, taken off the list.
    Ghosts,
    /// Memory, after the whole list and random names were asked for.
    Memory,
    /// The time to serve after a crash.
    Start,
    /// Everything.
    All,
}

impl Measure {
    fn includes(self, other: Self) -> bool {
        self == Self::All || self == other
    }
}

/// Measures, and tells the progress on standard error.
pub async fn run(measure: Measure, scale: Scale) -> Result<Report> {
    let ground = Ground::prepare(scale.release).await?;
    let mut report = Report::new(scale.name);
    let small = [Measure::Pairs, Measure::Delay, Measure::Replay, Measure::Reseed];
    let large = [Measure::Update, Measure::Find];
    if small.into_iter().any(|part| measure.includes(part)) {
        let stage = Stage::start(&ground, scale.small_list).await?;
        report.cyrus = Some(stage.version().await?);
        // First: the master is emptied, and Ravenry holds its list then and no more.
        if measure.includes(Measure::Reseed) {
            report.rows.extend(reseed::measure(&stage, &scale).await?);
        }
        // Before the others: what they make while standing in would have to be replayed, too.
        if measure.includes(Measure::Replay) {
            report.rows.push(replay::measure(&stage, &scale).await?);
        }
        if measure.includes(Measure::Pairs) {
            report.rows.extend(pairs::measure(&stage, &scale).await?);
        }
        if measure.includes(Measure::Delay) {
            report.rows.extend(delay::measure(&stage, &scale).await?);
        }
        stage.stop().await?;
    }
    if large.into_iter().any(|part| measure.includes(part)) {
        let stage = Stage::start(&ground, scale.large_list).await?;
        report.cyrus = Some(stage.version().await?);
        if measure.includes(Measure::Update) {
            report.rows.extend(update::measure(&stage, &scale).await?);
        }
        if measure.includes(Measure::Find) {
            report.rows.extend(find::measure(&stage, &scale).await?);
        }
        stage.stop().await?;
    }
    if measure.includes(Measure::Ghosts) {
        let (row, version) = ghosts::measure(&ground, &scale).await?;
        report.cyrus = Some(version);
        report.rows.push(row);
    }
    if measure.includes(Measure::Memory) || measure.includes(Measure::Start) {
        for mailboxes in &scale.memory_lists {
            report.rows.extend(memory::measure(&ground, *mailboxes, &scale, measure).await?);
        }
    }
    report.machine = ground.describe().await?;
    Ok(report)
}

/// A line of progress.
fn say(text: impl std::fmt::Display) {
    eprintln!("bench: {text}");
}
