//! What the machine is run with.

use std::time::Duration;

use crate::authority::guard::Guard;

/// What the machine is run with.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Policy {
    /// When a master's list is too poor to be believed.
    pub guard: Guard,
    /// How long an exchange with the master may take before the master counts as lost.
    pub deadline: Duration,
    /// The same, for a minute after the master was lost: a master that hangs again costs less.
    pub short_deadline: Duration,
    /// How many names are replayed at once.
    pub replay_concurrency: usize,
    /// How many names a returned master is given in a second at most; 0: as many as it takes.
    pub replay_rate: usize,
    /// Deletes that the master makes within this time on its own account are counted together.
    pub burst: Duration,
    /// How long a name deactivated here waits for the rest of its XFER before the master's active mailbox
    /// wins.
    pub postpone: Duration,
    /// How many ghosts of one server are forgotten in a day.
    pub ghosts_per_day: u64,
    /// How long a caller waits for its answer. What could not be begun by then is not begun any more.
    pub patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            guard: Guard::default(),
            deadline: Duration::from_secs(2),
            short_deadline: Duration::from_millis(500),
            replay_concurrency: 32,
            replay_rate: 0,
            burst: Duration::from_secs(60),
            postpone: Duration::from_secs(60),
            ghosts_per_day: 1000,
            patience: Duration::from_secs(8),
        }
    }
}
