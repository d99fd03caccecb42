//! Everything that is known of one name, and what follows from it. Replay, the plan, reseed and a person's
//! decision all ask here, so they cannot come to different ends.

use super::facts::{Facts, Unreadable};
use crate::list::{Base, Entry, MailboxName, Sides, Step, is_delete_mark, merge};
use crate::store::{Conflict, Doubt};

/// What the merge of one name looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Evidence {
    /// What the name was before our first write since the last sync; `None` when we wrote nothing.
    pub(super) base: Option<Option<Entry>>,
    pub(super) theirs: Option<Entry>,
    pub(super) ours: Option<Entry>,
    pub(super) doubts: Vec<Doubt>,
    /// The active entry that our newest journalled write, a DEACTIVATE, took away.
    pub(super) deactivated: Option<Entry>,
    pub(super) conflict: Option<Conflict>,
    pub(super) unconfirmed: bool,
    /// The list held the name once, and somebody removed it.
    forgotten: bool,
}

impl Evidence {
    /// Looks everything up; `theirs` is what the master holds.
    pub(super) fn gather(
        facts: &dyn Facts,
        name: &MailboxName,
        theirs: Option<Entry>,
    ) -> Result<Self, Unreadable> {
        let ours = facts.entry(name)?;
        let conflict = facts.conflict(name)?;
        let base = match (&conflict, facts.base(name)?) {
            // A conflict on record remembers the last common state; the journal since then does not.
            (Some(conflict), _) => Some(conflict.base.clone()),
            (None, base) => base,
        };
        let forgotten = ours.is_none() && base.is_none() && theirs.is_some() && facts.forgotten(name)?;
        Ok(Self {
            base,
            theirs,
            ours,
            doubts: facts.doubts(name)?,
            deactivated: facts.deactivated(name)?,
            conflict,
            unconfirmed: facts.unconfirmed(name)?.is_some(),
            forgotten,
        })
    }

    /// What to do. In a reseed a person has said that ours is right wherever the merge would wait or ask.
    pub(super) fn advice(&self, reseed: bool) -> Step {
        let base = match &self.base {
            Some(was) => Base::Was(was.as_ref()),
            None if self.forgotten => Base::Forgotten,
            None => Base::Untouched,
        };
        let sides = Sides { base, theirs: self.theirs.as_ref(), ours: self.ours.as_ref() };
        match merge(sides, self.doubts.iter().map(|doubt| doubt.effect.as_ref())) {
            // Deleted and reserved anew, not deactivated: the old mailbox is gone.
            Step::Postpone if self.deactivated.is_none() => Step::Send,
            Step::Adopt | Step::Wait | Step::Conflict if reseed => Step::Send,
            step => step,
        }
    }

    /// Why [`Self::advice`] says what it says.
    pub(super) fn why(&self, reseed: bool) -> &'static str {
        let own_doing = self.theirs.as_ref().is_some_and(is_delete_mark)
            || self.doubts.iter().any(|doubt| doubt.effect == self.theirs);
        match self.advice(reseed) {
            Step::Agreed => "both hold the same",
            Step::Send if own_doing => "the master has it from a write of ours whose reply never came",
            Step::Send if self.base.is_some() && self.advice(false) == Step::Send => {
                "changed here while standing in, and not at the master"
            }
            Step::Send => "a person says that our list is right",
            Step::Postpone => "an XFER is under way: the mailbox is still active at the master",
            Step::Adopt if self.ours.is_none() => "the master has it, and we never had",
            Step::Adopt => "changed at the master, and not here",
            Step::Wait if self.forgotten => {
                "removed while we followed, and the master has it again: an older list, or it was made anew"
            }
            Step::Wait if self.theirs.is_none() => {
                "the master's list lacks it: kept until a live change, its backend or a person confirms that"
            }
            Step::Wait => {
                "the master has it elsewhere or as a reservation: kept until a live change, its backend or a \
                 person confirms that"
            }
            Step::Conflict => "changed here and at the master, differently: a person decides",
        }
    }
}
