//! The transitions.

use std::collections::HashMap;
use std::time::Duration;

use super::{Decision, Job, Machine, Now, Replay, State};
use crate::authority::facts::{Difference, Facts};
use crate::authority::guard::suspicion;
use crate::authority::master::MasterIdentity;

/// For so long after the master was lost, waiting for it is kept short.
const AFTER_A_TRIP: Duration = Duration::from_secs(60);

impl Machine {
    fn enter(&mut self, state: State, why: impl Into<String>) {
        self.state = state;
        self.out.push(Decision::Enter(state, why.into()));
    }

    pub(super) fn deadline(&self, now: Now) -> Duration {
        let tripped = self.last_trip.is_some_and(|trip| now.since_start.saturating_sub(trip) < AFTER_A_TRIP);
        let patience = if tripped { self.policy.short_deadline } else { self.policy.deadline };
        // The master holds its lock while it sends its list to anybody.
        patience.max(self.last_dump * 3)
    }

    pub(super) fn master_up(&mut self, identity: &MasterIdentity) {
        self.out.push(Decision::Notice(format!(
            "reading the list of {} ({})",
            identity.servername, identity.version
        )));
    }

    pub(super) fn loaded(&mut self, took: Duration) {
        self.last_dump = took;
        if self.state != State::Learning {
            return;
        }
        self.stale = false;
        if self.held {
            self.enter(State::StandingIn, "held by an operator");
        } else {
            self.enter(State::Following, "the master's list is complete");
        }
    }

    pub(super) fn master_list(&mut self, difference: Difference, facts: &dyn Facts) {
        self.last_dump = difference.took;
        let judged = match suspicion(self.policy.guard, &difference, facts, &|_| false) {
            Ok(judged) => judged,
            Err(why) => return self.unreadable(&why),
        };
        match self.state {
            State::Learning if self.stale => self.compare_stale(&difference, judged, facts),
            State::StandingIn | State::Holding if self.held => {
                self.out
                    .push(Decision::Notice("the master is back; an operator keeps us standing in".into()));
            }
            State::StandingIn | State::Holding if self.poisoned => {}
            State::StandingIn | State::Holding => match judged {
                Some(reason) if !self.reseed => {
                    if self.state != State::Holding {
                        self.enter(State::Holding, reason);
                    }
                }
                _ => self.start_replay(difference, facts),
            },
            State::Learning | State::Following | State::Replaying => {}
        }
        if self.state != State::Replaying {
            self.out.push(Decision::ForgetListed);
        }
    }

    /// Our list is too old to be served. Where the master's agrees or is merely newer, its list is taken;
    /// where names would be lost, or we owe the master changes, a person decides.
    fn compare_stale(&mut self, difference: &Difference, judged: Option<String>, facts: &dyn Facts) {
        let owing = facts.unsettled().map(|names| names.len()).unwrap_or(usize::MAX);
        match judged {
            None if difference.theirs.is_empty() && owing == 0 => {
                self.stale = false;
                self.enter(State::Following, "the old list on disk is the master's");
            }
            None if owing == 0 => {
                self.out.push(Decision::Notice("the old list on disk differs: taking the master's".into()));
                self.out.push(Decision::Reload);
            }
            None => {
                let why = format!("the list on disk is old and owes the master {owing} changes");
                self.enter(State::Learning, why);
            }
            Some(reason) => self.enter(State::Learning, format!("the list on disk is old, and {reason}")),
        }
    }

    fn start_replay(&mut self, difference: Difference, facts: &dyn Facts) {
        let mut names = match facts.unsettled() {
            Ok(names) => names,
            Err(why) => return self.unreadable(&why),
        };
        let mut replay = Replay { reseed: std::mem::take(&mut self.reseed), ..Replay::default() };
        names.extend(difference.theirs.keys().cloned());
        // What is being committed at this moment is journalled, but not on record yet.
        names.extend(self.names.keys().cloned());
        names.extend(self.unfinished.drain());
        for name in names {
            if replay.unsettled.insert(name.clone()) {
                replay.todo.push_back(name);
            }
        }
        self.theirs = difference.theirs;
        let why = format!("the master is back; {} names to compare", replay.unsettled.len());
        self.replay = Some(replay);
        self.enter(State::Replaying, why);
        self.pump();
    }

    pub(super) fn finish_replay(&mut self) {
        let done = self.replay.as_ref().is_some_and(|replay| replay.unsettled.is_empty());
        if done && let Some(replay) = self.replay.take() {
            self.theirs = HashMap::new();
            self.out.push(Decision::ForgetListed);
            self.enter(State::Following, format!("replayed; {} names settled", replay.steps));
        }
    }

    pub(super) fn master_lost(&mut self, reason: String, now: Now) {
        if !matches!(self.state, State::Following | State::Replaying) {
            return;
        }
        self.last_trip = Some(now.since_start);
        self.leave_master(reason);
    }

    /// From now on we decide. What waits for the master in each name is decided again.
    fn leave_master(&mut self, reason: String) {
        self.era += 1;
        self.replay = None;
        self.theirs = HashMap::new();
        self.barrier_running = None;
        self.barrier_wanted = false;
        self.out.push(Decision::ForgetListed);
        if self.poisoned {
            // Our list may miss what the master granted after our store failed.
            self.enter(State::Learning, format!("{reason}; and our own store has failed"));
        } else {
            self.enter(State::StandingIn, reason);
        }
        for (name, slot) in &mut self.names {
            if slot.busy.is_some() {
                self.unfinished.insert(name.clone());
            }
            slot.fence = None;
            slot.line = None;
            slot.waiting.retain(|job| !matches!(job, Job::Settle));
            self.woken.push_back(name.clone());
        }
    }

    pub(super) fn poison(&mut self, reason: &str) {
        if !self.poisoned {
            self.poisoned = true;
            self.out.push(Decision::Notice(format!(
                "the store failed, nothing more is promised on it: {reason}"
            )));
        }
    }

    pub(super) fn stand_in(&mut self) {
        self.held = true;
        if matches!(self.state, State::Following | State::Replaying) {
            self.leave_master("held by an operator".into());
        }
    }

    pub(super) fn follow(&mut self) {
        self.held = false;
        if matches!(self.state, State::StandingIn | State::Holding) {
            self.out.push(Decision::Reconnect);
        }
    }

    /// The master's list is taken as it is; what we owed it is forgotten.
    pub(super) fn accept(&mut self) {
        if matches!(self.state, State::Following) {
            return;
        }
        self.leave_master("taking the master's list".into());
        self.held = false;
        self.stale = false;
        self.enter(State::Learning, "an operator accepted the master's list");
        self.out.push(Decision::Reload);
    }

    /// At the next fresh list everything of ours goes to the master.
    pub(super) fn begin_reseed(&mut self) {
        if matches!(self.state, State::StandingIn | State::Holding) {
            self.reseed = true;
            self.held = false;
            self.out.push(Decision::Reconnect);
        }
    }

    pub(super) fn tick(&mut self) {
        let Some(replay) = &mut self.replay else { return };
        let todo: Vec<_> =
            replay.postponed.keys().filter(|name| !replay.todo.contains(name)).cloned().collect();
        replay.todo.extend(todo);
        self.pump();
    }
}
