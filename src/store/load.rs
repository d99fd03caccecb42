//! Taking over a whole list: filled beside the one in use, then put in its place in one transaction.
//!
//! Until [`Loader::finish`] the old list is served and can be changed as before; those changes are lost with
//! it. A load that is dropped, or cut off by a crash, leaves nothing but space to be reused.

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::batch::Batch;
use super::codec::Listed;
use super::records::{Change, Synced};
use super::schema::{LIST, LOADING};
use super::writer::Work;
use super::{Store, StoreError, forgotten};
use crate::list::{Entry, MailboxName};

/// A list being taken over; made by [`Store::begin_load`]. Dropping it gives the load up.
#[derive(Debug)]
pub struct Loader {
    store: Store,
    id: u64,
    finished: bool,
}

impl Store {
    /// Begins to take over a whole list. Another load under way is superseded, and so is this one by a
    /// change of the list's order.
    pub async fn begin_load(&self) -> Result<Loader, StoreError> {
        let id = self.request(Work::BeginLoad)?.await?;
        Ok(Loader { store: self.clone(), id, finished: false })
    }
}

impl Loader {
    /// Adds a part of the list, in any order, though fastest in the list's own. A name that comes twice keeps
    /// what came last. Parts of a few thousand entries are best; they are durable only when the load is
    /// finished.
    pub async fn put(&mut self, entries: Vec<(MailboxName, Entry)>) -> Result<(), StoreError> {
        for (_, entry) in &entries {
            super::bounds::check_entry(entry)?;
        }
        let id = self.id;
        self.store.request(Work::PutLoad { id, entries })?.await?;
        Ok(())
    }

    /// Puts what was loaded in the place of the list, which is complete from then on. Names that were in the
    /// old list only are forgotten ones. Journal, doubts and conflicts stay as they are.
    pub async fn finish(mut self, synced: Synced) -> Result<(), StoreError> {
        self.finished = true;
        let id = self.id;
        self.store.request(Work::FinishLoad { id, synced })?.await?;
        Ok(())
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        if !self.finished {
            // Where this cannot be queued, the next load or the next start frees the space.
            let _ = self.store.request(Work::DropLoad { id: self.id });
        }
    }
}

/// The writer's side of a load.
#[derive(Debug)]
pub(super) struct Loading {
    pub(super) id: u64,
    version: u64,
    active: u64,
    reserved: u64,
    last: Vec<u8>,
}

impl Loading {
    pub(super) fn begin(id: u64, batch: &mut Batch<'_>) -> Result<Self, StoreError> {
        let version = batch.next_seq();
        batch.with_tables_closed(discard)?;
        Ok(Self { id, version, active: 0, reserved: 0, last: Vec::new() })
    }

    pub(super) fn put(
        &mut self,
        batch: &mut Batch<'_>,
        entries: Vec<(MailboxName, Entry)>,
    ) -> Result<(), StoreError> {
        let order = batch.ledger.order;
        let items: Vec<(Vec<u8>, Entry)> =
            entries.into_iter().map(|(name, entry)| (order.key(&name), entry)).collect();
        let ascending = items.first().is_some_and(|(first, _)| *first > self.last)
            && items.is_sorted_by(|(a, _), (b, _)| a < b);
        let mut table = batch.txn().open_table(LOADING)?;
        if ascending {
            // Behind all that is there already: pages are filled to the brim, one after the other.
            let mut cursor = table.upper_bound_mut(std::ops::Bound::<&[u8]>::Unbounded)?;
            for (key, entry) in &items {
                let value = Listed::encode(entry, self.version);
                cursor.insert_before(key.as_slice(), value.as_slice())?;
                self.count(entry.is_active(), 1);
            }
            cursor.close()?;
            self.last = items.into_iter().next_back().map(|(key, _)| key).unwrap_or_default();
            return Ok(());
        }
        for (key, entry) in items {
            let value = Listed::encode(&entry, self.version);
            let was_active =
                table.insert(key.as_slice(), value.as_slice())?.map(|old| Listed::is_active(old.value()));
            if let Some(was_active) = was_active {
                self.count(was_active, -1);
            }
            self.count(entry.is_active(), 1);
            self.last = self.last.as_slice().max(key.as_slice()).to_vec();
        }
        Ok(())
    }

    fn count(&mut self, active: bool, by: i64) {
        let counter = if active { &mut self.active } else { &mut self.reserved };
        *counter = counter.saturating_add_signed(by);
    }

    pub(super) fn finish(self, batch: &mut Batch<'_>, synced: Synced) -> Result<(), StoreError> {
        drop(batch.txn().open_table(LOADING)?);
        remember_lost(batch)?;
        batch.with_tables_closed(|txn| {
            txn.delete_table(LIST)?;
            txn.rename_table(LOADING, LIST)?;
            Ok(())
        })?;
        batch.ledger.active = self.active;
        batch.ledger.reserved = self.reserved;
        batch.apply(Change::Synced(synced))?;
        batch.replaced = true;
        batch.touched.clear();
        Ok(())
    }
}

/// Frees what a load that was not finished left behind.
pub(super) fn discard(txn: &WriteTransaction) -> Result<(), StoreError> {
    txn.delete_table(LOADING)?;
    Ok(())
}

/// Remembers the names that only the old list has, and forgets that the others were ever forgotten.
fn remember_lost(batch: &mut Batch<'_>) -> Result<(), StoreError> {
    let order = batch.ledger.order;
    let options = batch.options();
    let now = (options.now_unix)();
    let loading = batch.txn().open_table(LOADING)?;
    let mut lost = Vec::new();
    let mut back = Vec::new();
    let tables = batch.tables()?;
    if !tables.list.is_empty()? {
        let mut new = loading.iter()?;
        let mut ahead = new.next().transpose()?;
        for old in tables.list.iter()? {
            let (old, _) = old?;
            while ahead.as_ref().is_some_and(|(key, _)| key.value() < old.value()) {
                ahead = new.next().transpose()?;
            }
            if ahead.as_ref().is_none_or(|(key, _)| key.value() != old.value()) {
                lost.push(old.value().to_vec());
                if lost.len() as u64 >= options.forgotten_names {
                    break;
                }
            }
        }
    }
    for forgotten in tables.forgotten.iter()? {
        let (key, _) = forgotten?;
        if loading.get(key.value())?.is_some() {
            back.push(key.value().to_vec());
        }
    }
    drop(loading);
    for key in back {
        forgotten::recall(batch.tables()?, &key)?;
    }
    for key in lost {
        let seq = batch.next_seq();
        let name = order.name(&key).map_err(|e| StoreError::corrupt(format!("a key on disk: {e}")))?;
        forgotten::remember(batch.tables()?, &key, name.as_bytes(), seq, now)?;
    }
    Ok(())
}
