//! What is durable, and what of it the machine may look up.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use super::List;
use crate::authority::facts::{Facts, Unreadable};
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Conflict, Doubt, JournalRecord, LeftOver, Verb};

/// What is durable.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct ModelStore {
    pub(in super::super) list: List,
    pub(in super::super) versions: BTreeMap<Vec<u8>, u64>,
    pub(in super::super) journal: BTreeMap<Vec<u8>, Vec<JournalRecord>>,
    pub(in super::super) doubts: BTreeMap<Vec<u8>, Vec<Doubt>>,
    pub(in super::super) conflicts: BTreeMap<Vec<u8>, Conflict>,
    pub(in super::super) unconfirmed: BTreeMap<Vec<u8>, Option<Entry>>,
    pub(in super::super) underway: BTreeMap<Vec<u8>, LeftOver>,
    /// How often it was opened again.
    pub(super) life: u64,
    pub(in super::super) forgotten: BTreeSet<Vec<u8>>,
    pub(in super::super) ghosts: BTreeMap<(Vec<u8>, u64), u64>,
    /// The reason that was put on record for the next change of the list.
    pub(in super::super) reason: Option<(MailboxName, Option<Entry>)>,
    /// What all this was when the master's dump began.
    pub(super) then: Option<Box<Self>>,
    /// How often something was looked up.
    pub(in super::super) asked: Cell<u64>,
    pub(in super::super) seq: u64,
    /// Nothing more can be written.
    pub(in super::super) broken: bool,
    /// The mark of that, which outlives restarts until a master completed the list.
    pub(in super::super) suspect: bool,
}

impl ModelStore {
    pub(super) fn apply(&mut self, change: &Change) {
        let key = |name: &MailboxName| name.as_bytes().to_vec();
        let changed = match change {
            Change::Put { name, entry } => Some((name.clone(), Some(entry.clone()))),
            Change::Remove { name } => Some((name.clone(), None)),
            _ => None,
        };
        if changed.is_some() {
            assert_eq!(self.reason.take(), changed, "the list changes, and who was behind it is on record");
        }
        match change {
            Change::Remember(deed) => self.reason = Some((deed.name.clone(), deed.after.clone())),
            Change::Put { name, entry } => {
                self.list.insert(key(name), entry.clone());
                self.versions.insert(key(name), self.seq);
                self.forgotten.remove(name.as_bytes());
            }
            Change::Remove { name } => {
                if self.list.remove(name.as_bytes()).is_some() {
                    self.forgotten.insert(key(name));
                }
            }
            Change::Journal(record) => {
                self.journal.entry(key(&record.name)).or_default().push(record.clone());
            }
            Change::Settle { name, .. } => drop(self.journal.remove(name.as_bytes())),
            Change::Doubt { name, doubt } => {
                let doubts = self.doubts.entry(key(name)).or_default();
                doubts.retain(|known| known.effect != doubt.effect);
                doubts.push(doubt.clone());
            }
            Change::Undoubt { name } => drop(self.doubts.remove(name.as_bytes())),
            Change::Conflict(conflict) => drop(self.conflicts.insert(key(&conflict.name), conflict.clone())),
            Change::ResolveConflict { name } => drop(self.conflicts.remove(name.as_bytes())),
            Change::Unconfirmed { name, theirs } => {
                self.unconfirmed.insert(key(name), theirs.clone());
            }
            Change::Confirm { name } => drop(self.unconfirmed.remove(name.as_bytes())),
            Change::Underway { name, underway } => {
                let held = self.list.contains_key(name.as_bytes());
                let version = held.then(|| self.versions.get(name.as_bytes()).copied().unwrap_or(0));
                let left =
                    LeftOver { name: name.clone(), underway: underway.clone(), life: self.life, version };
                self.underway.insert(key(name), left);
            }
            Change::Ended { name } => drop(self.underway.remove(name.as_bytes())),
            Change::Ghost { server, day } => *self.ghosts.entry((server.clone(), *day)).or_default() += 1,
            other => panic!("the machine never commits {other:?}"),
        }
        self.seq += 1;
    }

    /// The master's dump begins.
    pub(super) fn remember(&mut self) {
        self.then = None;
        self.then = Some(Box::new(self.clone()));
    }

    /// What all this was when the master's dump began.
    pub(super) fn then(&self) -> &Self {
        self.then.as_deref().unwrap_or(self)
    }

    pub(super) fn unsettled(&self) -> Vec<MailboxName> {
        let all: BTreeSet<&Vec<u8>> =
            self.journal.keys().chain(self.conflicts.keys()).chain(self.unconfirmed.keys()).collect();
        all.into_iter().map(|name| MailboxName::new(name).unwrap()).collect()
    }

    /// Whether there is a reason for the master to hold something else.
    pub(super) fn explains(&self, key: &[u8], theirs: Option<&Entry>) -> bool {
        let doubts = self.doubts.get(key);
        self.journal.contains_key(key)
            || self.conflicts.contains_key(key)
            || self.unconfirmed.contains_key(key)
            || doubts.is_some_and(|doubts| doubts.iter().any(|doubt| doubt.effect.as_ref() == theirs))
    }

    /// Looks something up, and counts that.
    fn look_up<'a, T>(&'a self, of: impl FnOnce(&'a Self) -> T) -> T {
        self.asked.set(self.asked.get() + 1);
        of(self)
    }

    /// The master's list is taken in place of ours; nothing is owed any more.
    pub(super) fn replace(&mut self, list: &List) {
        self.list = list.clone();
        self.versions = list.keys().map(|name| (name.clone(), self.seq)).collect();
        self.journal.clear();
        self.conflicts.clear();
        self.unconfirmed.clear();
        self.seq += 1;
    }
}

impl Facts for ModelStore {
    fn entry(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.look_up(|store| store.list.get(name.as_bytes()).cloned()))
    }
    fn version(&self, name: &MailboxName) -> Result<Option<u64>, Unreadable> {
        let held = self.list.contains_key(name.as_bytes());
        Ok(self.look_up(|store| held.then(|| store.versions.get(name.as_bytes()).copied().unwrap_or(0))))
    }
    fn listed(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.look_up(|store| store.then().list.get(name.as_bytes()).cloned()))
    }
    fn base(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable> {
        let first =
            self.look_up(|store| store.journal.get(name.as_bytes()).and_then(|records| records.first()));
        Ok(first.map(|record| record.before.clone()))
    }
    fn deactivated(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        let newest =
            self.look_up(|store| store.journal.get(name.as_bytes()).and_then(|records| records.last()));
        Ok(newest.filter(|record| record.verb == Verb::Deactivate).and_then(|record| record.before.clone()))
    }
    fn doubts(&self, name: &MailboxName) -> Result<Vec<Doubt>, Unreadable> {
        Ok(self.look_up(|store| store.doubts.get(name.as_bytes()).cloned().unwrap_or_default()))
    }
    fn conflict(&self, name: &MailboxName) -> Result<Option<Conflict>, Unreadable> {
        Ok(self.look_up(|store| store.conflicts.get(name.as_bytes()).cloned()))
    }
    fn unconfirmed(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable> {
        Ok(self.look_up(|store| store.unconfirmed.get(name.as_bytes()).cloned()))
    }
    fn forgotten(&self, name: &MailboxName) -> Result<bool, Unreadable> {
        Ok(self.look_up(|store| store.forgotten.contains(name.as_bytes())))
    }
    fn ghosts(&self, server: &[u8], day: u64) -> u64 {
        self.look_up(|store| store.ghosts.get(&(server.to_vec(), day)).copied().unwrap_or_default())
    }
    fn any_doubts(&self) -> bool {
        !self.doubts.is_empty()
    }
    fn entries(&self) -> u64 {
        self.list.len() as u64
    }
}
