//! Applying changes inside one transaction.

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::StoreError;
use super::codec::{Listed, Out};
use super::hot::Touched;
use super::records::{Change, Doubt, JournalRecord, Underway};
use super::schema::{
    CONFLICTS, DOUBTS, FORGOTTEN, FORGOTTEN_BY_SEQ, HISTORY, HISTORY_BY_SEQ, JOURNAL, JOURNAL_BY_SEQ, LIST,
    Ledger, META, UNCONFIRMED, UNDERWAY, records_of,
};
use super::{Options, forgotten, history, rekey, underway};
use crate::list::{Entry, MailboxName};

type ByName<'txn> = Table<'txn, &'static [u8], &'static [u8]>;
type ByNameAndSeq<'txn> = Table<'txn, (&'static [u8], u64), &'static [u8]>;
pub(super) type BySeq<'txn> = Table<'txn, u64, &'static [u8]>;

/// The tables of one transaction.
pub(super) struct Tables<'txn> {
    pub(super) list: ByName<'txn>,
    pub(super) forgotten: ByName<'txn>,
    pub(super) forgotten_by_seq: BySeq<'txn>,
    pub(super) history: ByNameAndSeq<'txn>,
    pub(super) history_by_seq: BySeq<'txn>,
    journal: ByNameAndSeq<'txn>,
    journal_by_seq: BySeq<'txn>,
    doubts: ByNameAndSeq<'txn>,
    conflicts: ByName<'txn>,
    unconfirmed: ByName<'txn>,
    underway: ByName<'txn>,
    meta: Table<'txn, &'static str, &'static [u8]>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn open(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            list: txn.open_table(LIST)?,
            forgotten: txn.open_table(FORGOTTEN)?,
            forgotten_by_seq: txn.open_table(FORGOTTEN_BY_SEQ)?,
            history: txn.open_table(HISTORY)?,
            history_by_seq: txn.open_table(HISTORY_BY_SEQ)?,
            journal: txn.open_table(JOURNAL)?,
            journal_by_seq: txn.open_table(JOURNAL_BY_SEQ)?,
            doubts: txn.open_table(DOUBTS)?,
            conflicts: txn.open_table(CONFLICTS)?,
            unconfirmed: txn.open_table(UNCONFIRMED)?,
            underway: txn.open_table(UNDERWAY)?,
            meta: txn.open_table(META)?,
        })
    }
}

/// A transaction being filled.
pub(super) struct Batch<'txn> {
    txn: &'txn WriteTransaction,
    /// `None` only while tables are being replaced.
    tables: Option<Tables<'txn>>,
    before: Option<Ledger>,
    pub(super) ledger: Ledger,
    pub(super) touched: Touched,
    /// The whole list was replaced.
    pub(super) replaced: bool,
    /// A master completed the list.
    completed: bool,
    options: Options,
}

/// What a batch leaves when it is committed.
pub(super) struct Filled {
    pub(super) ledger: Ledger,
    pub(super) lengths: Lengths,
    pub(super) touched: Touched,
    pub(super) replaced: bool,
    pub(super) completed: bool,
}

impl<'txn> Batch<'txn> {
    /// `ledger` is what the last commit wrote, `None` in a new store.
    pub(super) fn open(txn: &'txn WriteTransaction, ledger: Option<Ledger>, options: &Options) -> Self {
        Self {
            txn,
            ledger: ledger.clone().unwrap_or_default(),
            before: ledger,
            tables: None,
            touched: Touched::new(),
            replaced: false,
            completed: false,
            options: *options,
        }
    }

    pub(super) fn txn(&self) -> &'txn WriteTransaction {
        self.txn
    }

    pub(super) fn options(&self) -> Options {
        self.options
    }

    /// Writes the counters. The transaction can be committed after that.
    pub(super) fn finish(mut self) -> Result<Filled, StoreError> {
        let (order, options) = (self.ledger.order, self.options);
        forgotten::trim(self.tables()?, order, &options)?;
        history::trim(self.tables()?, &options)?;
        let ledger = self.ledger.clone();
        let before = self.before.take();
        ledger.write(before.as_ref(), &mut self.tables()?.meta)?;
        Ok(Filled {
            ledger,
            lengths: self.lengths()?,
            touched: self.touched,
            replaced: self.replaced,
            completed: self.completed,
        })
    }

    pub(super) fn tables(&mut self) -> Result<&mut Tables<'txn>, StoreError> {
        if self.tables.is_none() {
            self.tables = Some(Tables::open(self.txn)?);
        }
        self.tables.as_mut().ok_or_else(|| StoreError::corrupt("the tables cannot be opened"))
    }

    /// Closes the tables, so that they can be renamed. The next use opens them again.
    pub(super) fn with_tables_closed<T>(
        &mut self,
        act: impl FnOnce(&'txn WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.tables = None;
        act(self.txn)
    }

    pub(super) fn next_seq(&mut self) -> u64 {
        self.ledger.seq += 1;
        self.ledger.seq
    }

    fn key(&self, name: &MailboxName) -> Vec<u8> {
        self.ledger.order.key(name)
    }

    /// Applies one change; answers with its sequence number.
    pub(super) fn apply(&mut self, change: Change) -> Result<u64, StoreError> {
        let seq = self.next_seq();
        match change {
            Change::Put { name, entry } => self.put(seq, name, entry)?,
            Change::Remove { name } => self.remove(seq, name)?,
            Change::Remember(deed) => {
                let (key, options) = (self.key(&deed.name), self.options);
                history::remember(self.tables()?, &key, seq, &deed, &options)?;
            }
            Change::Journal(record) => self.journal(seq, &record)?,
            Change::Settle { name, upto } => self.settle(&name, upto)?,
            Change::Doubt { name, doubt } => self.doubt(seq, &name, &doubt)?,
            Change::Undoubt { name } => self.undoubt(&name)?,
            Change::Conflict(conflict) => {
                let key = self.key(&conflict.name);
                let value = conflict.encode();
                self.tables()?.conflicts.insert(key.as_slice(), value.as_slice())?;
            }
            Change::ResolveConflict { name } => {
                let key = self.key(&name);
                self.tables()?.conflicts.remove(key.as_slice())?;
            }
            Change::Unconfirmed { name, theirs } => {
                let key = self.key(&name);
                let value = Out::default().entry(theirs.as_ref()).done();
                self.tables()?.unconfirmed.insert(key.as_slice(), value.as_slice())?;
            }
            Change::Confirm { name } => {
                let key = self.key(&name);
                self.tables()?.unconfirmed.remove(key.as_slice())?;
            }
            Change::Underway { name, underway } => self.underway(&name, &underway)?,
            Change::Ended { name } => drop(self.tables()?.underway.remove(name.as_bytes())?),
            Change::Synced(synced) => {
                self.ledger.synced = Some(synced);
                self.completed = true;
            }
            Change::Reseeding(removals) => self.ledger.reseeding = removals,
            Change::Attended { at_unix } => {
                self.ledger.attended_at = at_unix;
                // 0: never mind when.
                if at_unix > 0 {
                    self.ledger.ages.mark(at_unix, seq);
                }
            }
            Change::Held { held } => self.ledger.held = held,
            Change::Expected { server, until_unix } => self.ledger.servers.expect(server, until_unix),
            Change::Ghost { server, day } => self.ledger.servers.ghost(server, day),
            Change::SetOrder(order) if order == self.ledger.order => {}
            Change::SetOrder(order) => {
                let from = self.ledger.order;
                self.with_tables_closed(|txn| rekey::all(txn, from, order))?;
                self.ledger.order = order;
            }
        }
        Ok(seq)
    }

    fn put(&mut self, seq: u64, name: MailboxName, entry: Entry) -> Result<(), StoreError> {
        let key = self.key(&name);
        let value = Listed::encode(&entry, seq);
        let tables = self.tables()?;
        let was_active =
            tables.list.insert(key.as_slice(), value.as_slice())?.map(|old| Listed::is_active(old.value()));
        forgotten::recall(tables, &key)?;
        self.count(was_active, Some(entry.is_active()));
        self.touched.insert(name, Some(entry));
        Ok(())
    }

    fn remove(&mut self, seq: u64, name: MailboxName) -> Result<(), StoreError> {
        let key = self.key(&name);
        let now = (self.options.now_unix)();
        let tables = self.tables()?;
        let was_active = tables.list.remove(key.as_slice())?.map(|old| Listed::is_active(old.value()));
        if was_active.is_some() {
            forgotten::remember(tables, &key, name.as_bytes(), seq, now)?;
        }
        self.count(was_active, None);
        self.touched.insert(name, None);
        Ok(())
    }

    /// Counts a name that went from one state to another; `Some(true)` is active, `None` absent.
    fn count(&mut self, from: Option<bool>, to: Option<bool>) {
        let of = |state: Option<bool>, active| u64::from(state == Some(active));
        self.ledger.active = (self.ledger.active + of(to, true)).saturating_sub(of(from, true));
        self.ledger.reserved = (self.ledger.reserved + of(to, false)).saturating_sub(of(from, false));
    }

    fn journal(&mut self, seq: u64, record: &JournalRecord) -> Result<(), StoreError> {
        let key = self.key(&record.name);
        let tables = self.tables()?;
        let first = tables.journal.range(records_of(&key))?.next().is_none();
        tables.journal.insert((key.as_slice(), seq), record.encode().as_slice())?;
        tables.journal_by_seq.insert(seq, record.name.as_bytes())?;
        self.ledger.journalled += u64::from(first);
        Ok(())
    }

    fn settle(&mut self, name: &MailboxName, upto: u64) -> Result<(), StoreError> {
        let key = self.key(name);
        let tables = self.tables()?;
        let seqs = seqs_of(&tables.journal, &key)?;
        let settled: Vec<u64> = seqs.iter().copied().filter(|seq| *seq <= upto).collect();
        for seq in &settled {
            tables.journal.remove((key.as_slice(), *seq))?;
            tables.journal_by_seq.remove(*seq)?;
        }
        if !settled.is_empty() && settled.len() == seqs.len() {
            self.ledger.journalled = self.ledger.journalled.saturating_sub(1);
        }
        Ok(())
    }

    fn underway(&mut self, name: &MailboxName, underway: &Underway) -> Result<(), StoreError> {
        let (key, life) = (self.key(name), self.ledger.mark.life);
        let tables = self.tables()?;
        let held = tables.list.get(key.as_slice())?;
        let version =
            held.map(|value| Listed::decode(value.value()).map(|listed| listed.version)).transpose()?;
        let value = underway::encode(life, version, underway);
        tables.underway.insert(name.as_bytes(), value.as_slice())?;
        Ok(())
    }

    fn doubt(&mut self, seq: u64, name: &MailboxName, doubt: &Doubt) -> Result<(), StoreError> {
        let key = self.key(name);
        let doubts = &mut self.tables()?.doubts;
        let mut same = None;
        for known in doubts.range(records_of(&key))? {
            let (known_key, value) = known?;
            if Doubt::decode(value.value())?.effect == doubt.effect {
                same = Some(known_key.value().1);
            }
        }
        doubts.insert((key.as_slice(), same.unwrap_or(seq)), doubt.encode().as_slice())?;
        Ok(())
    }

    fn undoubt(&mut self, name: &MailboxName) -> Result<(), StoreError> {
        let key = self.key(name);
        let doubts = &mut self.tables()?.doubts;
        for seq in seqs_of(doubts, &key)? {
            doubts.remove((key.as_slice(), seq))?;
        }
        Ok(())
    }

    /// What cannot be told from the counters.
    fn lengths(&mut self) -> Result<Lengths, StoreError> {
        let tables = self.tables()?;
        let oldest = match tables.journal_by_seq.first()? {
            None => None,
            Some((seq, name)) => Some((seq.value(), super::codec::name(name.value())?)),
        };
        let oldest_journal_unix = match oldest {
            None => None,
            Some((seq, name)) => {
                let key = self.key(&name);
                let record = self.tables()?.journal.get((key.as_slice(), seq))?;
                record.map(|r| JournalRecord::decode(name, r.value())).transpose()?.map(|r| r.at_unix)
            }
        };
        let tables = self.tables()?;
        Ok(Lengths {
            journal_records: tables.journal.len()?,
            oldest_journal_unix,
            doubts: tables.doubts.len()?,
            conflicts: tables.conflicts.len()?,
            unconfirmed: tables.unconfirmed.len()?,
            underway: tables.underway.len()?,
            forgotten: tables.forgotten.len()?,
        })
    }
}

/// The lengths of the tables, which redb keeps itself.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lengths {
    pub(super) journal_records: u64,
    pub(super) oldest_journal_unix: Option<u64>,
    pub(super) doubts: u64,
    pub(super) conflicts: u64,
    pub(super) unconfirmed: u64,
    pub(super) underway: u64,
    pub(super) forgotten: u64,
}

fn seqs_of(
    table: &impl ReadableTable<(&'static [u8], u64), &'static [u8]>,
    key: &[u8],
) -> Result<Vec<u64>, StoreError> {
    table.range(records_of(key))?.map(|record| Ok(record?.0.value().1)).collect()
}
