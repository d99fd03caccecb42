//! What the handles, the snapshots and the writer share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::Database;

use super::batch::{Batch, Filled, Lengths};
use super::disk::{Disk, Frozen};
use super::hot::Hot;
use super::lock::DirLock;
use super::log::{self, Record};
use super::schema::{Ledger, META};
use super::snapshot::Base;
use super::{Options, Stats, StoreError};

/// The state as of the last commit.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) ledger: Ledger,
    pub(super) lengths: Lengths,
}

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) disk: Arc<Disk>,
    pub(super) hot: Hot,
    /// What readers see: the last commit, on the writer's disk or, once the store is poisoned, on a frozen one;
    /// or why they see nothing.
    current: RwLock<Result<Arc<Base>, StoreError>>,
    published: Mutex<Published>,
    /// What is durable in the log only, oldest first; no more than the log holds.
    logged: Mutex<Vec<Record>>,
    poisoned: OnceLock<Arc<str>>,
    calls: AtomicU64,
    commits: AtomicU64,
    opened: Instant,
    /// When the writer began with what it is at: milliseconds since `opened`, and one; 0 while it waits for work.
    at_work_since: AtomicU64,
    /// Held for as long as anything of the store lives. `None` for a store that has no directory.
    lock: Option<DirLock>,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        disk: Arc<Disk>,
        base: Arc<Base>,
        published: Published,
        lock: Option<DirLock>,
    ) -> Self {
        Self {
            hot: Hot::new(options.hot_entries),
            options,
            disk,
            current: RwLock::new(Ok(base)),
            published: Mutex::new(published),
            logged: Mutex::default(),
            poisoned: OnceLock::new(),
            calls: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            opened: Instant::now(),
            at_work_since: AtomicU64::new(0),
            lock,
        }
    }

    pub(super) fn current(&self) -> Result<Arc<Base>, StoreError> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        // Perhaps the disk is back.
        current.or_else(|_| self.freeze())
    }

    fn replace(&self, base: Result<Arc<Base>, StoreError>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, base);
        drop(current);
        // Closing what was read may take its time; nobody waits for that.
        drop(old);
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn logged(&self) -> MutexGuard<'_, Vec<Record>> {
        self.logged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group of calls is durable, and readers may see it.
    pub(super) fn committed(&self, db: Option<&Arc<Database>>, filled: Filled, calls: u64) {
        let Filled { ledger, lengths, .. } = filled;
        if let Some(db) = db {
            match Base::open(db.clone(), Some(ledger.clone())) {
                Ok(base) => self.replace(Ok(base)),
                // What can be read elsewhere is at least as new.
                Err(error) => drop(self.poison(&error.to_string())),
            }
        }
        *self.published() = Published { ledger, lengths };
        self.calls.fetch_add(calls, Relaxed);
        self.commits.fetch_add(1, Relaxed);
        self.hot.end(filled.touched);
        // Once poisoned, what comes after this group is missing all the same.
        if filled.completed
            && self.poisoned().is_none()
            && let Some(lock) = &self.lock
            && let Err(error) = lock.clear()
        {
            tracing::warn!(%error, "the mark of an earlier failure stays");
        }
    }

    /// The writer begins with a group of calls, or has ended one.
    pub(super) fn at_work(&self, working: bool) {
        let since = if working { self.age().saturating_add(1) } else { 0 };
        self.at_work_since.store(since, Relaxed);
    }

    /// For how long the writer has been at the same group.
    pub(super) fn silence(&self) -> Duration {
        match self.at_work_since.load(Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.age().saturating_add(1).saturating_sub(since)),
        }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn poisoned(&self) -> Option<&Arc<str>> {
        self.poisoned.get()
    }

    /// Stops all writing, for the first cause that anyone saw, and lets readers see what is durable.
    pub(super) fn poison(&self, cause: &str) -> StoreError {
        let cause = self.disk.give_up(cause).clone();
        if self.poisoned.set(cause.clone()).is_ok() {
            tracing::error!(%cause, "the store takes no more changes");
            if let Err(error) = self.freeze() {
                tracing::error!(%error, "the store cannot be read either");
            }
            if let Some(lock) = &self.lock
                && let Err(error) = lock.mark(&cause)
            {
                tracing::warn!(%error, "no mark of the failure could be left");
            }
        }
        self.hot.abandon();
        StoreError::Poisoned(cause)
    }

    /// A read failed here. redb then refuses every other read on that disk, and every commit.
    pub(super) fn read_failed(&self, base: &Arc<Base>, error: &StoreError) {
        if !matches!(error, StoreError::Disk(_)) {
            return;
        }
        self.poison(&error.to_string());
        let still = |current: &Arc<Base>| Arc::ptr_eq(current, base);
        if self.current().is_ok_and(|current| still(&current))
            && let Err(error) = self.freeze()
        {
            tracing::error!(%error, "the store cannot be read any more");
        }
    }

    /// Lets readers read from a frozen disk.
    fn freeze(&self) -> Result<Arc<Base>, StoreError> {
        let frozen = guarded(|| {
            let disk = Frozen::new(self.disk.clone()).map_err(|e| StoreError::disk("reading", &e))?;
            let db = builder(&self.options).create_with_backend(disk)?;
            // The tables as of their last fsync, and what was logged since.
            let txn = db.begin_write()?;
            let mut batch = Batch::open(&txn, Ledger::read(&txn.open_table(META)?)?, &self.options);
            log::replay(&mut batch, &self.logged())?;
            batch.finish()?;
            txn.commit()?;
            Base::open(Arc::new(db), None)
        });
        self.replace(frozen.clone());
        frozen
    }

    pub(super) fn stats(&self) -> Stats {
        let Published { ledger, lengths } = self.published().clone();
        Stats {
            entries: ledger.active + ledger.reserved,
            active: ledger.active,
            reserved: ledger.reserved,
            forgotten: lengths.forgotten,
            journal_records: lengths.journal_records,
            journalled_names: ledger.journalled,
            oldest_journal_unix: lengths.oldest_journal_unix,
            doubts: lengths.doubts,
            conflicts: lengths.conflicts,
            unconfirmed: lengths.unconfirmed,
            underway: lengths.underway,
            seq: ledger.seq,
            order: ledger.order,
            complete: ledger.synced.is_some(),
            synced: ledger.synced,
            reseeding: ledger.reseeding,
            attended_at: (ledger.attended_at > 0).then_some(ledger.attended_at),
            held: ledger.held,
            servers: ledger.servers,
            poisoned: self.poisoned().cloned(),
            suspect: self.lock.as_ref().and_then(DirLock::cause),
            calls: self.calls.load(Relaxed),
            commits: self.commits.load(Relaxed),
        }
    }
}

/// Runs what reads the file. redb checks a file when it repairs it, not at every read, and can panic over a
/// damaged one.
pub(super) fn guarded<T>(act: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|_| Err(StoreError::corrupt("reading it led to a panic")))
}

pub(super) fn builder(options: &Options) -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    builder
}
