//! How much of everything.

use std::time::Duration;

/// Sizes and durations of a run.
#[derive(Clone, Debug)]
pub struct Scale {
    /// The scale's name, for the report.
    pub name: &'static str,
    /// Ravenry is built in release mode first. A smoke test takes the binary that is there.
    pub release: bool,
    /// Mailboxes in the list for pairs, delay and replay.
    pub small_list: u64,
    /// Mailboxes in the list for UPDATE and FIND.
    pub large_list: u64,
    /// Mailboxes in the lists for memory and start.
    pub memory_lists: Vec<u64>,
    /// How often what is compared takes turns.
    pub rounds: usize,
    /// The same where one round takes long: UPDATE and replay.
    pub long_rounds: usize,
    /// How long a turn of pairs or look-ups takes.
    pub turn: Duration,
    /// How long changes are made for the delay of the master. It shows them on a tick of 5 s.
    pub delay_of_master: Duration,
    /// Changes made for the delay through Ravenry.
    pub delay_changes: usize,
    /// Creates that are replayed.
    pub replayed: usize,
    /// Random FINDs before memory is measured.
    pub finds: usize,
    /// Ghosts that are taken off the list.
    pub ghosts: u64,
}

impl Scale {
    /// The figures of docs/benchmarks.md.
    pub fn full() -> Self {
        Self {
            name: "full",
            release: true,
            small_list: 100_000,
            large_list: 1_000_000,
            memory_lists: vec![1_000_000, 10_000_000],
            rounds: 7,
            long_rounds: 3,
            turn: Duration::from_secs(3),
            delay_of_master: Duration::from_secs(30),
            delay_changes: 2000,
            replayed: 10_000,
            finds: 1_000_000,
            ghosts: 2_000,
        }
    }

    /// A few minutes, and a tenth of the size.
    pub fn quick() -> Self {
        Self {
            name: "quick",
            small_list: 20_000,
            large_list: 100_000,
            memory_lists: vec![1_000_000],
            rounds: 3,
            long_rounds: 2,
            turn: Duration::from_secs(1),
            delay_of_master: Duration::from_secs(11),
            delay_changes: 500,
            replayed: 3000,
            finds: 300_000,
            ghosts: 500,
            ..Self::full()
        }
    }

    /// Proves that the benchmark runs; its figures mean nothing.
    pub fn smoke() -> Self {
        Self {
            name: "smoke",
            release: false,
            small_list: 500,
            large_list: 2000,
            memory_lists: vec![2000],
            rounds: 1,
            long_rounds: 1,
            turn: Duration::from_millis(200),
            delay_of_master: Duration::from_millis(500),
            delay_changes: 20,
            replayed: 50,
            finds: 500,
            ghosts: 20,
        }
    }
}
