//! What a person orders: stand in, follow, reseed, accept; and how far that is.

use std::time::Duration;

use super::{Decision, Machine, Now, State};
use crate::authority::facts::Difference;

/// So many names more than a person has confirmed are let pass: the murder goes on while the person reads.
const LEEWAY: u64 = 10;

/// A change of the whole list that a person ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Everything of ours goes to the master, which may lose so many names by it.
    Reseed {
        /// Names that the master may lose.
        removals: u64,
    },
    /// Everything of the master's comes here; we may lose so many names by it.
    Accept {
        /// Names that we may lose.
        forgotten: u64,
    },
}

/// How far the last [`Task`] is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The master's list is awaited.
    Waiting(Task),
    /// Names are given to the master.
    Running(Task),
    /// The master was lost half-way, and why. It goes on when the master is back: half a reseed is neither our
    /// list nor the master's.
    Interrupted(Task, String),
    /// It came to its end.
    Done(Task),
    /// It did not, and why.
    Failed(Task, String),
}

impl Machine {
    /// How far the last order is that concerns the whole list.
    pub fn progress(&self) -> Option<&Progress> {
        self.progress.as_ref()
    }

    /// Why an order cannot be given now.
    pub fn objection(&self, task: Task) -> Option<String> {
        match (&self.progress, task) {
            (Some(Progress::Waiting(other) | Progress::Running(other)), _) => {
                Some(format!("{} is under way", other.word()))
            }
            (Some(Progress::Interrupted(other, _)), _) => {
                Some(format!("{} goes on when the master is back; `ravenry stand-in` ends it", other.word()))
            }
            (_, Task::Reseed { .. }) if self.state == State::Learning && self.unserved.is_none() => {
                Some("there is no list yet that could be given to the master".into())
            }
            _ if self.poisoned => Some("the store has failed; see to the disk and restart".into()),
            _ => None,
        }
    }

    pub(super) fn stand_in(&mut self) {
        self.held = true;
        self.give_up("an operator keeps us standing in".into());
        if matches!(self.state, State::Following | State::Replaying) {
            self.leave_master(State::StandingIn, "held by an operator".into());
        }
    }

    pub(super) fn follow(&mut self) {
        self.held = false;
        let compares = self.state == State::Learning && self.unserved.is_some();
        if compares || matches!(self.state, State::StandingIn | State::Holding) {
            self.list_anew(Decision::Reconnect);
        }
    }

    /// A person believes the list that is ours now: it is served, and compared with the master's when that comes.
    pub(super) fn believe(&mut self, from: &str) {
        if self.state == State::Learning && !self.poisoned {
            self.unserved = None;
            self.known_master = None;
            self.unfinished.clear();
            self.enter(State::StandingIn, format!("an operator believes the list of {from}"));
            self.list_anew(Decision::Reconnect);
        }
    }

    /// Begins a task: the master's list is asked for afresh, and the rest follows when it is here.
    pub(super) fn begin(&mut self, task: Task) {
        if self.objection(task).is_some() {
            return;
        }
        if matches!(self.state, State::Following | State::Replaying) {
            self.leave_master(State::StandingIn, format!("{} was ordered", task.word()));
        }
        if let Task::Reseed { .. } = task
            && self.unserved.take().is_some()
        {
            self.enter(State::StandingIn, "an operator believes the list on disk");
        }
        self.held = false;
        self.progress = Some(Progress::Waiting(task));
        self.list_anew(match task {
            Task::Reseed { .. } => Decision::Reconnect,
            Task::Accept { .. } => Decision::Reload,
        });
    }

    /// A task came to nothing; whoever decided before goes on.
    pub(super) fn give_up(&mut self, why: String) {
        if let Some(task) = self.progress.as_ref().and_then(Progress::open) {
            self.out.push(Decision::Notice(format!("{} failed: {why}", task.word())));
            self.progress = Some(Progress::Failed(task, why));
        }
    }

    /// The master was lost.
    pub(super) fn interrupt(&mut self, why: &str) {
        if let Some(Progress::Running(task)) = self.progress {
            self.progress = Some(Progress::Interrupted(task, why.to_owned()));
        }
    }

    /// Goes on with what an earlier run of the process did not bring to its end.
    pub fn resuming(mut self, task: Option<Task>) -> Self {
        if self.state == State::StandingIn {
            self.progress = task.map(|task| Progress::Interrupted(task, "Ravenry was restarted".into()));
        }
        self
    }

    pub(super) fn complete(&mut self) {
        if let Some(Progress::Running(task) | Progress::Waiting(task)) = self.progress {
            self.progress = Some(Progress::Done(task));
        }
    }

    /// Nothing may be decided here that the list being taken over would lose again.
    pub fn is_accepting(&self) -> bool {
        matches!(self.progress, Some(Progress::Waiting(Task::Accept { .. })))
    }

    pub(super) fn is_reseeding(&self) -> bool {
        matches!(self.progress, Some(Progress::Running(Task::Reseed { .. })))
    }

    /// Whether a reseed waits for the list that just came, and may begin with it.
    pub(super) fn may_reseed(&mut self, difference: &Difference, entries: u64) -> bool {
        let Some(task @ Task::Reseed { removals }) = self.progress.as_ref().and_then(Progress::open) else {
            return false;
        };
        let lost = difference.only_theirs;
        if self.policy.guard.trips(lost, entries.max(difference.listed))
            && lost > removals.saturating_add(LEEWAY)
        {
            self.give_up(format!("the master would lose {lost} names, not {removals}"));
            return false;
        }
        self.progress = Some(Progress::Running(task));
        true
    }

    /// Whether the list that just came in place of ours may take it.
    pub fn may_accept(&self, difference: &Difference, entries: u64) -> Result<(), String> {
        match self.progress {
            Some(Progress::Waiting(Task::Accept { forgotten }))
                if self.policy.guard.trips(difference.taken, entries)
                    && difference.taken > forgotten.saturating_add(LEEWAY) =>
            {
                Err(format!("we would forget {} names, not {forgotten}", difference.taken))
            }
            _ => Ok(()),
        }
    }

    /// Deletes of names on this server are expected for a time.
    pub(super) fn expect(&mut self, server: Vec<u8>, time: Duration, now: Now) {
        self.expected.retain(|_, until| *until > now.since_start);
        self.expected.insert(server, now.since_start.saturating_add(time));
    }
}

impl Progress {
    /// The task, unless it has ended.
    pub fn open(&self) -> Option<Task> {
        match self {
            Self::Waiting(task) | Self::Running(task) | Self::Interrupted(task, _) => Some(*task),
            Self::Done(_) | Self::Failed(..) => None,
        }
    }
}

impl Task {
    /// In a sentence.
    pub fn word(self) -> &'static str {
        match self {
            Self::Reseed { .. } => "a reseed",
            Self::Accept { .. } => "taking the master's list",
        }
    }
}
