//! What is tried when: a pure machine. Events and the time go in, jobs to begin come out.
//!
//! A *job* is one message at one destination. Each destination has a lane of its own, and of each lane so many
//! jobs run at once:
//!
//! ```text
//!   add ──▶ ready ──begin──▶ running ──settled──▶ (gone)
//!             ▲                 │
//!             └── due, woken ── later ◀──deferred
//! ```
//!
//! - What was queued a moment ago waits as well: it has just failed, and a server that was cut off in the middle may
//!   still be storing it. Tried at once, Cyrus would not know it again: it notes what it has stored afterwards.
//! - The oldest goes first, but every fourth place is the newest's: a backlog does not starve new mail.
//! - A job that was deferred waits from one second to half an hour, doubling, with jitter. Whatever it is that
//!   makes one message fail, only that message waits.
//! - Three different messages in a row that failed because of the destination open its *breaker*: from then on
//!   one message at a time is tried, the next one each time, at growing distances. The first that gets an
//!   answer closes the breaker, and all who failed because of the destination are ready again.
//! - A message that fails although others are answered is *suspect*: it opens no breaker any more.
//! - An event ("it is back") closes breakers and ends waits at once; timers are for what no event tells. One that
//!   was woken so in vain some times is woken less and less ([`floor`]): it was not what that message waits for.
//! - What is older than the expiry is given up after a failed attempt, or while the breaker is open.

mod floor;
mod lane;
#[cfg(test)]
mod tests;
mod wake;

use std::collections::{BTreeMap, BTreeSet};

use lane::{Job, Lane, Later};

use super::{Destination, QueueId};

/// How a schedule behaves. Times are in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Jobs of one destination that run at once.
    pub per_destination: usize,
    /// Jobs that run at once.
    pub in_all: usize,
    /// The first wait of a deferred job.
    pub retry_min: u64,
    /// The longest.
    pub retry_max: u64,
    /// The longest between two attempts while a breaker is open.
    pub probe_max: u64,
    /// How old a message may get, counted from when it was queued.
    pub expiry: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            per_destination: 8,
            in_all: 64,
            retry_min: 1_000,
            retry_max: 30 * 60 * 1000,
            probe_max: 5_000,
            expiry: 5 * 24 * 3600 * 1000,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nobody of the job is left.
    Settled,
    /// Somebody has to wait, for a reason of the message's own.
    Deferred,
    /// Nothing was achieved, and the destination was the reason.
    Unreachable,
    /// Nobody of the job was left to be tried: forgotten, held, or elsewhere now.
    Gone,
    /// It could not be tried, for a reason that the destination has no part in.
    Untried,
}

impl Outcome {
    /// Whether the destination answered; `None` if it was not asked.
    fn answered(self) -> Option<bool> {
        match self {
            Self::Settled | Self::Deferred => Some(true),
            Self::Unreachable => Some(false),
            Self::Gone | Self::Untried => None,
        }
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Make an attempt.
    Try(QueueId, Destination),
    /// Give up: too old, and there is no way to the destination.
    Expire(QueueId, Destination),
}

/// A lane as listings show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaneStatus {
    /// Whose it is.
    pub destination: Destination,
    /// Jobs that may begin.
    pub ready: usize,
    /// Jobs that wait for their time.
    pub later: usize,
    /// Jobs that run.
    pub running: usize,
    /// Whether the breaker is open.
    pub open: bool,
}

/// The machine. Time is in milliseconds and never goes back.
#[derive(Debug)]
pub struct Schedule {
    policy: Policy,
    lanes: Vec<Lane>,
    numbers: BTreeMap<Destination, usize>,
    /// When jobs that wait are due: time, lane, message.
    timers: BTreeSet<(u64, usize, QueueId)>,
    running: usize,
    /// The lane that is looked at first.
    turn: usize,
    random: fastrand::Rng,
}

impl Schedule {
    /// An empty schedule; the seed is for jitter.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            lanes: Vec::new(),
            numbers: BTreeMap::new(),
            timers: BTreeSet::new(),
            running: 0,
            turn: 0,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Decides by another policy from now on. What waits for its time already goes on waiting for it.
    pub fn change(&mut self, policy: Policy) {
        self.policy = policy;
    }

    fn number(&mut self, destination: &Destination) -> usize {
        if let Some(number) = self.numbers.get(destination) {
            return *number;
        }
        self.lanes.push(Lane::new(destination.clone()));
        self.numbers.insert(destination.clone(), self.lanes.len() - 1);
        self.lanes.len() - 1
    }

    /// A job that may begin. One that is known stays as it is; one that was forgotten while it runs counts again.
    pub fn add(&mut self, id: QueueId, destination: &Destination, attempts: u32) {
        let number = self.number(destination);
        if let Some(lane) = self.lanes.get_mut(number)
            && !lane.recalls(id)
        {
            lane.ready.insert(id, Job::new(attempts));
        }
    }

    /// A job that waits for its time.
    pub fn add_later(&mut self, id: QueueId, destination: &Destination, attempts: u32, due: u64) {
        let number = self.number(destination);
        if let Some(lane) = self.lanes.get_mut(number)
            && !lane.recalls(id)
        {
            lane.later.insert(id, Later::untried(due, Job::new(attempts)));
            self.timers.insert((due, number, id));
        }
    }

    /// Whether a message has a job at a destination.
    pub fn knows(&self, id: QueueId, destination: &Destination) -> bool {
        self.numbers.get(destination).and_then(|n| self.lanes.get(*n)).is_some_and(|lane| lane.knows(id))
    }

    /// The destinations at which a message has jobs.
    pub fn destinations_of(&self, id: QueueId) -> Vec<Destination> {
        self.lanes.iter().filter(|lane| lane.knows(id)).map(|lane| lane.destination.clone()).collect()
    }

    /// Takes out all jobs of a message. One that runs is not taken up again.
    pub fn forget(&mut self, id: QueueId) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            lane.ready.remove(&id);
            if let Some(later) = lane.later.remove(&id) {
                self.timers.remove(&(later.due, number, id));
            }
            if let Some(running) = lane.running.get_mut(&id) {
                running.forgotten = true;
            }
        }
    }

    /// What can be done now; to be asked until it is `None`.
    pub fn next(&mut self, now: u64) -> Option<Decision> {
        self.ring(now);
        if self.running >= self.policy.in_all {
            return None;
        }
        let count = self.lanes.len();
        for step in 0..count {
            let number = (self.turn + step) % count;
            let Some(lane) = self.lanes.get_mut(number) else { continue };
            let decision = lane.begin(now, &self.policy);
            if let Some((id, expired)) = decision {
                if let Some(due) = expired {
                    self.timers.remove(&(due, number, id));
                }
                self.running += 1;
                self.turn = number + 1;
                let destination = lane.destination.clone();
                return Some(match expired.is_some() || lane.is_given_up(id) {
                    true => Decision::Expire(id, destination),
                    false => Decision::Try(id, destination),
                });
            }
        }
        None
    }

    /// Jobs whose time has come become ready.
    fn ring(&mut self, now: u64) {
        while let Some((due, number, id)) = self.timers.first().copied().filter(|(due, ..)| *due <= now) {
            self.timers.remove(&(due, number, id));
            if let Some(lane) = self.lanes.get_mut(number)
                && let Some(later) = lane.later.remove(&id)
            {
                lane.ready.insert(id, later.job);
            }
        }
    }

    /// When [`Self::next`] is to be asked again if nothing happens before.
    pub fn next_due(&self) -> Option<u64> {
        let timer = self.timers.first().map(|(due, ..)| *due);
        if self.running >= self.policy.in_all {
            // What might be tried has to wait for the end of one that runs, however long its time has passed.
            return timer;
        }
        let probe = self.lanes.iter().filter_map(|lane| lane.next_probe(&self.policy)).min();
        let expiry = self.lanes.iter().filter_map(|lane| lane.next_expiry(&self.policy)).min();
        [timer, probe, expiry].into_iter().flatten().min()
    }

    /// What became of a job is known and only has to be written down: another one may begin.
    pub fn settling(&mut self, id: QueueId, destination: &Destination) {
        let number = self.number(destination);
        if self.lanes.get_mut(number).is_some_and(|lane| lane.settle(id)) {
            self.running = self.running.saturating_sub(1);
        }
    }

    /// What [`Decision`] asked for is done.
    pub fn done(&mut self, now: u64, id: QueueId, destination: &Destination, outcome: Outcome) {
        let number = self.number(destination);
        let Some(lane) = self.lanes.get_mut(number) else { return };
        let Some(running) = lane.running.remove(&id) else { return };
        match running.settling {
            true => lane.settling = lane.settling.saturating_sub(1),
            false => self.running = self.running.saturating_sub(1),
        }
        let job = lane.after(running.job, outcome);
        // Given up without an attempt: that says nothing of the destination.
        let closed = !running.given_up
            && lane.judge(now, id, job.is_suspect(), outcome, &self.policy, &mut self.random);
        if closed {
            self.release(number, Lane::is_unsuspected);
        }
        let Some(lane) = self.lanes.get_mut(number) else { return };
        if running.forgotten {
            return;
        }
        if matches!(outcome, Outcome::Settled | Outcome::Gone) {
            // It was released, or its mailbox moved, after the attempt had read it: what the attempt says is of
            // before that. Where nothing is left to do, another one finds that out at once.
            if running.asked {
                lane.ready.insert(id, job);
            }
            return;
        }
        let ordinary = backoff(job.attempts, self.policy.retry_min, self.policy.retry_max, &mut self.random);
        let (wait, job) = match (running.asked, running.woken) {
            (true, _) => (self.policy.retry_min, job),
            (false, true) => job.woken_while_it_ran(ordinary, self.policy.retry_min),
            (false, false) => (ordinary, job),
        };
        let later = Later::tried(now, now + wait, job);
        self.timers.insert((later.due, number, id));
        lane.later.insert(id, later);
    }

    /// All lanes that have jobs.
    pub fn lanes(&self) -> Vec<LaneStatus> {
        self.lanes
            .iter()
            .map(Lane::status)
            .filter(|lane| lane.ready + lane.later + lane.running > 0)
            .collect()
    }
}

/// Doubling from the least to the most, each time between 0.8 and 1.2 of that.
fn backoff(attempts: u32, least: u64, most: u64, random: &mut fastrand::Rng) -> u64 {
    let doubled = least.saturating_mul(1 << attempts.saturating_sub(1).min(40)).min(most);
    doubled / 5 * 4 + random.u64(0..=doubled / 5 * 2)
}
