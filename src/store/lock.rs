//! The directory's lock file: who works here, and whether the last who did had to give up.
//!
//! A store that is poisoned cannot write down that it is: so the mark goes into this other file. The file
//! always has the same length, so that the mark needs no space on a full disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StoreError;

/// The file's length: one sector, filled up with spaces.
const LEN: usize = 512;
const FAILED: &str = "failed: ";

#[derive(Debug)]
pub(super) struct DirLock {
    file: File,
    suspect: Mutex<Option<Arc<str>>>,
}

impl DirLock {
    /// Locks the directory for this process, until the value is dropped.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let failed = |e: &io::Error| StoreError::disk(&format!("locking {}", dir.display()), e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(dir.join("lock"))
            .map_err(|e| failed(&e))?;
        let locked = file.try_lock();
        let mut text = vec![0; LEN];
        let known = file.read_at(&mut text, 0).map_err(|e| failed(&e))?;
        text.truncate(known);
        let text = String::from_utf8_lossy(&text);
        match locked {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(failed(&e)),
            Err(TryLockError::WouldBlock) => {
                let holder = text.lines().next().map(str::trim).filter(|line| !line.is_empty());
                return Err(StoreError::InUse {
                    dir: dir.to_owned(),
                    holder: holder.unwrap_or("another process").to_owned(),
                });
            }
        }
        let suspect = text.lines().find_map(|line| line.strip_prefix(FAILED));
        let lock = Self { file, suspect: Mutex::new(suspect.map(|cause| cause.trim().into())) };
        lock.write(&lock.suspect()).map_err(|e| failed(&e))?;
        Ok(lock)
    }

    fn suspect(&self) -> MutexGuard<'_, Option<Arc<str>>> {
        self.suspect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, suspect: &Option<Arc<str>>) -> io::Result<()> {
        let mut text = format!("process {}\n", std::process::id());
        if let Some(cause) = suspect {
            text += FAILED;
            text.extend(cause.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
        let mut bytes = text.into_bytes();
        bytes.resize(LEN, b' ');
        self.file.write_all_at(&bytes, 0)?;
        self.file.sync_data()
    }

    /// Why the store of an earlier run took no more changes, unless a master completed the list since.
    pub(super) fn cause(&self) -> Option<Arc<str>> {
        self.suspect().clone()
    }

    /// Leaves the mark. On a dead disk this fails like everything else.
    pub(super) fn mark(&self, cause: &Arc<str>) -> io::Result<()> {
        let mut suspect = self.suspect();
        *suspect = Some(cause.clone());
        self.write(&suspect)
    }

    /// Takes the mark away.
    pub(super) fn clear(&self) -> io::Result<()> {
        let mut suspect = self.suspect();
        if suspect.take().is_none() {
            return Ok(());
        }
        self.write(&None)
    }
}
