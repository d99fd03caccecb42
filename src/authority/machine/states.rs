//! The transitions.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Counted, Decision, Job, Machine, Now, Replay, State, Unserved};
use crate::authority::facts::{Comparison, Facts};
use crate::authority::guard::suspicion;
use crate::authority::master::MasterIdentity;
use crate::list::MailboxName;
use crate::rules::{Rule, kept};

/// For so long after the master was lost, waiting for it is kept short.
const AFTER_A_TRIP: Duration = Duration::from_secs(60);

impl Machine {
    pub(super) fn enter(&mut self, state: State, why: impl Into<String>) {
        self.state = state;
        self.out.push(Decision::Enter(state, why.into()));
    }

    pub(super) fn deadline(&self, now: Now) -> Duration {
        let tripped = self.last_trip.is_some_and(|trip| now.since_start.saturating_sub(trip) < AFTER_A_TRIP);
        self.at_least(if tripped { self.policy.short_deadline } else { self.policy.deadline })
    }

    /// For what no caller waits for: a master that is given everything is busy, and not lost.
    pub(super) fn replay_deadline(&self) -> Duration {
        self.at_least(self.policy.deadline)
    }

    fn at_least(&self, patience: Duration) -> Duration {
        // The master holds its lock while it sends its list to anybody; but the caller has its own patience,
        // and what the master did not answer is still to be decided here.
        if !kept(Rule::EveryWaitIsBounded) {
            return Duration::MAX;
        }
        patience.max(self.last_dump * 3).min(self.policy.patience * 3 / 4)
    }

    pub(super) fn master_up(&mut self, identity: &MasterIdentity) {
        self.answering = Some(identity.servername.clone());
        // A commit that is under way may not be in the list that is compared.
        self.written = Some(self.commits.values().cloned().collect());
        self.out.push(Decision::Notice(format!(
            "reading the list of {} ({})",
            identity.servername, identity.version
        )));
    }

    pub(super) fn loaded(&mut self, took: Duration) {
        self.last_dump = took;
        self.written = None;
        if self.state != State::Learning && !self.is_accepting() {
            return;
        }
        self.complete();
        self.unfinished.clear();
        self.learned("the master's list is complete");
    }

    /// Our list is the master's.
    fn learned(&mut self, why: &str) {
        self.unserved = None;
        self.known_master = self.answering.clone();
        if self.held {
            self.enter(State::StandingIn, "held by an operator");
        } else {
            self.enter(State::Following, why);
        }
    }

    /// Why the server that answers is not the one that we knew.
    fn stranger(&self) -> Option<String> {
        match (&self.known_master, &self.answering) {
            (Some(known), Some(answering)) if known != answering => Some(format!(
                "the master calls itself {answering}, and was {known}; if that is meant, `ravenry reseed` or \
                 `ravenry accept`"
            )),
            _ => None,
        }
    }

    /// The master's list is to be read anew. What became of the present one does not matter any more.
    pub(super) fn list_anew(&mut self, how: Decision) {
        self.written = None;
        self.out.push(how);
    }

    pub(super) fn master_list(&mut self, mut comparison: Comparison, now: Now, facts: &dyn Facts) {
        self.last_dump = comparison.difference.took;
        // What was written meanwhile is unknown of a list that is not awaited.
        let Some(written) = self.written.take() else { return };
        if let Err(why) = comparison.recount(&written, facts) {
            return self.unreadable(&why);
        }
        comparison.unexplained.leave_out(|server| self.is_expected(server, now));
        let entries = facts.entries();
        let judged = self.stranger().or_else(|| suspicion(self.policy.guard, &comparison, entries));
        let decides =
            matches!(self.state, State::StandingIn | State::Holding) && !self.held && !self.poisoned;
        let reseeds = decides && self.may_reseed(&comparison.difference, entries);
        match self.state {
            State::Learning if self.unserved.is_some() => {
                self.compare_unserved(comparison, written, judged, facts);
            }
            State::StandingIn | State::Holding if self.held => {
                self.out
                    .push(Decision::Notice("the master is back; an operator keeps us standing in".into()));
            }
            State::StandingIn | State::Holding if self.poisoned => {}
            State::StandingIn | State::Holding => match judged {
                Some(reason) if !reseeds => {
                    if self.state != State::Holding {
                        self.out.push(Decision::Count(Counted::GuardTripped));
                    }
                    self.enter(State::Holding, reason);
                }
                _ => self.start_replay(comparison, written),
            },
            State::Learning | State::Following | State::Replaying => {}
        }
        if self.state != State::Replaying {
            self.out.push(Decision::ForgetListed);
        }
    }

    /// Our list is not to be served before it was compared. Where the master's agrees or is merely newer, its
    /// list is taken; where names would be lost, or an old list owes the master changes, a person decides.
    fn compare_unserved(
        &mut self,
        comparison: Comparison,
        written: HashSet<MailboxName>,
        judged: Option<String>,
        facts: &dyn Facts,
    ) {
        // Nothing is decided before the list is served, so nothing was added meanwhile.
        let owing = comparison.unsettled.len();
        if let Some(reason) = judged {
            return self.enter(State::Learning, format!("the list on disk is not current, and {reason}"));
        }
        match self.unserved {
            // It was served a short while ago, so what it owes is owed still.
            Some(Unserved::Suspect) if !self.held => {
                self.unserved = None;
                self.start_replay(comparison, written);
            }
            _ if owing > 0 => {
                let why = format!("the list on disk is old and owes the master {owing} changes");
                self.enter(State::Learning, why);
            }
            _ if comparison.difference.theirs.is_empty() => self.learned("the list on disk is the master's"),
            // Not all that differs need be news: some of it we asked for, and told the caller that it failed. Nor
            // can the list be taken unseen: such a write may be carried out just before it is read again.
            _ if facts.any_doubts() && !self.held => {
                self.unserved = None;
                self.start_replay(comparison, written);
            }
            // Nothing may be sent to the master while an operator holds us.
            _ if facts.any_doubts() => {
                let why = "the list on disk is not current, writes of ours are in doubt, and an operator keeps us \
                           from comparing it (`ravenry follow`)";
                self.enter(State::Learning, why);
            }
            _ => {
                self.out.push(Decision::Notice("the list on disk differs: taking the master's".into()));
                self.list_anew(Decision::Reload);
            }
        }
    }

    fn start_replay(&mut self, comparison: Comparison, written: HashSet<MailboxName>) {
        let Comparison { difference, unsettled: mut names, .. } = comparison;
        let mut replay = Replay::default();
        replay.overflowed = difference.overflowed;
        // Neighbours one after the other: so the master's database writes fewer pages for each.
        names.extend(Self::in_order(difference.theirs.keys().cloned()));
        // Since the comparison began, more may have been journalled.
        names.extend(Self::in_order(written));
        // What is being committed at this moment is journalled, but not on record yet.
        names.extend(Self::in_order(self.names.keys().cloned().chain(self.unfinished.drain())));
        names.into_iter().for_each(|name| replay.queue(name));
        self.theirs = difference.theirs;
        let why = format!("the master is back; {} names to compare", replay.len());
        self.replay = Some(replay);
        self.enter(State::Replaying, why);
        self.pump();
    }

    pub(super) fn master_lost(&mut self, reason: String, now: Now) {
        self.written = None;
        if !matches!(self.state, State::Following | State::Replaying) {
            return;
        }
        self.last_trip = Some(now.since_start);
        self.leave_master(State::StandingIn, reason);
    }

    /// From now on the master is not asked. What waits for it in each name is decided again.
    pub(super) fn leave_master(&mut self, to: State, reason: String) {
        self.era += 1;
        self.replay = None;
        self.interrupt(&reason);
        self.theirs = HashMap::new();
        self.barrier_running = None;
        self.barrier_wanted = false;
        self.out.push(Decision::ForgetListed);
        if self.poisoned {
            // Our list may miss what the master granted after our store failed.
            self.enter(State::Learning, format!("{reason}; and our own store has failed"));
        } else {
            self.enter(to, reason);
        }
        for (name, slot) in &mut self.names {
            if slot.busy.is_some() {
                self.unfinished.insert(name.clone());
            }
            slot.fence = None;
            slot.line = None;
            slot.waiting.retain(|job| !matches!(job, Job::Settle));
        }
        self.woken.extend(Self::in_order(self.names.keys().cloned()));
    }

    pub(super) fn poison(&mut self, reason: &str) {
        if !self.poisoned {
            self.poisoned = true;
            self.out.push(Decision::Notice(format!(
                "the store failed, nothing more is promised on it: {reason}"
            )));
        }
    }
}
