//! One name compared with the master's list, and put right.

use super::{Busy, Counted, Decision, Job, Machine, Now, State};
use crate::authority::evidence::Evidence;
use crate::authority::facts::{Facts, Unreadable};
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::Write;
use crate::list::{Entry, EntryState, MailboxName, Step};
use crate::store::{Cause, Change, Conflict, Doubt};

impl Machine {
    /// Remembers what the master holds now, as long as that matters.
    pub(super) fn know_theirs(&mut self, name: &MailboxName, entry: Option<Entry>) {
        if self.state == State::Replaying {
            self.theirs.insert(name.clone(), entry);
        } else {
            self.theirs.remove(name);
        }
    }

    pub(super) fn start_settle(&mut self, name: &MailboxName, now: Now, facts: &dyn Facts) {
        let wanted = match self.state {
            State::Replaying => self.is_unsettled(name),
            State::Following => self.theirs.contains_key(name),
            // The master was lost meanwhile; its next list brings the name up again.
            State::Learning | State::StandingIn | State::Holding => false,
        };
        // On a store that has failed nothing can be settled: the name is refused until Ravenry is started again.
        if !wanted || self.poisoned {
            return;
        }
        self.comparing(name);
        match self.evidence(name, facts) {
            Ok(evidence) => self.put_right(name, evidence, now),
            Err(why) => {
                self.unreadable(&why);
                self.settled(name);
            }
        }
    }

    fn evidence(&self, name: &MailboxName, facts: &dyn Facts) -> Result<Evidence, Unreadable> {
        let theirs = match self.theirs.get(name) {
            Some(theirs) => theirs.clone(),
            None if self.state == State::Replaying => facts.listed(name)?,
            None => facts.entry(name)?,
        };
        Evidence::gather(facts, name, theirs)
    }

    fn put_right(&mut self, name: &MailboxName, evidence: Evidence, now: Now) {
        let step = evidence.advice(self.is_reseeding());
        let Evidence { base, theirs, ours, doubts, deactivated, conflict, unconfirmed, .. } = evidence;
        let mut changes = Vec::new();
        if base.is_some() && conflict.is_none() {
            changes.push(Change::Settle { name: name.clone(), upto: u64::MAX });
        }
        match step {
            Step::Agreed => {
                if conflict.is_some() {
                    changes.push(Change::ResolveConflict { name: name.clone() });
                    changes.push(Change::Settle { name: name.clone(), upto: u64::MAX });
                }
                if unconfirmed {
                    changes.push(Change::Confirm { name: name.clone() });
                }
                self.conclude(name, changes, None);
            }
            Step::Send => self.replay_ours(name, theirs, ours, &doubts, now),
            Step::Adopt => {
                // What our own late write did is no news.
                if !doubts.iter().any(|doubt| doubt.effect == theirs) {
                    let place = theirs.as_ref().or(ours.as_ref()).map(|entry| entry.location.clone());
                    self.out.push(Decision::Count(Counted::Bypassed(place)));
                }
                self.adopt(name, theirs, changes, unconfirmed);
            }
            Step::Postpone => {
                let waited = self.replay.as_mut().map(|replay| replay.postpone(name, now.since_start));
                if waited.is_some_and(|waited| waited < self.policy.postpone) {
                    return self.pump(); // news of it, or a tick, bring it up again
                }
                self.comparing(name);
                self.revive(name, deactivated);
            }
            Step::Wait => {
                changes.push(Change::Unconfirmed { name: name.clone(), theirs });
                self.conclude(name, changes, None);
            }
            Step::Conflict => {
                let at_unix = conflict.as_ref().map_or(now.unix, |known| known.at_unix);
                let base = base.flatten();
                if conflict.is_none() {
                    self.out.push(Decision::Count(Counted::Conflict));
                    self.out
                        .push(Decision::Notice(format!("conflict: {name} differs here and at the master")));
                }
                let conflict = Conflict { name: name.clone(), base, theirs, ours, at_unix };
                changes.push(Change::Conflict(conflict));
                self.conclude(name, changes, None);
            }
        }
    }

    /// An XFER never came to its end: the mailbox is live where it was, as it was before the DEACTIVATE.
    fn revive(&mut self, name: &MailboxName, entry: Option<Entry>) {
        self.settle_next(name);
        self.commit(name, Vec::new(), Some((entry, Cause::Unfinished)), None, false);
    }

    fn adopt(
        &mut self,
        name: &MailboxName,
        theirs: Option<Entry>,
        mut changes: Vec<Change>,
        unconfirmed: bool,
    ) {
        if unconfirmed {
            changes.push(Change::Confirm { name: name.clone() });
        }
        self.conclude(name, changes, Some((theirs, Cause::Master)));
    }

    fn conclude(
        &mut self,
        name: &MailboxName,
        changes: Vec<Change>,
        becomes: Option<(Option<Entry>, Cause)>,
    ) {
        if self.state == State::Following {
            self.theirs.remove(name);
        }
        if changes.is_empty() && becomes.is_none() {
            return self.settled(name);
        }
        self.commit(name, changes, becomes, None, true);
    }

    pub(super) fn settle_next(&mut self, name: &MailboxName) {
        self.names.entry(name.clone()).or_default().waiting.push_front(Job::Settle);
    }

    /// Gives the master what we hold, in the form that can neither crash it nor hide a live mailbox.
    fn replay_ours(
        &mut self,
        name: &MailboxName,
        theirs: Option<Entry>,
        ours: Option<Entry>,
        doubts: &[Doubt],
        now: Now,
    ) {
        let name = name.clone();
        let write = match ours {
            // The master grants a reservation only where nobody holds the name, so the old entry goes first.
            // If we are killed after that, the doubt on record says that its absence is our doing.
            Some(Entry { location, state: EntryState::Reserved })
                if theirs.is_some_and(|theirs| theirs.is_active() || theirs.location != location) =>
            {
                if !doubts.iter().any(|doubt| doubt.effect.is_none()) {
                    self.settle_next(&name);
                    return self.commit(&name, vec![Self::doubt(&name, None, now)], None, None, false);
                }
                Write::Delete { name }
            }
            None => Write::Delete { name },
            Some(Entry { location, state: EntryState::Reserved }) => Write::Reserve { name, location },
            Some(Entry { location, state: EntryState::Active(acl) }) => {
                Write::Activate { name, location, acl }
            }
        };
        let name = &write.name().clone();
        self.send(name, write.clone(), Busy::Replaying(write), now);
    }

    /// What is to be taken off the record once the master holds what we hold.
    fn on_record(name: &MailboxName, facts: &dyn Facts) -> Result<Vec<Change>, Unreadable> {
        let mut changes = Vec::new();
        if facts.base(name)?.is_some() {
            changes.push(Change::Settle { name: name.clone(), upto: u64::MAX });
        }
        changes.extend(facts.conflict(name)?.map(|known| Change::ResolveConflict { name: known.name }));
        changes.extend(facts.unconfirmed(name)?.map(|_| Change::Confirm { name: name.clone() }));
        Ok(changes)
    }

    pub(super) fn replayed(
        &mut self,
        name: &MailboxName,
        write: Write,
        result: Result<MasterReply, Lost>,
        now: Now,
        facts: &dyn Facts,
    ) {
        match result {
            Ok(MasterReply::Done) => {
                self.know_theirs(name, write.effect());
                self.fence(name, now);
                if facts.entry(name) != Ok(write.effect()) {
                    return self.settle_next(name); // that was the first of two steps
                }
                match Self::on_record(name, facts) {
                    // Most names of a reseed: only the lists differed, so nothing is to be written.
                    Ok(changes) if changes.is_empty() => self.settled(name),
                    Ok(changes) => {
                        self.answered(name);
                        self.commit(name, changes, None, None, true);
                    }
                    Err(why) => {
                        self.unreadable(&why);
                        self.settled(name);
                    }
                }
            }
            Ok(MasterReply::Refused(text)) => {
                // Something took the name between the master's list and our write: hear what, once.
                if self.replay.as_mut().is_some_and(|replay| replay.refuse(name)) {
                    self.fence(name, now);
                    return self.pump();
                }
                self.out.push(Decision::Count(Counted::Conflict));
                self.out.push(Decision::Notice(format!("the master refused our {name}: {text}")));
                let base = facts.base(name).ok().flatten().flatten();
                let conflict = Conflict {
                    name: name.clone(),
                    base,
                    theirs: self.theirs.get(name).cloned().flatten(),
                    ours: write.effect(),
                    at_unix: now.unix,
                };
                let settle = Change::Settle { name: name.clone(), upto: u64::MAX };
                self.commit(name, vec![Change::Conflict(conflict), settle], None, None, true);
            }
            Err(lost) => {
                self.unanswered(&lost, now);
                if let Lost::InDoubt(_) = lost {
                    let doubt = Self::doubt(name, write.effect(), now);
                    self.commit(name, vec![doubt], None, None, false);
                }
            }
        }
    }
}
