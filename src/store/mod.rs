//! What is durable: the list, and the journal of what was decided without the master.
//!
//! # Format
//!
//! A directory with three files. `lock` is locked (flock) by the process that has the store open, names it, and
//! keeps the mark of a failure ([`lock`]). (While it is made, `list.redb` is called `list.new`.)
//! `list.log` holds what is not durable in the tables yet ([`log`]). `list.redb` is a [redb] database, format
//! [`FORMAT`](schema::FORMAT) 1, with these tables:
//!
//! | table | key | value |
//! |---|---|---|
//! | `list` | name key | state, version, location, ACL ([`codec`]) |
//! | `forgotten` | name key | sequence number and time of its removal |
//! | `forgotten-by-seq` | sequence number | name |
//! | `history` | name, sequence number | time, state, after, who, before ([`history`]) |
//! | `history-by-seq` | sequence number | name |
//! | `journal` | name key, sequence number | verb, time, before, after, identity, peer |
//! | `journal-by-seq` | sequence number | name |
//! | `doubts` | name key, sequence number | time, effect |
//! | `conflicts` | name key | time, base, theirs, ours |
//! | `unconfirmed` | name key | what the master's list holds |
//! | `underway` | name | life, version, operation, time, before, identity, peer ([`underway`]) |
//! | `loading` | name key | as `list`: a list being taken over ([`Loader`]) |
//! | `meta` | word | `format`, `ledger` (counters), `synced`, `reseeding`, `held`, `ages` ([`Ages`]), `servers` ([`Servers`]) |
//!
//! A name key is the name as [`Order::key`](crate::list::Order::key) makes it, so the list lies on disk in the
//! order in which Cyrus wants it streamed. Values are laid out as [`codec`] says.
//!
//! # Invariants
//!
//! - One transaction holds whole calls of [`Store::commit`], never parts: list and journal change together.
//! - Every change has a sequence number, greater than all before it. It is the version of the entry that the
//!   change put, and the key of the record that it journalled.
//! - `journal-by-seq` has exactly the records of `journal`; `forgotten-by-seq` exactly the names of
//!   `forgotten`; `history-by-seq` exactly the records of `history`. No name is both in `list` and `forgotten`.
//! - The counters in `meta` say how many names are active, reserved and journalled: nothing is ever counted by
//!   walking a table, so opening and [`Store::stats`] cost the same at ten names and at ten million.
//!
//! # Durability and recovery
//!
//! A group of calls is durable once it is in the log; the tables are made durable every 256 changes, and by what
//! the log does not take: loads, a change of the order, groups larger than it.
//!
//! Every durable commit of the tables is two-phase and saves redb's page allocator (`quick_repair`). Two-phase, because mailbox names
//! and ACLs come from outside: a one-phase commit is told from a torn one by a checksum that is not
//! cryptographic. The allocator, so that opening after a crash reads a few pages instead of the whole file.
//!
//! Measured with ten million entries (860 MB, 86 bytes each; NVMe, two cores): without the log a commit of one
//! caller takes 1.0 ms; opening takes 5 ms, after a crash too (one-phase after a crash: 1.6 s with the file in the
//! page cache, more without), and the log adds what 256 changes take.
//!
//! After a crash the store shows every acknowledged change, and of those in flight whole calls or nothing.
//!
//! # When the disk fails
//!
//! The first failed write or fsync ends all writing ([`StoreError::Poisoned`]): after a failed fsync nobody
//! knows what the disk holds, and asking again may be answered with a lie. Readers go on with the
//! state that was last acknowledged ([`disk`]). Only a restart, which reads what really is on disk,
//! ends this state; [`Stats::suspect`] remembers it until a master completed the list again.

mod ages;
mod backup;
mod batch;
mod bounds;
mod change;
mod codec;
mod disk;
mod error;
mod forgotten;
mod history;
mod hot;
mod load;
mod lock;
mod log;
mod options;
mod records;
mod rekey;
mod schema;
mod servers;
mod shared;
mod snapshot;
mod stats;
mod stream;
mod underway;
mod writer;

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::{Database, ReadableTableMetadata, StorageBackend, backends::FileBackend};
use tokio::sync::oneshot;

use crate::list::{Entry, MailboxName};
use batch::{Batch, Filled};
use bounds::check;
use disk::{Disk, Live};
use lock::DirLock;
use log::{Log, Record, Region};
use schema::{LIST, Ledger, META};
use shared::{Published, Shared, builder, guarded};
use snapshot::Base;
use writer::{Request, Work, Writer};

pub use ages::Ages;
pub use error::StoreError;
pub use load::Loader;
pub use options::Options;
pub use records::{
    Cause, Change, Conflict, Deed, Doubt, JournalRecord, Journalled, LeftOver, Remembered, Synced, Underway,
    Verb,
};
pub use servers::Servers;
pub use snapshot::Snapshot;
pub use stats::Stats;
pub use stream::{Cursor, EntryRef};

/// A handle to the store; clones are the same store.
///
/// Dropping the last one waits for the commits under way, then closes the store; the directory stays locked
/// until the last [`Snapshot`] is gone too.
#[derive(Clone)]
pub struct Store {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    /// `None` only while the handle is dropped.
    queue: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in a directory; makes both if they do not exist. The directory's parent has to exist.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let failed =
            |what: &str, e: &std::io::Error| StoreError::disk(&format!("{what} {}", dir.display()), e);
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|e| failed("making the directory", &e))?,
        }
        let lock = DirLock::take(dir)?;
        let (path, unborn) = (dir.join("list.redb"), dir.join("list.new"));
        let exists = path.try_exists().map_err(|e| failed("looking into", &e))?;
        let mut file = OpenOptions::new();
        file.read(true).write(true).mode(0o600);
        let log = file.clone().create(true).truncate(!exists).open(dir.join("list.log"));
        let log = Box::new(FileBackend::new(log.map_err(|e| failed("opening list.log in", &e))?)?);
        if exists {
            let file = file.open(&path).map_err(|e| failed("opening list.redb in", &e))?;
            return Self::start(Box::new(FileBackend::new(file)?), log, options, Some(lock));
        }
        let file =
            file.create(true).truncate(true).open(&unborn).map_err(|e| failed("making list.new in", &e))?;
        let store = Self::start(Box::new(FileBackend::new(file)?), log, options, Some(lock))?;
        // Under its name only when it is whole, and found there only once the directory was synced.
        std::fs::rename(&unborn, &path)
            .and_then(|()| File::open(dir)?.sync_all())
            .map_err(|e| failed("naming list.redb in", &e))?;
        Ok(store)
    }

    /// Opens a store on any disk. A power cut while a disk is used for the first time can leave what is not a
    /// store; [`Self::open`] knows what to do about that.
    pub fn open_on(disk: impl StorageBackend, options: Options) -> Result<Self, StoreError> {
        let (log, tables) = Region::split(disk, options.log_bytes);
        Self::start(Box::new(tables), Box::new(log), options, None)
    }

    fn start(
        disk: Box<dyn StorageBackend>,
        log: Box<dyn StorageBackend>,
        options: Options,
        lock: Option<DirLock>,
    ) -> Result<Self, StoreError> {
        let (shared, writer) = Self::parts(disk, log, options, lock)?;
        let (queue, waiting) = sync_channel(options.waiting_calls);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|e| StoreError::disk("starting the writer's thread", &e))?;
        Ok(Self { handle: Arc::new(Handle { shared, queue: Some(queue), writer: Some(writer) }) })
    }

    /// A store as it was left on a disk, and who writes it.
    fn parts(
        disk: Box<dyn StorageBackend>,
        log: Box<dyn StorageBackend>,
        options: Options,
        lock: Option<DirLock>,
    ) -> Result<(Arc<Shared>, Writer), StoreError> {
        let (log, records) =
            Log::open(log, options.log_bytes).map_err(|e| StoreError::disk("reading its log", &e))?;
        let disk = Disk::new(disk).map_err(|e| StoreError::disk("reading its header", &e))?;
        let (db, published) = guarded(|| {
            let mut builder = builder(&options);
            let db =
                builder.set_check_integrity_on_open(options.check).create_with_backend(Live(disk.clone()))?;
            let published = first_commit(&db, &options, &records)?;
            Ok((Arc::new(db), published))
        })?;
        let ledger = published.ledger.clone();
        let base = Base::open(db.clone(), Some(ledger.clone()))?;
        let shared = Arc::new(Shared::new(options, disk, base, published, lock));
        let writer = Writer::new(db, shared.clone(), ledger, log);
        Ok((shared, writer))
    }

    /// Makes all changes durable, or none, and answers with the sequence number of the last. Calls are
    /// applied in the order in which they were made; the call is in the queue before the first await.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<u64, StoreError> {
        self.submit(changes).await
    }

    /// As [`Self::commit`]; the call is in the queue when this returns. Dropping the future does not take it back.
    pub fn submit(
        &self,
        changes: Vec<Change>,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        let queued = changes.iter().try_for_each(check).and_then(|()| self.request(Work::Commit(changes)));
        async move { queued?.await }
    }

    fn request(
        &self,
        work: Work,
    ) -> Result<impl Future<Output = Result<u64, StoreError>> + Send + use<>, StoreError> {
        if let Some(cause) = self.handle.shared.poisoned() {
            return Err(StoreError::Poisoned(cause.clone()));
        }
        let (reply, answer) = oneshot::channel();
        let queue = self.handle.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.try_send(Request { work, reply }).map_err(|e| match e {
            TrySendError::Full(_) => StoreError::Busy(self.handle.shared.options.waiting_calls),
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        Ok(async move { answer.await.unwrap_or(Err(StoreError::Closed)) })
    }

    /// What the list holds for the name: the newest that was committed. Mostly answered from memory; reads the
    /// disk where neither a recent lookup nor the cache has it.
    pub fn get(&self, name: &MailboxName) -> Result<Option<Entry>, StoreError> {
        let missed = match self.handle.shared.hot.look(name) {
            Ok(found) => return Ok(found),
            Err(missed) => missed,
        };
        let found = self.snapshot()?.get(name)?;
        self.handle.shared.hot.keep(missed, name, &found);
        Ok(found)
    }

    /// The store as it is now, to be read while commits go on. Waits for nothing; fails only where the disk
    /// failed so that nothing can be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Snapshot::new(&self.handle.shared)
    }

    /// For how long the writer has been at the same group of calls, which a disk that works is done with in no time.
    pub fn silence(&self) -> Duration {
        self.handle.shared.silence()
    }

    /// What the store holds.
    pub fn stats(&self) -> Stats {
        self.handle.shared.stats()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // It catches its own panics.
            let _ = writer.join();
        }
    }
}

/// Makes the tables of a new store, or frees what a load that was cut off left behind and takes in what is in the
/// log only.
fn first_commit(db: &Database, options: &Options, records: &[Record]) -> Result<Published, StoreError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    let ledger = Ledger::read(&txn.open_table(META)?)?;
    if ledger.is_none() && !txn.open_table(LIST)?.is_empty()? {
        return Err(StoreError::corrupt("it holds a list, but does not say in which format"));
    }
    let mut batch = Batch::open(&txn, ledger, options);
    batch.with_tables_closed(load::discard)?;
    log::replay(&mut batch, records)?;
    batch.ledger.mark = batch.ledger.mark.reborn(batch.ledger.seq);
    let Filled { ledger, lengths, .. } = batch.finish()?;
    txn.commit()?;
    Ok(Published { ledger, lengths })
}

#[cfg(test)]
pub(crate) mod tests;
