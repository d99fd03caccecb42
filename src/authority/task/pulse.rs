//! A sign of life of the authority's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the task last came round; clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    begun: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { begun: Instant::now(), last: Arc::default() }
    }
}

impl Pulse {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn beat(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn silence(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Relaxed)))
    }
}
