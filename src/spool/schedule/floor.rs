//! How soon a message may be tried again just because something came back.
//!
//! What is back may be what the message waited for, so the first wakes have it tried at once. A message whose
//! reason is its own (a full mailbox, a move that came to nothing) fails again each time, and a master that comes
//! back every two seconds would have all of these tried every two seconds. So after some wakes in vain there is a
//! floor under the distance of two attempts, 2 s at first and doubling with each wake to 64 s. A wake that comes
//! before is put off until then, not lost: it may have been the one.
//!
//! A message that failed because its destination was not there has no floor: that something is back is news about
//! just that, and the lane's breaker sees to it that few of many find out it is not so. That holds only as long
//! as it is the destination: a suspect opens no breaker, so it has a floor.

use super::lane::{Job, Later};

/// So many wakes without a floor.
const AT_ONCE: u8 = 4;
/// How often the floor doubles: up to 64 s.
const DOUBLINGS: u8 = 6;

/// The least distance, in milliseconds, of a message that was woken so often in vain.
fn floor(wakes: u8) -> u64 {
    match wakes.checked_sub(AT_ONCE) {
        None => 0,
        Some(more) => 1000 << more.saturating_add(1).min(DOUBLINGS),
    }
}

impl Job {
    fn floor(&self) -> u64 {
        if self.is_exempt() { 0 } else { floor(self.wakes) }
    }

    fn is_exempt(&self) -> bool {
        self.is_unreachable() && !self.is_suspect()
    }

    fn woken(mut self) -> Self {
        if !self.is_exempt() {
            self.wakes = self.wakes.saturating_add(1);
        }
        self
    }

    /// How long it waits after an attempt during which something came back, where it would wait for `ordinary` after
    /// another, and never for less than `least`.
    pub(super) fn woken_while_it_ran(self, ordinary: u64, least: u64) -> (u64, Self) {
        let wait = self.floor().max(least);
        if wait < ordinary { (wait, self.woken()) } else { (ordinary, self) }
    }
}

impl Later {
    /// What a wake makes of a job that waits; `None` if its time comes sooner. Only a wake that changes something
    /// counts: one that is put off already is not put off further by the next.
    pub(super) fn woken(&self, now: u64) -> Option<Self> {
        let due = match self.job.floor() {
            0 => now,
            floor => self.tried_at().saturating_add(floor).max(now),
        };
        (due < self.due).then(|| Self::tried(self.tried_at(), due, self.job.woken()))
    }
}
