//! Everything that is known of one name, and what follows from it. Replay, the plan, reseed and a person's
//! decision all ask here, so they cannot come to different ends.

use super::facts::{Facts, Unreadable};
use crate::list::{Base, Entry, MailboxName, Sides, Step, merge};
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
            unconfirmed: facts.unconfirmed(name)?,
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
}
