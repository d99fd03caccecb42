//! A person decides about one name.

use super::{Answer, CallId, Job, Machine, State};
use crate::authority::facts::{Facts, Unreadable};
use crate::authority::write::{Outcome, Refusal};
use crate::list::{Entry, MailboxName};
use crate::store::{Cause, Change, Doubt};

/// Whose word counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// The master's.
    Theirs,
    /// Ours.
    Ours,
}

impl Machine {
    pub(super) fn resolve(
        &mut self,
        call: CallId,
        name: &MailboxName,
        keep: Keep,
        facts: &dyn Facts,
        unix: u64,
    ) {
        if self.state == State::Learning || self.poisoned {
            return self.reply(call, Outcome::Unavailable);
        }
        match (Self::disputed(name, facts), facts.entry(name)) {
            (Ok(Some(theirs)), Ok(ours)) => self.decided(call, name, keep, theirs, ours, unix),
            (Ok(None), Ok(_)) => self.reply(call, Outcome::Refused(Refusal::Undisputed)),
            (Err(why), _) | (_, Err(why)) => {
                self.unreadable(&why);
                self.reply(call, Outcome::Unavailable);
            }
        }
    }

    /// What the master holds of a name that waits for a person.
    fn disputed(name: &MailboxName, facts: &dyn Facts) -> Result<Option<Option<Entry>>, Unreadable> {
        Ok(match facts.conflict(name)? {
            Some(conflict) => Some(conflict.theirs),
            None => facts.unconfirmed(name)?,
        })
    }

    fn decided(
        &mut self,
        call: CallId,
        name: &MailboxName,
        keep: Keep,
        theirs: Option<Entry>,
        ours: Option<Entry>,
        unix: u64,
    ) {
        let mut changes =
            vec![Change::ResolveConflict { name: name.clone() }, Change::Confirm { name: name.clone() }];
        let mut becomes = None;
        match keep {
            Keep::Theirs => {
                changes.push(Change::Settle { name: name.clone(), upto: u64::MAX });
                if theirs != ours {
                    becomes = Some((theirs, Cause::Person));
                }
            }
            Keep::Ours => {
                // What the master holds is from now on as good as a late write of our own: it is put right now,
                // or when the master is back, or when it turns up again.
                let doubt = Doubt { effect: theirs.clone(), at_unix: unix };
                changes.push(Change::Doubt { name: name.clone(), doubt });
                if matches!(self.state, State::Following | State::Replaying) {
                    self.theirs.insert(name.clone(), theirs);
                    if let Some(replay) = &mut self.replay {
                        replay.queue(name.clone());
                    } else {
                        self.names.entry(name.clone()).or_default().waiting.push_front(Job::Settle);
                    }
                }
            }
        }
        let answer =
            Answer { call: Some(call), outcome: Outcome::Done, if_store_fails: Outcome::Unavailable };
        self.commit(name, changes, becomes, Some(answer), false);
    }
}
