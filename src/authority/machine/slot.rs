//! One name that is not settled in the list: what is under way for it, and what waits.

use std::collections::VecDeque;
use std::time::Duration;

use super::{BarrierId, CallId, Keep};
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::Entry;

/// A call waiting for its name, or under way.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Call {
    /// `None`: our own, to take back what a backend took back.
    pub(super) id: Option<CallId>,
    pub(super) write: Write,
    pub(super) origin: Origin,
    /// When its caller stops waiting, since the start of the process.
    pub(super) expires: Duration,
    /// It is only to be done while the list holds this version of the name.
    pub(super) version: Option<Option<u64>>,
}

/// What waits for a name.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Job {
    Call(Call),
    /// Compare with the master and put right.
    Settle,
    /// A person's word on it.
    Resolve(CallId, Keep),
    /// Put back what a burst of deletes took.
    PutBack(Entry),
    /// Undo what an operation did.
    TakeBack(SessionId),
    /// How an operation ended that was left over: of this version, and whether it stands.
    Pronounced(Option<u64>, bool),
}

/// What is under way for a name.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Busy {
    /// The master is asked for a caller.
    Forwarding(Call),
    /// The master is given what it missed.
    Replaying(Write),
    /// A commit; afterwards the caller gets this answer. It settles the name for the replay of that era, and
    /// not for a later one, which compares with another list.
    Committing { answer: Option<Answer>, settles: Option<u64> },
}

/// What a caller is told when a commit has ended.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Answer {
    pub(super) call: Option<CallId>,
    pub(super) outcome: Outcome,
    /// What the master granted is true without us; what we granted is nothing unless it is durable.
    pub(super) if_store_fails: Outcome,
}

/// Everything about one name that is not settled in the list.
#[derive(Default, Debug)]
pub(super) struct Slot {
    pub(super) busy: Option<Busy>,
    pub(super) waiting: VecDeque<Job>,
    /// The newest news of the master that could not be judged yet: the stream and our exchanges are two
    /// connections, so a line may be older than the reply we already had.
    pub(super) line: Option<Option<Entry>>,
    /// Lines are judged when this barrier, begun after our last exchange, has passed.
    pub(super) fence: Option<BarrierId>,
}

impl Slot {
    /// The calls that wait, or are at the master.
    pub(super) fn calls(&self) -> impl Iterator<Item = &Call> {
        let forwarding = match &self.busy {
            Some(Busy::Forwarding(call)) => Some(call),
            _ => None,
        };
        let waiting = self.waiting.iter().filter_map(|job| match job {
            Job::Call(call) => Some(call),
            Job::Settle | Job::TakeBack(_) | Job::Resolve(..) | Job::PutBack(_) | Job::Pronounced(..) => None,
        });
        forwarding.into_iter().chain(waiting)
    }

    pub(super) fn idle(&self) -> bool {
        self.busy.is_none() && self.waiting.is_empty() && self.line.is_none() && self.fence.is_none()
    }
}
