//! The guard while we follow: a master that deletes name after name, which nobody asked for through us, is no
//! longer believed, and what it deleted last is put back.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Job, Machine, Now, State};
use crate::authority::facts::Facts;
use crate::list::{Entry, MailboxName};
use crate::store::Cause;

/// The deletes of the last while.
#[derive(Default, Debug)]
pub(super) struct Burst {
    deletes: VecDeque<(Duration, MailboxName, Entry)>,
}

impl Machine {
    /// The master deleted a name that we hold, on its own account. Returns whether that was one too many: then
    /// it is not done, and we stand in.
    pub(super) fn is_burst(&mut self, name: &MailboxName, held: &Entry, now: Now, facts: &dyn Facts) -> bool {
        let window = self.policy.burst;
        // Mailboxes that wait for their deletion go in bursts: cyr_expire.
        if window.is_zero() || name.is_deleted() || self.is_expected(held.location.server(), now) {
            return false;
        }
        let deletes = &mut self.burst.deletes;
        while deletes.front().is_some_and(|(at, ..)| now.since_start.saturating_sub(*at) > window) {
            deletes.pop_front();
        }
        deletes.push_back((now.since_start, name.clone(), held.clone()));
        let count = deletes.len() as u64;
        if !self.policy.guard.trips(count, facts.entries() + count) {
            return false;
        }
        let deletes = std::mem::take(&mut self.burst.deletes);
        let why = format!(
            "the master deleted {count} names within {} s that nobody deleted through us, such as {name}; they \
             are put back (a decommissioning is announced with `ravenry expect`)",
            window.as_secs()
        );
        self.leave_master(State::Holding, why);
        for (_, name, entry) in deletes {
            self.enqueue(name, Job::PutBack(entry));
        }
        true
    }

    pub(super) fn is_expected(&self, server: &[u8], now: Now) -> bool {
        self.expected.get(server).is_some_and(|until| *until > now.since_start)
    }

    /// Puts a name back that the burst took, unless somebody took it again since.
    pub(super) fn put_back(&mut self, name: &MailboxName, entry: Entry, facts: &dyn Facts) {
        match facts.entry(name) {
            Ok(None) if !self.poisoned => {
                self.commit(name, Vec::new(), Some((Some(entry), Cause::Guard)), None, false);
            }
            Ok(_) => {}
            Err(why) => self.unreadable(&why),
        }
    }
}
