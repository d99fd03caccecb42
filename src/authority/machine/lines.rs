//! What the master's stream says while we follow it.

use super::{BarrierId, Counted, Decision, Job, Machine, Now, State};
use crate::authority::facts::{Facts, Unreadable};
use crate::authority::master::Lost;
use crate::list::{Entry, MailboxName, is_delete_mark};
use crate::store::{Cause, Change, Conflict};

impl Machine {
    /// The master changed a name, or tells of a change of ours.
    pub(super) fn line(&mut self, name: MailboxName, entry: Option<Entry>, now: Now, facts: &dyn Facts) {
        match self.state {
            State::Replaying => {
                self.theirs.insert(name.clone(), entry.clone());
                self.news_of(&name);
            }
            State::Following => {}
            // Nobody follows the stream: the next fresh list will tell.
            State::Learning | State::StandingIn | State::Holding => return,
        }
        if let Some(slot) = self.names.get_mut(&name) {
            slot.line = Some(entry);
            return self.woken.push_back(name);
        }
        self.judge_line(&name, entry, now, facts);
    }

    pub(super) fn judge_line(
        &mut self,
        name: &MailboxName,
        line: Option<Entry>,
        now: Now,
        facts: &dyn Facts,
    ) {
        if !matches!(self.state, State::Following | State::Replaying) || self.is_unsettled(name) {
            return;
        }
        if line.as_ref().is_some_and(is_delete_mark) {
            return; // the first half of one of our own deletes; the second follows
        }
        if let Err(why) = self.take_line(name, line, now, facts) {
            self.unreadable(&why);
        }
    }

    fn take_line(
        &mut self,
        name: &MailboxName,
        line: Option<Entry>,
        now: Now,
        facts: &dyn Facts,
    ) -> Result<(), Unreadable> {
        let ours = facts.entry(name)?;
        let conflict = facts.conflict(name)?;
        let unconfirmed = facts.unconfirmed(name)?.is_some();
        let mut changes = Vec::new();
        if let Some(known) = conflict {
            if line == ours {
                changes.push(Change::ResolveConflict { name: name.clone() });
                changes.push(Change::Settle { name: name.clone(), upto: u64::MAX });
            } else if line == known.base {
                // Whoever took the name there has given it back: there is nothing left to decide.
                self.out.push(Decision::Notice(format!("the conflict about {name} is over: ours stands")));
                self.settle_later(name, line);
                return Ok(());
            } else if known.theirs != line {
                changes.push(Change::Conflict(Conflict { theirs: line, ..known }));
            }
            if !changes.is_empty() {
                self.commit(name, changes, None, None, false);
            }
            return Ok(());
        }
        if line == ours {
            if unconfirmed {
                self.commit(name, vec![Change::Confirm { name: name.clone() }], None, None, false);
            }
            return Ok(());
        }
        if facts.doubts(name)?.iter().any(|doubt| doubt.effect == line) {
            // Rule 7: a write of ours that was given up long ago is carried out only now.
            self.out.push(Decision::Notice(format!("the master carried out an old write of {name} late")));
            self.settle_later(name, line);
            return Ok(());
        }
        if let (None, Some(held)) = (&line, &ours)
            && self.is_burst(name, held, now, facts)
        {
            return Ok(());
        }
        let place = line.as_ref().or(ours.as_ref()).map(|entry| entry.location.clone());
        self.out.push(Decision::Count(Counted::Bypassed(place)));
        if unconfirmed {
            changes.push(Change::Confirm { name: name.clone() });
        }
        self.commit(name, changes, Some((line, Cause::Master)), None, false);
        Ok(())
    }

    /// The master holds something that is not to be taken as it is: compare and put right.
    fn settle_later(&mut self, name: &MailboxName, theirs: Option<Entry>) {
        self.theirs.insert(name.clone(), theirs);
        if let Some(replay) = &mut self.replay {
            replay.queue(name.clone());
            self.pump();
        } else {
            self.enqueue(name.clone(), Job::Settle);
        }
    }

    /// From now on lines of this name count only after a barrier begun now: what the stream still holds of
    /// it may be older than the reply we just had.
    pub(super) fn fence(&mut self, name: &MailboxName, now: Now) {
        if !matches!(self.state, State::Following | State::Replaying) {
            return;
        }
        let next = BarrierId(self.barriers + 1);
        let slot = self.names.entry(name.clone()).or_default();
        slot.fence = Some(next);
        self.barrier_wanted = true;
        self.start_barrier(now);
    }

    fn start_barrier(&mut self, now: Now) {
        if self.barrier_running.is_none() && self.barrier_wanted {
            self.barriers += 1;
            self.barrier_wanted = false;
            let id = BarrierId(self.barriers);
            self.barrier_running = Some(id);
            let deadline = self.deadline(now);
            self.out.push(Decision::Barrier(id, deadline));
        }
    }

    pub(super) fn barrier_ended(&mut self, id: BarrierId, result: Result<(), Lost>, now: Now) {
        if self.barrier_running != Some(id) {
            return;
        }
        self.barrier_running = None;
        if let Err(lost) = result {
            return self.unanswered(&lost, now);
        }
        let passed = self.names.iter().filter(|(_, slot)| slot.fence.is_some_and(|fence| fence <= id));
        for name in Self::in_order(passed.map(|(name, _)| name.clone())) {
            if let Some(slot) = self.names.get_mut(&name) {
                slot.fence = None;
            }
            self.heard_of(&name);
            self.woken.push_back(name);
        }
        self.start_barrier(now);
    }
}
