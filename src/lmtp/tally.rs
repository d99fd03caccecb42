//! How many recipients were answered what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ravenry_parsers::lmtp::Reply;

/// What a recipient was answered, in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// A frontend has it.
    Delivered,
    /// It is in the queue.
    Queued,
    /// Neither.
    Answered(u16),
}

/// Counts, since the start; clones are the same ones.
#[derive(Clone, Default, Debug)]
pub(super) struct Tally(Arc<[AtomicU64; 4]>);

/// Recipients by what they were answered, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answered {
    /// A frontend has it.
    pub delivered: u64,
    /// It is in the queue.
    pub queued: u64,
    /// 4xx: it is still the MTA's.
    pub deferred: u64,
    /// 5xx
    pub refused: u64,
}

impl Tally {
    pub(super) fn count(&self, outcome: Outcome) {
        let [delivered, queued, deferred, refused] = &*self.0;
        let counter = match outcome {
            Outcome::Delivered => delivered,
            Outcome::Queued => queued,
            Outcome::Answered(500..) => refused,
            Outcome::Answered(_) => deferred,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a reply that says no.
    pub(super) fn count_no(&self, reply: &Reply) {
        self.count(Outcome::Answered(reply.code));
    }

    pub(super) fn answered(&self) -> Answered {
        let [delivered, queued, deferred, refused] = &*self.0;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Answered {
            delivered: read(delivered),
            queued: read(queued),
            deferred: read(deferred),
            refused: read(refused),
        }
    }
}
