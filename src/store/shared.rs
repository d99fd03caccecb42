//! What the handles, the snapshots and the writer share.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use redb::Database;

use super::batch::{Filled, Lengths};
use super::disk::{Disk, Frozen};
use super::forgotten::Limits;
use super::hot::Hot;
use super::lock::DirLock;
use super::schema::Ledger;
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
    /// What readers use: the writer's database, or a frozen one once the store is poisoned.
    reader: RwLock<Arc<Database>>,
    published: Mutex<Published>,
    poisoned: OnceLock<Arc<str>>,
    calls: AtomicU64,
    commits: AtomicU64,
    /// Held for as long as anything of the store lives. `None` for a store that has no directory.
    lock: Option<DirLock>,
}

impl Shared {
    pub(super) fn new(
        options: Options,
        disk: Arc<Disk>,
        db: Arc<Database>,
        published: Published,
        lock: Option<DirLock>,
    ) -> Self {
        Self {
            hot: Hot::new(options.hot_entries),
            options,
            disk,
            reader: RwLock::new(db),
            published: Mutex::new(published),
            poisoned: OnceLock::new(),
            calls: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            lock,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            names: self.options.forgotten_names,
            seconds: self.options.forgotten_seconds,
            now_unix: self.options.now_unix,
        }
    }

    pub(super) fn reader(&self) -> Arc<Database> {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A group of calls is durable.
    pub(super) fn committed(&self, filled: Filled, calls: u64) {
        let Filled { ledger, lengths, .. } = filled;
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

    pub(super) fn poisoned(&self) -> Option<&Arc<str>> {
        self.poisoned.get()
    }

    /// Stops all writing, for the first cause that anyone saw, and lets readers see what is durable.
    pub(super) fn poison(&self, cause: &str) -> StoreError {
        let cause = self.disk.give_up(cause).clone();
        if self.poisoned.set(cause.clone()).is_ok() {
            tracing::error!(%cause, "the store takes no more changes");
            self.freeze(None);
            if let Some(lock) = &self.lock
                && let Err(error) = lock.mark(&cause)
            {
                tracing::warn!(%error, "no mark of the failure could be left");
            }
        }
        self.hot.abandon();
        StoreError::Poisoned(cause)
    }

    /// A read failed on this database. redb then refuses every other read on it, and every commit.
    pub(super) fn read_failed(&self, db: &Arc<Database>, error: &StoreError) {
        if matches!(error, StoreError::Disk(_)) {
            self.poison(&error.to_string());
            self.freeze(Some(db));
        }
    }

    /// Gives readers a frozen database, if what they have is still `failed`.
    fn freeze(&self, failed: Option<&Arc<Database>>) {
        let mut reader = self.reader.write().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|failed| !Arc::ptr_eq(&reader, failed)) {
            return;
        }
        let frozen = guarded(|| {
            let disk = Frozen::new(self.disk.clone()).map_err(|e| StoreError::disk("reading", &e))?;
            Ok(super::builder(&self.options).create_with_backend(disk)?)
        });
        match frozen {
            Ok(frozen) => *reader = Arc::new(frozen),
            Err(error) => tracing::error!(%error, "the store cannot be read any more"),
        }
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
            seq: ledger.seq,
            order: ledger.order,
            complete: ledger.synced.is_some(),
            synced: ledger.synced,
            attended_at: (ledger.attended_at > 0).then_some(ledger.attended_at),
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
