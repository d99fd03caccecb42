//! A copy of the store in one file.

use std::fs::{File, OpenOptions};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Key, ReadableTable, StorageBackend, TableDefinition, Value, WriteTransaction};

use super::log::Mark;
use super::schema::{
    CONFLICTS, DOUBTS, FORGOTTEN, FORGOTTEN_BY_SEQ, HISTORY, HISTORY_BY_SEQ, JOURNAL, JOURNAL_BY_SEQ, LIST,
    Ledger, META, UNCONFIRMED, UNDERWAY,
};
use super::shared::builder;
use super::snapshot::Snapshot;
use super::{Options, Store, StoreError};

/// How many names are copied between two signs of progress.
const TELL_EVERY: u64 = 10_000;

/// Memory for the pages of the copy.
const CACHE: usize = 16 << 20;

impl Store {
    /// Copies the store as it is now into a new file, while it goes on working. The file is a `list.redb`, packed
    /// tightly. Answers with the sequence number of the last change in it. What is at `path` already is left
    /// alone, and the copy refused. `tell` hears now and then how many names are copied.
    pub async fn backup_to(
        &self,
        path: &Path,
        tell: impl Fn(u64) + Send + 'static,
    ) -> Result<u64, StoreError> {
        let snapshot = self.snapshot()?;
        let path = path.to_owned();
        let copying = tokio::task::spawn_blocking(move || copy(&snapshot, &path, tell));
        copying.await.map_err(|_| StoreError::Closed)?
    }
}

fn copy(snapshot: &Snapshot, path: &Path, tell: impl Fn(u64)) -> Result<u64, StoreError> {
    let failed = |e: &std::io::Error| StoreError::disk(&format!("writing {}", path.display()), e);
    if path.try_exists().map_err(|e| failed(&e))? {
        return Err(failed(&std::io::ErrorKind::AlreadyExists.into()));
    }
    // Under its name only when it is whole.
    let unborn = PathBuf::from(format!("{}.new", path.display()));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unborn)
        .map_err(|e| failed(&e))?;
    if let Err(error) = fill(snapshot, FileBackend::new(file)?, tell) {
        // It is in nobody's way; the error to tell is the first.
        let _ = std::fs::remove_file(&unborn);
        return Err(error);
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    std::fs::rename(&unborn, path)
        .and_then(|()| File::open(parent.unwrap_or(Path::new(".")))?.sync_all())
        .map_err(|e| failed(&e))?;
    Ok(snapshot.seq())
}

/// Copies everything but a load under way to an empty disk, durably.
pub(super) fn fill(
    snapshot: &Snapshot,
    disk: impl StorageBackend,
    tell: impl Fn(u64),
) -> Result<(), StoreError> {
    let options = Options { cache_bytes: CACHE, ..Options::default() };
    let db = builder(&options).create_with_backend(disk)?;
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    copy_table(snapshot, &txn, LIST, tell)?;
    for table in [FORGOTTEN, CONFLICTS, UNCONFIRMED, UNDERWAY] {
        copy_table(snapshot, &txn, table, |_| ())?;
    }
    for table in [JOURNAL, DOUBTS, HISTORY] {
        copy_table(snapshot, &txn, table, |_| ())?;
    }
    for table in [JOURNAL_BY_SEQ, FORGOTTEN_BY_SEQ, HISTORY_BY_SEQ] {
        copy_table(snapshot, &txn, table, |_| ())?;
    }
    copy_table(snapshot, &txn, META, |_| ())?;
    // It is a store of its own: no log continues it.
    // What is under way here was left there.
    let mark = Mark { life: snapshot.base.ledger.mark.life, ..Mark::default() };
    let ledger = Ledger { mark, ..snapshot.base.ledger.clone() };
    ledger.write(None, &mut txn.open_table(META)?)?;
    txn.commit()?;
    Ok(db.close()?)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    snapshot: &Snapshot,
    txn: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
    tell: impl Fn(u64),
) -> Result<(), StoreError> {
    let from = snapshot.read(|| Ok(snapshot.base.txn.open_table(table)?))?;
    let mut items = snapshot.read(|| Ok(from.iter()?))?;
    let mut to = txn.open_table(table)?;
    let mut end = to.upper_bound_mut(Bound::<K::SelfType<'_>>::Unbounded)?;
    let mut copied = 0_u64;
    // Only reads are the store's own: a full disk under the copy is no reason to give the store up.
    while let Some((key, value)) = snapshot.read(|| Ok(items.next().transpose()?))? {
        end.insert_before(key.value(), value.value())?;
        if copied.is_multiple_of(TELL_EVERY) {
            tell(copied);
        }
        copied += 1;
    }
    Ok(end.close()?)
}
