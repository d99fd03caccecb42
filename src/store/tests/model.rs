//! The store as it should be: maps in memory, and what can be seen of either.

use std::collections::{BTreeMap, BTreeSet};

use crate::list::{Acl, Entry, Location, MailboxName, Order};
use crate::store::{
    Change, Conflict, Cursor, Doubt, EntryRef, JournalRecord, Journalled, LeftOver, Remembered, Servers,
    Stats, Store, StoreError, Synced,
};

/// What can be read from a store, but for what depends on how it was used ([`Stats::calls`] and the like).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct View {
    list: Vec<(MailboxName, Entry, u64)>,
    /// All names in order, and whether each is in the list.
    with_forgotten: Vec<(MailboxName, bool)>,
    journal: Vec<Journalled>,
    journals: Vec<(MailboxName, Option<Entry>, Vec<Journalled>)>,
    doubts: Vec<(MailboxName, Vec<Doubt>)>,
    conflicts: Vec<Conflict>,
    unconfirmed: Vec<(MailboxName, Option<Entry>)>,
    /// Of all names that are or were in the list.
    history: Vec<Remembered>,
    left_over: Vec<LeftOver>,
    stats: Stats,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    list: BTreeMap<Vec<u8>, (Entry, u64)>,
    forgotten: BTreeSet<Vec<u8>>,
    journal: BTreeMap<u64, JournalRecord>,
    doubts: BTreeMap<Vec<u8>, BTreeMap<u64, Doubt>>,
    conflicts: BTreeMap<Vec<u8>, Conflict>,
    unconfirmed: BTreeMap<Vec<u8>, Option<Entry>>,
    history: Vec<Remembered>,
    underway: BTreeMap<Vec<u8>, LeftOver>,
    /// How often the store was opened.
    life: u64,
    seq: u64,
    order: Order,
    synced: Option<Synced>,
    attended_at: Option<u64>,
    reseeding: Option<u64>,
    held: bool,
    servers: Servers,
}

fn name(bytes: &[u8]) -> MailboxName {
    MailboxName::new(bytes).unwrap()
}

impl Model {
    pub(super) fn commit(&mut self, changes: &[Change]) -> u64 {
        for change in changes {
            self.apply(change);
        }
        self.seq
    }

    fn apply(&mut self, change: &Change) {
        self.seq += 1;
        let seq = self.seq;
        match change.clone() {
            Change::Put { name, entry } => {
                self.forgotten.remove(name.as_bytes());
                self.list.insert(name.as_bytes().to_vec(), (entry, seq));
            }
            Change::Remove { name } => {
                if self.list.remove(name.as_bytes()).is_some() {
                    self.forgotten.insert(name.as_bytes().to_vec());
                }
            }
            Change::Remember(deed) => {
                let before = self.list.get(deed.name.as_bytes()).map(|(entry, _)| entry.clone());
                self.history.push(Remembered { deed, before });
            }
            Change::Journal(record) => {
                self.journal.insert(seq, record);
            }
            Change::Settle { name, upto } => self.journal.retain(|seq, r| r.name != name || *seq > upto),
            Change::Doubt { name, doubt } => {
                let doubts = self.doubts.entry(name.as_bytes().to_vec()).or_default();
                let same = doubts.iter().find(|(_, d)| d.effect == doubt.effect);
                doubts.insert(same.map_or(seq, |(seq, _)| *seq), doubt);
            }
            Change::Undoubt { name } => {
                self.doubts.remove(name.as_bytes());
            }
            Change::Conflict(conflict) => {
                self.conflicts.insert(conflict.name.as_bytes().to_vec(), conflict);
            }
            Change::ResolveConflict { name } => {
                self.conflicts.remove(name.as_bytes());
            }
            Change::Unconfirmed { name, theirs } => {
                self.unconfirmed.insert(name.as_bytes().to_vec(), theirs);
            }
            Change::Confirm { name } => {
                self.unconfirmed.remove(name.as_bytes());
            }
            Change::Underway { name, underway } => {
                let version = self.list.get(name.as_bytes()).map(|(_, version)| *version);
                let left = LeftOver { name, underway, life: self.life, version };
                self.underway.insert(left.name.as_bytes().to_vec(), left);
            }
            Change::Ended { name } => {
                self.underway.remove(name.as_bytes());
            }
            Change::Synced(synced) => self.synced = Some(synced),
            Change::Attended { at_unix } => self.attended_at = Some(at_unix),
            Change::Reseeding(removals) => self.reseeding = removals,
            Change::Held { held } => self.held = held,
            Change::Expected { server, until_unix } => self.servers.expect(server, until_unix),
            Change::Ghost { server, day } => self.servers.ghost(server, day),
            Change::SetOrder(order) => self.order = order,
        }
    }

    /// A load that was finished, and the versions it gave.
    pub(super) fn load(&mut self, entries: &[(MailboxName, Entry)], synced: &Synced, version: u64, seq: u64) {
        let old = std::mem::take(&mut self.list);
        for (name, entry) in entries {
            self.list.insert(name.as_bytes().to_vec(), (entry.clone(), version));
        }
        self.forgotten.extend(old.into_keys());
        self.forgotten.retain(|name| !self.list.contains_key(name));
        self.synced = Some(synced.clone());
        self.seq = seq;
    }

    /// The store was opened.
    pub(super) fn open(&mut self) {
        self.life += 1;
    }

    /// What the store shows when it is opened again.
    pub(super) fn view_after_restart(&self) -> View {
        let mut restarted = self.clone();
        restarted.open();
        restarted.view()
    }

    /// A load that was begun, which takes a sequence number.
    pub(super) fn skip_to(&mut self, seq: u64) {
        self.seq = seq;
    }

    pub(super) fn view(&self) -> View {
        let key = |bytes: &[u8]| self.order.key(&name(bytes));
        let mut list: Vec<_> =
            self.list.iter().map(|(n, (entry, version))| (name(n), entry.clone(), *version)).collect();
        list.sort_by_key(|(n, ..)| self.order.key(n));
        let mut with_forgotten: Vec<_> = self
            .list
            .keys()
            .map(|n| (name(n), true))
            .chain(self.forgotten.iter().map(|n| (name(n), false)))
            .collect();
        with_forgotten.sort_by_key(|(n, _)| self.order.key(n));
        let journal: Vec<Journalled> = self
            .journal
            .iter()
            .map(|(seq, record)| Journalled { seq: *seq, record: record.clone() })
            .collect();
        let mut of_names: BTreeMap<Vec<u8>, Vec<Journalled>> = BTreeMap::new();
        for record in &journal {
            of_names.entry(key(record.record.name.as_bytes())).or_default().push(record.clone());
        }
        let journals: Vec<_> = of_names
            .into_values()
            .map(|records| (records[0].record.name.clone(), records[0].record.before.clone(), records))
            .collect();
        let mut doubts: Vec<_> = self
            .doubts
            .iter()
            .map(|(n, doubts)| (name(n), doubts.values().cloned().collect::<Vec<_>>()))
            .collect();
        doubts.sort_by_key(|(n, _)| self.order.key(n));
        let mut conflicts: Vec<_> = self.conflicts.values().cloned().collect();
        conflicts.sort_by_key(|c| self.order.key(&c.name));
        let mut unconfirmed: Vec<_> =
            self.unconfirmed.iter().map(|(n, theirs)| (name(n), theirs.clone())).collect();
        unconfirmed.sort_by_key(|(n, _)| self.order.key(n));
        let history = with_forgotten
            .iter()
            .flat_map(|(name, _)| self.history.iter().filter(move |past| past.deed.name == *name).cloned())
            .collect();
        let active = self.list.values().filter(|(e, _)| e.is_active()).count() as u64;
        let stats = Stats {
            entries: self.list.len() as u64,
            active,
            reserved: self.list.len() as u64 - active,
            forgotten: self.forgotten.len() as u64,
            journal_records: self.journal.len() as u64,
            journalled_names: journals.len() as u64,
            oldest_journal_unix: self.journal.values().next().map(|r| r.at_unix),
            doubts: self.doubts.values().map(|d| d.len() as u64).sum(),
            conflicts: self.conflicts.len() as u64,
            unconfirmed: self.unconfirmed.len() as u64,
            underway: self.underway.len() as u64,
            seq: self.seq,
            order: self.order,
            complete: self.synced.is_some(),
            synced: self.synced.clone(),
            reseeding: self.reseeding,
            attended_at: self.attended_at,
            held: self.held,
            servers: self.servers.clone(),
            poisoned: None,
            suspect: None,
            calls: 0,
            commits: 0,
        };
        let left_over = self.underway.values().filter(|left| left.life != self.life).cloned().collect();
        View {
            list,
            with_forgotten,
            journal,
            journals,
            doubts,
            conflicts,
            unconfirmed,
            history,
            left_over,
            stats,
        }
    }
}

impl View {
    /// Reads everything, in small parts, so that every way of going on from a part is used.
    pub(super) fn of(store: &Store) -> Result<Self, StoreError> {
        let snapshot = store.snapshot().unwrap();
        let mut list = Vec::new();
        let mut cursor = Cursor::default();
        let mut names = Vec::new();
        while snapshot.read_chunk(&mut cursor, 60, &mut |name, _| names.push(name.to_vec()))? {}
        for bytes in names {
            let name = name(&bytes);
            let (entry, version) = snapshot.versioned(&name)?.unwrap();
            assert_eq!(store.get(&name)?, Some(entry.clone()));
            list.push((name, entry, version));
        }
        assert_eq!(snapshot.entries(), list.len() as u64);

        let mut by_chunk = Vec::new();
        loop {
            let last = by_chunk.last().map(|(name, _)| name);
            let part = snapshot.chunk(last, 60)?;
            if part.is_empty() {
                break;
            }
            by_chunk.extend(part);
        }
        let listed: Vec<_> = list.iter().map(|(n, e, _)| (n.clone(), e.clone())).collect();
        assert_eq!(by_chunk, listed);

        let mut with_forgotten = Vec::new();
        let mut cursor = Cursor::default();
        let mut each = |bytes: &[u8], entry: Option<EntryRef<'_>>| {
            with_forgotten.push((name(bytes), entry.is_some()));
        };
        while snapshot.read_chunk_with_forgotten(&mut cursor, 60, &mut each)? {}
        for (name, listed) in &with_forgotten {
            assert_eq!(store.get(name)?.is_some(), *listed);
        }

        let journal = paged(|last: Option<&Journalled>| snapshot.journal(last.map_or(0, |j| j.seq), 3))?;
        let names = paged(|last| snapshot.journalled_names(last, 3))?;
        let mut journals = Vec::new();
        for name in names {
            let base = snapshot.journal_base(&name)?.unwrap();
            let records = snapshot.journal_of(&name)?;
            journals.push((name, base, records));
        }
        let doubts =
            paged(|last: Option<&(MailboxName, Vec<Doubt>)>| snapshot.doubts(last.map(|d| &d.0), 3))?;
        for (name, doubts) in &doubts {
            assert_eq!(snapshot.doubt(name)?, *doubts);
        }
        let conflicts = paged(|last: Option<&Conflict>| snapshot.conflicts(last.map(|c| &c.name), 3))?;
        for conflict in &conflicts {
            assert_eq!(snapshot.conflict(&conflict.name)?.as_ref(), Some(conflict));
        }
        let unconfirmed =
            paged(|last: Option<&(MailboxName, Option<Entry>)>| snapshot.unconfirmed(last.map(|u| &u.0), 3))?;
        for (name, theirs) in &unconfirmed {
            assert_eq!(snapshot.unconfirmed_of(name)?.as_ref(), Some(theirs));
        }
        let mut history = Vec::new();
        for (name, _) in &with_forgotten {
            history.extend(snapshot.history(name, usize::MAX)?);
        }
        let stats = Stats { calls: 0, commits: 0, poisoned: None, suspect: None, ..store.stats() };
        assert_eq!((snapshot.seq(), snapshot.order()), (stats.seq, stats.order));
        let left_over = snapshot.left_over()?;
        Ok(Self {
            list,
            with_forgotten,
            journal,
            journals,
            doubts,
            conflicts,
            unconfirmed,
            history,
            left_over,
            stats,
        })
    }

    pub(super) fn seq(&self) -> u64 {
        self.stats.seq
    }
}

fn paged<T>(next: impl Fn(Option<&T>) -> Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    loop {
        let part = next(all.last())?;
        if part.is_empty() {
            return Ok(all);
        }
        all.extend(part);
    }
}

/// A synced mark with this time.
pub(super) fn synced(at_unix: u64) -> Synced {
    Synced { master: "mm.test".to_owned(), version: "3.6.1".to_owned(), at_unix }
}

/// An entry told apart by a number: every third is a reservation.
pub(super) fn numbered(n: u64) -> Entry {
    let location = Location::new(format!("be{}.test!default", n % 5).as_bytes()).unwrap();
    match n % 3 {
        0 => Entry::reserved(location),
        _ => Entry::active(location, Acl::new(format!("user{n}\tlrswip\t").as_bytes())),
    }
}
