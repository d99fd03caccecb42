//! The machine's facts, as the store has them.

use std::collections::HashMap;

use super::facts::{Facts, Unreadable};
use crate::list::{Entry, MailboxName};
use crate::store::{Conflict, Doubt, Snapshot, Store, StoreError, Verb};

/// How many names are read from the store in one go.
const PAGE: usize = 4096;

/// The committed facts, and the list as it was when the master's dump began.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) store: Store,
    pub(crate) listed: Option<Snapshot>,
}

impl From<StoreError> for Unreadable {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

/// Reads a table of names to its end, page by page.
pub(crate) fn all_names<T>(
    mut page: impl FnMut(Option<&MailboxName>) -> Result<Vec<T>, StoreError>,
    name: impl Fn(&T) -> &MailboxName,
) -> Result<Vec<MailboxName>, StoreError> {
    let mut names: Vec<MailboxName> = Vec::new();
    loop {
        let part = page(names.last())?;
        let more = part.len() >= PAGE;
        names.extend(part.iter().map(|row| name(row).clone()));
        if !more {
            return Ok(names);
        }
    }
}

/// Every name in conflict.
pub(crate) fn conflicting(snapshot: &Snapshot) -> Result<Vec<MailboxName>, StoreError> {
    all_names(|after| snapshot.conflicts(after, PAGE), |conflict| &conflict.name)
}

/// Every name that the master's snapshot took away and nobody confirmed.
pub(crate) fn unconfirmed(snapshot: &Snapshot) -> Result<Vec<MailboxName>, StoreError> {
    all_names(|after| snapshot.unconfirmed(after, PAGE), |(name, _)| name)
}

/// Every name with journal records.
pub(crate) fn journalled(snapshot: &Snapshot) -> Result<Vec<MailboxName>, StoreError> {
    all_names(|after| snapshot.journalled_names(after, PAGE), |name| name)
}

/// Every name that must be looked at when the master is back: see [`Comparison`](super::facts::Comparison).
pub(crate) fn unsettled(snapshot: &Snapshot) -> Result<Vec<MailboxName>, StoreError> {
    let mut names = Vec::new();
    let mut after = 0;
    loop {
        let part = snapshot.journal(after, PAGE)?;
        let Some(last) = part.last() else { break };
        after = last.seq;
        names.extend(part.into_iter().map(|journalled| journalled.record.name));
    }
    names.extend(conflicting(snapshot)?);
    names.extend(unconfirmed(snapshot)?);
    Ok(names)
}

/// Names with writes whose outcome is unknown, where the master holds what such a write makes of them.
pub(crate) fn explained_by_doubts(
    snapshot: &Snapshot,
    theirs: &HashMap<MailboxName, Option<Entry>>,
) -> Result<Vec<MailboxName>, StoreError> {
    let (mut names, mut last) = (Vec::new(), None);
    loop {
        let part = snapshot.doubts(last.as_ref(), PAGE)?;
        let more = part.len() >= PAGE;
        last = part.last().map(|(name, _)| name.clone());
        let explain = |(name, doubts): (MailboxName, Vec<Doubt>)| {
            let held = theirs.get(&name)?;
            doubts.iter().any(|doubt| doubt.effect == *held).then_some(name)
        };
        names.extend(part.into_iter().filter_map(explain));
        if !more {
            return Ok(names);
        }
    }
}

impl Facts for Recorded {
    fn entry(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.store.get(name)?)
    }

    fn version(&self, name: &MailboxName) -> Result<Option<u64>, Unreadable> {
        Ok(self.store.snapshot()?.versioned(name)?.map(|(_, version)| version))
    }

    fn listed(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        match &self.listed {
            Some(snapshot) => Ok(snapshot.get(name)?),
            None => self.entry(name),
        }
    }

    fn base(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable> {
        if self.store.stats().journal_records == 0 {
            return Ok(None);
        }
        Ok(self.store.snapshot()?.journal_base(name)?)
    }

    fn deactivated(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        if self.store.stats().journal_records == 0 {
            return Ok(None);
        }
        let newest = self.store.snapshot()?.journal_of(name)?.pop().map(|journalled| journalled.record);
        Ok(newest.filter(|record| record.verb == Verb::Deactivate).and_then(|record| record.before))
    }

    fn doubts(&self, name: &MailboxName) -> Result<Vec<Doubt>, Unreadable> {
        if self.store.stats().doubts == 0 {
            return Ok(Vec::new());
        }
        Ok(self.store.snapshot()?.doubt(name)?)
    }

    fn any_doubts(&self) -> bool {
        self.store.stats().doubts > 0
    }

    fn conflict(&self, name: &MailboxName) -> Result<Option<Conflict>, Unreadable> {
        if self.store.stats().conflicts == 0 {
            return Ok(None);
        }
        Ok(self.store.snapshot()?.conflict(name)?)
    }

    fn unconfirmed(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable> {
        if self.store.stats().unconfirmed == 0 {
            return Ok(None);
        }
        Ok(self.store.snapshot()?.unconfirmed_of(name)?)
    }

    fn forgotten(&self, name: &MailboxName) -> Result<bool, Unreadable> {
        Ok(self.store.snapshot()?.forgotten(name)?)
    }

    fn ghosts(&self, server: &[u8], day: u64) -> u64 {
        self.store.stats().servers.ghosts(server, day)
    }

    fn entries(&self) -> u64 {
        self.store.stats().entries
    }
}
