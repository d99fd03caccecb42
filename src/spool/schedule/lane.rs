//! One destination's jobs, and its breaker.

use std::collections::BTreeMap;

use super::{LaneStatus, Outcome, Policy, backoff};
use crate::spool::{Destination, QueueId};

/// So many different messages in a row open the breaker.
const FAILURES: usize = 3;
/// Every so many-th place is the newest's.
const NEWEST_EVERY: u32 = 4;
/// A message that has failed more often because of the destination is not ready again just because others
/// succeed.
const SUSPICIOUS: u32 = 8;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) destination: Destination,
    /// Jobs that may begin.
    pub(super) ready: BTreeMap<QueueId, Job>,
    pub(super) later: BTreeMap<QueueId, Later>,
    pub(super) running: BTreeMap<QueueId, Running>,
    /// How many of the running have their outcome.
    pub(super) settling: usize,
    breaker: Breaker,
    begun: u32,
    /// Counts what the destination has answered, whatever it was; never 0.
    answers: u32,
}

/// What is remembered of a job from one attempt to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Job {
    pub(super) attempts: u32,
    /// The lane's answers when this last failed because of the destination; 0 if it did not.
    failed_at: u32,
    /// It failed twice because of the destination, which answered others in between: so it is not the
    /// destination, and no reason to stop trying others.
    suspect: bool,
    /// How often something came back, and was not what it waits for.
    pub(super) wakes: u8,
}

impl Job {
    pub(super) fn new(attempts: u32) -> Self {
        Self { attempts, ..Self::default() }
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Whether the last attempt failed because of the destination.
    pub(super) fn is_unreachable(&self) -> bool {
        self.failed_at != 0
    }
}

/// A job that waits for its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Later {
    pub(super) due: u64,
    /// How long before that it was tried, in milliseconds.
    waits: u32,
    pub(super) job: Job,
}

/// There may be a million (docs/benchmarks.md): what else is remembered of one fits in what is free beside it.
const _: () = assert!(size_of::<Later>() <= 24);

impl Later {
    /// One that was not tried by this process.
    pub(super) fn untried(due: u64, job: Job) -> Self {
        Self { due, waits: 0, job }
    }

    pub(super) fn tried(at: u64, due: u64, job: Job) -> Self {
        // Nothing waits for fifty days; it expires.
        Self { due, waits: u32::try_from(due.saturating_sub(at)).unwrap_or(u32::MAX), job }
    }

    pub(super) fn tried_at(&self) -> u64 {
        self.due.saturating_sub(self.waits.into())
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Running {
    pub(super) job: Job,
    /// Something came back meanwhile.
    pub(super) woken: bool,
    /// What is known of the message changed meanwhile, or a person wants it tried.
    pub(super) asked: bool,
    pub(super) forgotten: bool,
    /// No attempt is made: it expires.
    pub(super) given_up: bool,
    /// Its outcome is being written down.
    pub(super) settling: bool,
}

#[derive(Debug)]
enum Breaker {
    /// All goes well; these messages failed since it last did.
    Closed { failed: Vec<QueueId> },
    /// Nothing is tried until then.
    Open { until: u64, failures: u32 },
    /// This message is being tried.
    Probing { by: QueueId, failures: u32 },
}

const CLOSED: Breaker = Breaker::Closed { failed: Vec::new() };

impl Lane {
    pub(super) fn new(destination: Destination) -> Self {
        Self {
            destination,
            ready: BTreeMap::new(),
            later: BTreeMap::new(),
            running: BTreeMap::new(),
            settling: 0,
            breaker: CLOSED,
            begun: 0,
            answers: 1,
        }
    }

    pub(super) fn knows(&self, id: QueueId) -> bool {
        self.ready.contains_key(&id) || self.later.contains_key(&id) || self.running.contains_key(&id)
    }

    /// As [`Self::knows`], and one that was forgotten while it runs counts again.
    pub(super) fn recalls(&mut self, id: QueueId) -> bool {
        if let Some(running) = self.running.get_mut(&id) {
            running.forgotten = false;
        }
        self.knows(id)
    }

    pub(super) fn is_given_up(&self, id: QueueId) -> bool {
        self.running.get(&id).is_some_and(|running| running.given_up)
    }

    /// Takes the next job out, if one may run now. One that expires comes with the time at which it was due,
    /// if it was waiting.
    pub(super) fn begin(&mut self, now: u64, policy: &Policy) -> Option<(QueueId, Option<u64>)> {
        if self.is_busy(policy) {
            return None;
        }
        if self.is_open()
            && let Some(id) = self.oldest().filter(|id| now >= expires(*id, policy))
        {
            let due = self.later.remove(&id).map(|later| later.due);
            self.ready.remove(&id);
            self.running.insert(id, Running { given_up: true, ..Running::default() });
            return Some((id, due));
        }
        let probing = match self.breaker {
            Breaker::Closed { .. } => None,
            Breaker::Open { until, failures } if now >= until => Some(failures),
            Breaker::Open { .. } | Breaker::Probing { .. } => return None,
        };
        let newest = match probing {
            // Were it always the oldest: it may be one that fails everywhere.
            Some(failures) => failures % 2 == 0,
            None => self.begun % NEWEST_EVERY == NEWEST_EVERY - 1,
        };
        let (id, job) = if newest { self.ready.pop_last() } else { self.ready.pop_first() }?;
        self.begun = self.begun.wrapping_add(1);
        if let Some(failures) = probing {
            self.breaker = Breaker::Probing { by: id, failures };
        }
        self.running.insert(id, Running { job, ..Running::default() });
        Some((id, None))
    }

    /// What an attempt makes of a job that goes on.
    pub(super) fn after(&self, job: Job, outcome: Outcome) -> Job {
        if outcome.answered().is_none() {
            return Job { attempts: job.attempts.saturating_add(1), ..job };
        }
        let next = Job { wakes: job.wakes, ..Job::new(job.attempts.saturating_add(1)) };
        if outcome != Outcome::Unreachable {
            return next;
        }
        let others_were_answered = job.failed_at != 0 && job.failed_at != self.answers;
        Job { failed_at: self.answers, suspect: job.suspect || others_were_answered, ..next }
    }

    fn is_busy(&self, policy: &Policy) -> bool {
        self.running.len().saturating_sub(self.settling) >= policy.per_destination
    }

    /// A job that runs has its outcome. Answers whether that is news.
    pub(super) fn settle(&mut self, id: QueueId) -> bool {
        let Some(running) = self.running.get_mut(&id).filter(|running| !running.settling) else {
            return false;
        };
        running.settling = true;
        self.settling += 1;
        true
    }

    fn oldest(&self) -> Option<QueueId> {
        let ready = self.ready.first_key_value().map(|(id, _)| *id);
        let later = self.later.first_key_value().map(|(id, _)| *id);
        ready.into_iter().chain(later).min()
    }

    /// What an outcome means for the breaker. Answers whether it was closed by it.
    pub(super) fn judge(
        &mut self,
        now: u64,
        id: QueueId,
        suspect: bool,
        outcome: Outcome,
        policy: &Policy,
        random: &mut fastrand::Rng,
    ) -> bool {
        let Some(answered) = outcome.answered() else {
            // Another one is to find out what this one was to.
            if let Breaker::Probing { by, failures } = self.breaker
                && by == id
            {
                self.breaker = Breaker::Open { until: now, failures };
            }
            return false;
        };
        if answered {
            self.answers = self.answers.checked_add(1).unwrap_or(1);
        }
        let failures = match (&mut self.breaker, answered) {
            (Breaker::Closed { failed }, true) => {
                failed.clear();
                return false;
            }
            // An answer to what began before it was opened closes it as well.
            (_, true) => {
                self.breaker = CLOSED;
                return true;
            }
            (Breaker::Closed { .. }, false) if suspect => return false,
            (Breaker::Closed { failed }, false) => {
                if !failed.contains(&id) {
                    failed.push(id);
                }
                if failed.len() < FAILURES {
                    return false;
                }
                1
            }
            (Breaker::Probing { failures, .. }, false) => failures.saturating_add(1),
            (Breaker::Open { .. }, false) => return false,
        };
        let wait = backoff(failures, policy.retry_min, policy.probe_max, random);
        self.breaker = Breaker::Open { until: now + wait, failures };
        false
    }

    pub(super) fn is_open(&self) -> bool {
        !matches!(self.breaker, Breaker::Closed { .. })
    }

    /// The destination is back.
    pub(super) fn wake(&mut self) {
        self.breaker = CLOSED;
        for running in self.running.values_mut() {
            running.woken = true;
        }
    }

    /// Takes out those who wait.
    pub(super) fn take_later(&mut self, whom: impl Fn(&Later) -> bool) -> Vec<(QueueId, Later)> {
        let wanted: Vec<_> = self.later.iter().filter(|(_, later)| whom(later)).map(|(id, _)| *id).collect();
        wanted.into_iter().filter_map(|id| Some((id, self.later.remove(&id)?))).collect()
    }

    /// Whether a job that waits failed because of the destination, as far as one can tell.
    pub(super) fn is_unsuspected(later: &Later) -> bool {
        later.job.is_unreachable() && later.job.attempts < SUSPICIOUS
    }

    /// When the next message may be tried although the breaker is open.
    pub(super) fn next_probe(&self, policy: &Policy) -> Option<u64> {
        match self.breaker {
            Breaker::Open { until, .. } if !self.ready.is_empty() && !self.is_busy(policy) => Some(until),
            _ => None,
        }
    }

    /// When the oldest message expires, if that can happen without an attempt.
    pub(super) fn next_expiry(&self, policy: &Policy) -> Option<u64> {
        match self.breaker {
            Breaker::Closed { .. } => None,
            _ if self.is_busy(policy) => None,
            _ => self.oldest().map(|id| expires(id, policy)),
        }
    }

    pub(super) fn status(&self) -> LaneStatus {
        LaneStatus {
            destination: self.destination.clone(),
            ready: self.ready.len(),
            later: self.later.len(),
            running: self.running.len().saturating_sub(self.settling),
            open: self.is_open(),
        }
    }
}

fn expires(id: QueueId, policy: &Policy) -> u64 {
    id.queued_unix_ms().saturating_add(policy.expiry)
}
