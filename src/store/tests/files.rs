//! A store on two files in memory; with the thread that writes it, or without, for tests that decide what happens when.

use super::sim::{Kind, SimDisk, Unsynced};
use crate::list::{Entry, MailboxName};
use crate::store::writer::{Work, Writer};
use crate::store::{Change, Handle, Options, Store, StoreError, Synced};

/// The store's two files, which are synced each by itself.
#[derive(Clone)]
pub(crate) struct Files {
    tables: SimDisk,
    log: SimDisk,
}

impl Files {
    pub(crate) fn holding([tables, log]: [Vec<u8>; 2]) -> Self {
        let tables = SimDisk::holding(tables);
        Self { log: tables.beside(log), tables }
    }

    pub(super) fn open(&self, options: Options) -> Result<Store, StoreError> {
        Store::start(Box::new(self.tables.clone()), Box::new(self.log.clone()), options, None)
    }

    /// A store for whose writing a scribe is asked; [`Store::commit`] is closed.
    pub(crate) fn open_inline(&self, options: Options) -> Result<(Store, Scribe), StoreError> {
        let (shared, writer) =
            Store::parts(Box::new(self.tables.clone()), Box::new(self.log.clone()), options, None)?;
        let handle = Handle { shared, queue: None, writer: None };
        Ok((Store { handle: handle.into() }, Scribe(writer)))
    }

    pub(crate) fn bytes(&self) -> [Vec<u8>; 2] {
        [self.tables.bytes(), self.log.bytes()]
    }

    pub(crate) fn record(&self) {
        self.tables.record();
        self.log.record();
    }

    pub(crate) fn recorded(&self) -> usize {
        self.tables.recorded()
    }

    pub(crate) fn after_power_cut(
        &self,
        [tables, log]: &[Vec<u8>; 2],
        at: usize,
        unsynced: Unsynced,
    ) -> [Vec<u8>; 2] {
        [self.tables.after_power_cut(tables, at, unsynced), self.log.after_power_cut(log, at, unsynced)]
    }

    /// From now on no sync succeeds.
    pub(crate) fn fail(&self) {
        self.tables.fail(Kind::Sync, 0, 5, false);
        self.log.fail(Kind::Sync, 0, 5, false);
    }
}

/// Who writes the store: whoever holds this, when it likes.
pub(crate) struct Scribe(Writer);

impl Scribe {
    /// Carries calls out that share one transaction, and says what each is told.
    pub(crate) fn commit(&mut self, calls: Vec<Vec<Change>>) -> Vec<Result<u64, StoreError>> {
        let asked = calls.len();
        match self.0.commit(calls.into_iter().map(Work::Commit).collect()) {
            Ok(answers) => answers,
            Err(error) => vec![Err(error); asked],
        }
    }

    /// Puts a whole list in the place of the one there is.
    pub(crate) fn replace(
        &mut self,
        entries: Vec<(MailboxName, Entry)>,
        synced: Synced,
    ) -> Result<(), StoreError> {
        let id = self.0.commit(vec![Work::BeginLoad])?.remove(0)?;
        self.0.commit(vec![Work::PutLoad { id, entries }])?.remove(0)?;
        self.0.commit(vec![Work::FinishLoad { id, synced }])?.remove(0)?;
        Ok(())
    }
}
