//! What the state machine may look up. The store answers in the running process, a model in tests.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::guard::Account;
use crate::list::{Entry, MailboxName, takes_away};
use crate::store::{Conflict, Doubt};

/// A look-up failed; whoever asked cannot be answered truthfully.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the list cannot be read: {0}")]
pub struct Unreadable(pub String);

/// The committed facts about names. For one name they are only asked for while no commit of that name is
/// under way, so what they say is current.
pub trait Facts {
    /// What the list holds.
    fn entry(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable>;
    /// The version of what the list holds: the number of the change that put it there.
    fn version(&self, name: &MailboxName) -> Result<Option<u64>, Unreadable>;
    /// What the list held when the master's dump began, with which [`Difference`] was made.
    fn listed(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable>;
    /// What the name was before our first write since the last sync; `None` when we wrote nothing.
    fn base(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable>;
    /// The active entry that our newest journalled write, a DEACTIVATE, took away.
    fn deactivated(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable>;
    /// Writes whose outcome at the master is unknown.
    fn doubts(&self, name: &MailboxName) -> Result<Vec<Doubt>, Unreadable>;
    /// Whether there is any name with such a write.
    fn any_doubts(&self) -> bool;
    /// The conflict recorded for the name.
    fn conflict(&self, name: &MailboxName) -> Result<Option<Conflict>, Unreadable>;
    /// What the master's last snapshot holds of a name that waits to be confirmed.
    fn unconfirmed(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable>;
    /// Whether the list held the name once and it was removed, as far as that is remembered.
    fn forgotten(&self, name: &MailboxName) -> Result<bool, Unreadable>;
    /// How many ghosts of a server were forgotten on a day since 1970.
    fn ghosts(&self, server: &[u8], day: u64) -> u64;
    /// How many names the list holds.
    fn entries(&self) -> u64;
}

/// Where the master's fresh list differs from ours at the moment its dump began.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    /// What the master holds for each name that differs; `None`: it lacks the name.
    pub theirs: HashMap<MailboxName, Option<Entry>>,
    /// More differed than is kept: only good for saying that the lists are strangers.
    pub overflowed: bool,
    /// Names that only the master holds, but for half-done deletes of ours.
    pub only_theirs: u64,
    /// Names of ours that it lacks, hides or has elsewhere.
    pub taken: u64,
    /// How many names the master sent.
    pub listed: u64,
    /// How long the master took to send them; it answers nothing else meanwhile.
    pub took: Duration,
}

/// A [`Difference`], and what of it we know a reason for. Everything is as it was when the master's dump began, however
/// long the comparison took; [`Self::recount`] says what was written since.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comparison {
    /// Where the lists differ.
    pub difference: Difference,
    /// What that takes away for no reason that we know of: the guard counts this.
    pub unexplained: Account,
    /// What it takes away for a reason that we know.
    pub explained: HashSet<MailboxName>,
    /// Every name that must be looked at whether or not it differs: those journalled, in the order of their first
    /// record, and those in conflict or unconfirmed.
    pub unsettled: Vec<MailboxName>,
}

impl Comparison {
    /// Judges names anew that were written since the master's dump began.
    pub fn recount<'a>(
        &mut self,
        written: impl IntoIterator<Item = &'a MailboxName>,
        facts: &dyn Facts,
    ) -> Result<(), Unreadable> {
        for name in written {
            let Some(theirs) = self.difference.theirs.get(name) else { continue };
            let (ours, theirs) = (facts.listed(name)?, theirs.as_ref());
            if !takes_away(theirs, ours.as_ref()) {
                continue;
            }
            if is_explained(name, theirs, facts)? {
                if self.explained.insert(name.clone()) {
                    self.unexplained.take_off(name, ours.as_ref(), theirs);
                }
            } else if self.explained.remove(name) {
                self.unexplained.add(name, ours.as_ref(), theirs);
            }
        }
        Ok(())
    }
}

/// Whether we know why the master holds `theirs` and not what we hold: we wrote the name since the last sync, or it is
/// on record already.
fn is_explained(name: &MailboxName, theirs: Option<&Entry>, facts: &dyn Facts) -> Result<bool, Unreadable> {
    Ok(facts.base(name)?.is_some()
        || facts.unconfirmed(name)?.is_some()
        || facts.conflict(name)?.is_some()
        || facts.doubts(name)?.iter().any(|doubt| doubt.effect.as_ref() == theirs))
}
