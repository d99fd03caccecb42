//! Reading: the store as it was at one moment.

use std::ops::Bound;
use std::sync::Arc;

use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase};

use super::StoreError;
use super::ages::Ages;
use super::codec::{self, In, Listed};
use super::records::{Conflict, Doubt, JournalRecord, Journalled, Remembered};
use super::schema::{
    CONFLICTS, DOUBTS, FORGOTTEN, HISTORY, JOURNAL, JOURNAL_BY_SEQ, LIST, Ledger, META, UNCONFIRMED,
    records_of,
};
use super::shared::{Shared, guarded};
use crate::list::{Entry, MailboxName, Order};

pub(super) type ByName = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// One committed state, opened for reading. The writer opens it once, right after the commit, for all readers:
/// beginning a read in redb can wait for an fsync (when the file grows), and costs more than a lookup.
pub(super) struct Base {
    pub(super) list: ByName,
    pub(super) txn: ReadTransaction,
    pub(super) ledger: Ledger,
    /// Behind the transaction, so that it is closed after it.
    _db: Arc<Database>,
}

impl Base {
    /// What was committed last. `ledger` is what that commit wrote, where it is known.
    pub(super) fn open(db: Arc<Database>, ledger: Option<Ledger>) -> Result<Arc<Self>, StoreError> {
        guarded(|| {
            let txn = db.begin_read()?;
            let ledger = match ledger {
                Some(ledger) => ledger,
                None => Ledger::read(&txn.open_table(META)?)?
                    .ok_or_else(|| StoreError::corrupt("the format's number is missing"))?,
            };
            Ok(Arc::new(Self { list: txn.open_table(LIST)?, txn, ledger, _db: db }))
        })
    }
}

/// The store as it was when [`super::Store::snapshot`] was called, whatever is committed since.
///
/// Taking one waits for nothing, and it never blocks the writer. It keeps the file's old pages from being
/// reused, so one that is held for hours lets the file grow by what is written in that time; and it keeps the
/// directory locked. Its methods read the disk where the cache does not have the page: call them where a
/// thread may wait for a disk.
#[derive(Clone)]
pub struct Snapshot {
    pub(super) base: Arc<Base>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("seq", &self.seq()).finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(super) fn new(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        Ok(Self { base: shared.current()?, shared: shared.clone() })
    }

    /// Runs a read so that neither a panic nor a failed disk goes unnoticed.
    pub(super) fn read<T>(&self, act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        guarded(act).inspect_err(|error| self.shared.read_failed(&self.base, error))
    }

    /// The sequence number of the last change it shows.
    pub fn seq(&self) -> u64 {
        self.base.ledger.seq
    }

    /// The order of the list.
    pub fn order(&self) -> Order {
        self.base.ledger.order
    }

    /// How many names the list holds.
    pub fn entries(&self) -> u64 {
        self.base.ledger.active + self.base.ledger.reserved
    }

    /// How old entries are, by their versions.
    pub fn ages(&self) -> &Ages {
        &self.base.ledger.ages
    }

    fn key(&self, name: &MailboxName) -> Vec<u8> {
        self.base.ledger.order.key(name)
    }

    pub(super) fn name(&self, key: &[u8]) -> Result<MailboxName, StoreError> {
        self.base.ledger.order.name(key).map_err(|e| StoreError::corrupt(format!("a key on disk: {e}")))
    }

    /// What the list holds for the name.
    pub fn get(&self, name: &MailboxName) -> Result<Option<Entry>, StoreError> {
        Ok(self.versioned(name)?.map(|(entry, _)| entry))
    }

    /// What the list holds for the name, and the sequence number of the change that put it there.
    pub fn versioned(&self, name: &MailboxName) -> Result<Option<(Entry, u64)>, StoreError> {
        self.read(|| {
            let Some(value) = self.base.list.get(self.key(name).as_slice())? else {
                return Ok(None);
            };
            let listed = Listed::decode(value.value())?;
            Ok(Some((listed.entry()?, listed.version)))
        })
    }

    /// Whether the list held the name and lost it, as far as that is remembered.
    pub fn forgotten(&self, name: &MailboxName) -> Result<bool, StoreError> {
        self.read(|| {
            let table = self.base.txn.open_table(FORGOTTEN)?;
            Ok(table.get(self.key(name).as_slice())?.is_some())
        })
    }

    /// The latest changes of the name, `most` of them, the oldest first.
    pub fn history(&self, name: &MailboxName, most: usize) -> Result<Vec<Remembered>, StoreError> {
        self.read(|| {
            let table = self.base.txn.open_table(HISTORY)?;
            let latest = table.range(records_of(name.as_bytes()))?.rev().take(most);
            let mut found = Vec::new();
            for record in latest {
                found.push(Remembered::decode(name.clone(), record?.1.value())?);
            }
            found.reverse();
            Ok(found)
        })
    }

    /// What the name was when master and list last agreed on it: what the list held before the name's first
    /// journal record. `None` when the name has no journal.
    pub fn journal_base(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, StoreError> {
        self.read(|| {
            let journal = self.base.txn.open_table(JOURNAL)?;
            let key = self.key(name);
            let Some(first) = journal.range(records_of(&key))?.next() else {
                return Ok(None);
            };
            let (_, value) = first?;
            Ok(Some(JournalRecord::decode(name.clone(), value.value())?.before))
        })
    }

    /// The names that have a journal, in the list's order, at most `limit` of those after `after`.
    pub fn journalled_names(
        &self,
        after: Option<&MailboxName>,
        limit: usize,
    ) -> Result<Vec<MailboxName>, StoreError> {
        self.read(|| {
            let journal = self.base.txn.open_table(JOURNAL)?;
            let mut names = Vec::new();
            let mut last = after.map(|name| self.key(name));
            while names.len() < limit {
                // Past all records of the last name at once: there may be many.
                let from = match &last {
                    None => Bound::Unbounded,
                    Some(key) => Bound::Excluded((key.as_slice(), u64::MAX)),
                };
                let Some(next) = journal.range::<(&[u8], u64)>((from, Bound::Unbounded))?.next() else {
                    break;
                };
                let key = next?.0.value().0.to_vec();
                names.push(self.name(&key)?);
                last = Some(key);
            }
            Ok(names)
        })
    }

    /// The name's journal, oldest first.
    pub fn journal_of(&self, name: &MailboxName) -> Result<Vec<Journalled>, StoreError> {
        self.read(|| {
            let journal = self.base.txn.open_table(JOURNAL)?;
            let key = self.key(name);
            let mut records = Vec::new();
            for record in journal.range(records_of(&key))? {
                let (key, value) = record?;
                records.push(Journalled {
                    seq: key.value().1,
                    record: JournalRecord::decode(name.clone(), value.value())?,
                });
            }
            Ok(records)
        })
    }

    /// The journal of all names in the order in which things happened, at most `limit` of the records with a
    /// greater sequence number than `after`.
    pub fn journal(&self, after: u64, limit: usize) -> Result<Vec<Journalled>, StoreError> {
        self.read(|| {
            let by_seq = self.base.txn.open_table(JOURNAL_BY_SEQ)?;
            let journal = self.base.txn.open_table(JOURNAL)?;
            let mut records = Vec::new();
            for item in by_seq.range::<u64>((Bound::Excluded(after), Bound::Unbounded))?.take(limit) {
                let (seq, name) = item?;
                let seq = seq.value();
                let name = codec::name(name.value())?;
                let value = journal
                    .get((self.key(&name).as_slice(), seq))?
                    .ok_or_else(|| StoreError::corrupt("a journal record is missing"))?;
                let record = JournalRecord::decode(name, value.value())?;
                records.push(Journalled { seq, record });
            }
            Ok(records)
        })
    }

    /// The doubts about the name, oldest first.
    pub fn doubt(&self, name: &MailboxName) -> Result<Vec<Doubt>, StoreError> {
        self.read(|| {
            let doubts = self.base.txn.open_table(DOUBTS)?;
            let key = self.key(name);
            let mut found = Vec::new();
            for doubt in doubts.range(records_of(&key))? {
                found.push(Doubt::decode(doubt?.1.value())?);
            }
            Ok(found)
        })
    }

    /// The names in doubt with their doubts, in the list's order: at most `limit` names of those after `after`.
    pub fn doubts(
        &self,
        after: Option<&MailboxName>,
        limit: usize,
    ) -> Result<Vec<(MailboxName, Vec<Doubt>)>, StoreError> {
        self.read(|| {
            let doubts = self.base.txn.open_table(DOUBTS)?;
            let after = after.map(|name| self.key(name));
            let from = match &after {
                None => Bound::Unbounded,
                Some(key) => Bound::Excluded((key.as_slice(), u64::MAX)),
            };
            let mut found: Vec<(MailboxName, Vec<Doubt>)> = Vec::new();
            for item in doubts.range::<(&[u8], u64)>((from, Bound::Unbounded))? {
                let (key, value) = item?;
                let name = self.name(key.value().0)?;
                let doubt = Doubt::decode(value.value())?;
                let full = found.len() == limit;
                match found.last_mut() {
                    Some((last, list)) if *last == name => list.push(doubt),
                    _ if full => break,
                    _ => found.push((name, vec![doubt])),
                }
            }
            Ok(found)
        })
    }

    /// The name's conflict.
    pub fn conflict(&self, name: &MailboxName) -> Result<Option<Conflict>, StoreError> {
        self.read(|| {
            let conflicts = self.base.txn.open_table(CONFLICTS)?;
            conflicts
                .get(self.key(name).as_slice())?
                .map(|value| Conflict::decode(name.clone(), value.value()))
                .transpose()
        })
    }

    /// Conflicts in the list's order, at most `limit` of those after `after`.
    pub fn conflicts(&self, after: Option<&MailboxName>, limit: usize) -> Result<Vec<Conflict>, StoreError> {
        self.read(|| {
            let table = self.base.txn.open_table(CONFLICTS)?;
            self.page(&table, after, limit, Conflict::decode)
        })
    }

    /// What the master's list holds for a name whose difference is not confirmed. `None`: no such difference.
    pub fn unconfirmed_of(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, StoreError> {
        self.read(|| {
            let table = self.base.txn.open_table(UNCONFIRMED)?;
            table.get(self.key(name).as_slice())?.map(|value| In(value.value()).entry()).transpose()
        })
    }

    /// Names with an unconfirmed difference, with what the master's list holds for each, in the list's order:
    /// at most `limit` of those after `after`.
    pub fn unconfirmed(
        &self,
        after: Option<&MailboxName>,
        limit: usize,
    ) -> Result<Vec<(MailboxName, Option<Entry>)>, StoreError> {
        self.read(|| {
            let table = self.base.txn.open_table(UNCONFIRMED)?;
            self.page(&table, after, limit, |name, value| Ok((name, In(value).entry()?)))
        })
    }

    fn page<T>(
        &self,
        table: &ByName,
        after: Option<&MailboxName>,
        limit: usize,
        decode: impl Fn(MailboxName, &[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let after = after.map(|name| self.key(name));
        let from = match &after {
            None => Bound::Unbounded,
            Some(key) => Bound::Excluded(key.as_slice()),
        };
        let mut found = Vec::new();
        for item in table.range::<&[u8]>((from, Bound::Unbounded))?.take(limit) {
            let (key, value) = item?;
            found.push(decode(self.name(key.value())?, value.value())?);
        }
        Ok(found)
    }
}
