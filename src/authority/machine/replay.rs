//! Which names are still to be compared with the master's list, and how far each has come.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::{Counted, Decision, Job, Machine, State};
use crate::list::MailboxName;

/// Where a name is on its way to agreement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Its turn comes.
    Queued,
    /// Being compared, or given to the master: counts against the policy's concurrency.
    Comparing,
    /// The master has it; what is on record about it is being taken off. The master need not wait for our disk.
    Recording,
    /// Waits for the rest of an XFER, since when it was first postponed.
    Postponed(Duration),
    /// The master refused it: waits to hear on the stream what it holds instead.
    Refused,
}

/// The names of one replay.
#[derive(Default, Debug)]
pub(super) struct Replay {
    names: HashMap<MailboxName, Stage>,
    /// Names in their order; those that are not [`Stage::Queued`] any more are passed over.
    queue: VecDeque<MailboxName>,
    comparing: usize,
    first_postponed: HashMap<MailboxName, Duration>,
    refused_once: HashSet<MailboxName>,
    settled: u64,
    /// Begun in this second.
    this_second: usize,
    /// The master's list differs in more names than one comparison keeps.
    pub(super) overflowed: bool,
}

impl Replay {
    /// Puts a name into the queue, unless it is there or being compared.
    pub(super) fn queue(&mut self, name: MailboxName) {
        if matches!(self.names.get(&name), Some(Stage::Queued | Stage::Comparing | Stage::Recording)) {
            return;
        }
        self.set(&name, Stage::Queued);
        self.queue.push_back(name);
    }

    /// How many names are not settled.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    fn set(&mut self, name: &MailboxName, stage: Stage) {
        let before = self.names.insert(name.clone(), stage);
        self.comparing -= usize::from(before == Some(Stage::Comparing));
        self.comparing += usize::from(stage == Stage::Comparing);
    }

    /// The next name to compare, if one more may be under comparison, and begun in this second.
    fn next(&mut self, concurrency: usize, rate: usize) -> Option<MailboxName> {
        if self.comparing >= concurrency || (rate > 0 && self.this_second >= rate) {
            return None;
        }
        while let Some(name) = self.queue.pop_front() {
            if self.names.get(&name) == Some(&Stage::Queued) {
                self.set(&name, Stage::Comparing);
                self.this_second += 1;
                return Some(name);
            }
        }
        None
    }

    /// Waits with a name; says for how long it has been waited already.
    pub(super) fn postpone(&mut self, name: &MailboxName, now: Duration) -> Duration {
        let first = *self.first_postponed.entry(name.clone()).or_insert(now);
        self.set(name, Stage::Postponed(first));
        now.saturating_sub(first)
    }

    /// The master refused a name: whether that is news, so that it is compared once more.
    pub(super) fn refuse(&mut self, name: &MailboxName) -> bool {
        let news = self.refused_once.insert(name.clone());
        if news {
            self.set(name, Stage::Refused);
        }
        news
    }

    /// What was postponed for this long is compared again.
    fn wake_postponed(&mut self, now: Duration, postpone: Duration) {
        let due = |stage: &Stage| matches!(stage, Stage::Postponed(since) if now >= *since + postpone);
        let due = self.names.iter().filter(|(_, stage)| due(stage)).map(|(name, _)| name.clone());
        Machine::in_order(due).into_iter().for_each(|name| self.queue(name));
    }
}

impl Machine {
    pub(super) fn is_unsettled(&self, name: &MailboxName) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.names.contains_key(name))
    }

    pub(super) fn is_postponed(&self, name: &MailboxName) -> bool {
        let stage = self.replay.as_ref().and_then(|replay| replay.names.get(name));
        matches!(stage, Some(Stage::Postponed(_)))
    }

    /// Whether the master refused the name, and the stream has not told yet what it holds instead. A call that
    /// comes meanwhile waits for that too.
    pub(super) fn is_refused(&self, name: &MailboxName) -> bool {
        let stage = self.replay.as_ref().and_then(|replay| replay.names.get(name));
        stage == Some(&Stage::Refused)
    }

    /// A name's comparison begins, in its turn or because a call wants it.
    pub(super) fn comparing(&mut self, name: &MailboxName) {
        if let Some(replay) = &mut self.replay {
            replay.set(name, Stage::Comparing);
        }
    }

    /// The master has taken a name: it can be given another one while that is put on record.
    pub(super) fn answered(&mut self, name: &MailboxName) {
        if let Some(replay) = &mut self.replay
            && replay.names.contains_key(name)
        {
            replay.set(name, Stage::Recording);
            self.pump();
        }
    }

    /// Keeps as many names under comparison as the policy allows.
    pub(super) fn pump(&mut self) {
        while let Some(replay) = &mut self.replay {
            match replay.next(self.policy.replay_concurrency.max(1), self.policy.replay_rate) {
                Some(name) => self.enqueue(name, Job::Settle),
                None if replay.names.is_empty() => return self.finish_replay(),
                None => return,
            }
        }
    }

    /// A comparison ended, whatever came of it.
    pub(super) fn settled(&mut self, name: &MailboxName) {
        if let Some(replay) = &mut self.replay
            && let Some(stage) = replay.names.remove(name)
        {
            replay.comparing -= usize::from(stage == Stage::Comparing);
            replay.first_postponed.remove(name);
            replay.settled += 1;
            self.out.push(Decision::Count(Counted::ReplayStep));
            self.pump();
        }
    }

    /// The stream has said everything about a name that it had to say.
    pub(super) fn heard_of(&mut self, name: &MailboxName) {
        if let Some(replay) = &mut self.replay
            && replay.names.get(name) == Some(&Stage::Refused)
        {
            replay.queue(name.clone());
            self.pump();
        }
    }

    /// The stream brings news of a name that is waited with.
    pub(super) fn news_of(&mut self, name: &MailboxName) {
        if self.is_postponed(name)
            && let Some(replay) = &mut self.replay
        {
            replay.queue(name.clone());
            self.pump();
        }
    }

    pub(super) fn wake_postponed(&mut self, now: Duration) {
        if let Some(replay) = &mut self.replay {
            replay.this_second = 0;
            replay.wake_postponed(now, self.policy.postpone);
            self.pump();
        }
    }

    fn finish_replay(&mut self) {
        let Some(replay) = self.replay.take() else { return };
        if replay.overflowed {
            self.leave_master(State::StandingIn, "more names differ than are compared at once".into());
            return self.list_anew(Decision::Reconnect);
        }
        self.complete();
        self.known_master = self.answering.clone();
        self.theirs = HashMap::new();
        self.out.push(Decision::ForgetListed);
        self.enter(State::Following, format!("replayed; {} names settled", replay.settled));
    }
}
