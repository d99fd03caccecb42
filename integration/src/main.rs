//! Chores around the stories: capturing fixtures from real Cyrus, clearing away what dead runs left.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use ravenry_integration::engine::Engine;
use ravenry_integration::murder::{self, Suite};
use ravenry_integration::{
    bench, capture, chaos, demo, imap_bench, lmtp_bench, matrix, queue_bench, runbook,
};

/// Works on a Cyrus Murder in containers.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Capture conversations into fixtures/mupdate.
    Capture {
        /// The releases, by Debian suite; by default all of them.
        #[arg(long)]
        suite: Vec<Suite>,
    },
    /// Capture the order of lists into fixtures/order.
    Order {
        /// The releases, by Debian suite; by default all of them.
        #[arg(long)]
        suite: Vec<Suite>,
    },
    /// Capture what `ctl_mboxlist -d` prints into fixtures/dumps.
    Dumps {
        /// The releases, by Debian suite; by default all of them.
        #[arg(long)]
        suite: Vec<Suite>,
    },
    /// Write what docs/recovery.md shows, from a real run.
    Recovery,
    /// Take the pictures of the documentation.
    Pictures,
    /// Show on screen what an outage of the master does, with Ravenry and without it.
    Demo,
    /// Measure mail clients through Ravenry, HAProxy, nginx's mail proxy and directly, and print tables. Needs root.
    BenchImap {
        /// A minute instead of five.
        #[arg(long)]
        quick: bool,
    },
    /// Measure deliveries through Ravenry, HAProxy and a frontend itself, and print tables.
    BenchLmtp {
        /// What to measure.
        #[arg(default_value = "all")]
        part: lmtp_bench::Part,
        /// A few minutes instead of twenty.
        #[arg(long)]
        quick: bool,
    },
    /// Measure the queue beside Debian's Postfix, how it drains, and its memory, and print tables. Needs root.
    BenchQueue {
        /// What to measure.
        #[arg(default_value = "all")]
        part: queue_bench::Part,
        /// A few minutes instead of fifteen, and fewer messages.
        #[arg(long)]
        quick: bool,
    },
    /// Measure Ravenry beside the real master, and print the table of docs/benchmarks.md. Needs root.
    Bench {
        /// What to measure.
        measure: bench::Measure,
        /// Smaller lists, fewer rounds: a few minutes instead of twenty.
        #[arg(long)]
        quick: bool,
    },
    /// Let many users work while everything that can go wrong does, and look up every promise. Needs root.
    Chaos {
        /// What the schedule is made from; by default any.
        #[arg(long)]
        seed: Option<u64>,
        /// How long it goes on.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Only print what would be done when, and what would go wrong.
        #[arg(long)]
        dry_run: bool,
    },
    /// Run stories on releases and in configurations, record how they ended, and write docs/compatibility.md. Needs root.
    Matrix {
        /// The releases, by Debian suite; by default all of them, and bookworm for what is not a matter of the release.
        #[arg(long)]
        suite: Vec<Suite>,
        /// The stories, by their file's name in integration/tests; by default all of them.
        #[arg(long)]
        story: Vec<String>,
        /// So many at a time, each in a murder of its own.
        #[arg(long, default_value_t = 1)]
        lanes: usize,
        /// Put nothing on record.
        #[arg(long)]
        unrecorded: bool,
        /// Run nothing: only write the page from the results that are on record.
        #[arg(long)]
        page: bool,
    },
    /// Remove the containers and networks of runs that are dead.
    Sweep,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match Cli::parse().chore {
        Chore::Capture { suite } => {
            for suite in or_all(suite) {
                capture::conversations(suite).await?;
            }
        }
        Chore::Order { suite } => {
            for suite in or_all(suite) {
                capture::order::capture(suite).await?;
            }
        }
        Chore::Dumps { suite } => {
            for suite in or_all(suite) {
                capture::dumps::capture(suite).await?;
            }
        }
        Chore::Recovery => runbook::record().await?,
        Chore::Pictures => capture::pictures::take().await?,
        Chore::Demo => return demo::run().await,
        Chore::BenchImap { quick } => {
            let full =
                imap_bench::Scale { rounds: 3, noops: 5_000, logins: 1_000, messages: 600, idle: 8_000 };
            let quick_one =
                imap_bench::Scale { rounds: 1, noops: 1_000, logins: 400, messages: 200, idle: 1_600 };
            println!("{}", imap_bench::run(if quick { quick_one } else { full }).await?);
        }
        Chore::BenchLmtp { part, quick } => {
            let scale = if quick { lmtp_bench::Scale::quick() } else { lmtp_bench::Scale::full() };
            println!("{}", lmtp_bench::run(part, scale).await?);
        }
        Chore::BenchQueue { part, quick } => {
            let scale = if quick { queue_bench::Scale::quick() } else { queue_bench::Scale::full() };
            println!("{}", queue_bench::run(part, scale).await?);
        }
        Chore::Bench { measure, quick } => {
            let scale = if quick { bench::Scale::quick() } else { bench::Scale::full() };
            let report = bench::run(measure, scale).await?;
            println!("{report}");
            eprintln!("bench: {} aims missed", report.missed());
        }
        Chore::Chaos { seed, minutes, dry_run } => {
            let scale = chaos::Scale::of(Duration::from_secs(60 * minutes));
            let schedule = chaos::Schedule::new(seed.unwrap_or_else(|| fastrand::u64(..)), &scale);
            return if dry_run { print(&schedule) } else { chaos(&schedule).await };
        }
        Chore::Matrix { page: true, .. } => matrix::write_page(&matrix::read()?)?,
        Chore::Matrix { suite, story, lanes, unrecorded, page: false } => {
            let suites = or_all(suite);
            let choice = matrix::Choice { suites, stories: story, lanes, record: !unrecorded };
            let failed = tokio::select! {
                failed = matrix::run(&choice) => failed?,
                // Each story has a process group of its own, which the terminal does not interrupt.
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            };
            eprintln!("matrix: {failed} tests failed");
            return Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Chore::Sweep => {
            let removed = murder::sweep(&Engine::connect().await?).await?;
            eprintln!("{removed} things removed");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(schedule: &chaos::Schedule) -> Result<ExitCode> {
    // Whoever reads only the beginning wants no more.
    let _ = write!(std::io::stdout().lock(), "{schedule}");
    Ok(ExitCode::SUCCESS)
}

async fn chaos(schedule: &chaos::Schedule) -> Result<ExitCode> {
    println!("seed {}", schedule.seed);
    let report = chaos::run(schedule).await?;
    println!("{report}");
    let good = report.is_clean() && report.missing().is_empty();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn or_all(suites: Vec<Suite>) -> Vec<Suite> {
    if suites.is_empty() { Suite::ALL.to_vec() } else { suites }
}
