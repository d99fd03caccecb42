//! The disk under redb: what it does after a failure.
//!
//! redb refuses everything, reads too, once its disk failed. Here the list must stay readable, and nothing
//! may be written again: the kernel may have dropped the pages of a failed fsync and call the next one a
//! success. So [`Disk`] latches the first failure and lets no write through after it, and remembers the file's
//! header and length as they were when an fsync last succeeded. [`Frozen`] shows the file as of then: redb never
//! overwrites a page that the header of the last fsync leads to, so putting that header over the file is
//! enough. What redb writes while it opens a frozen disk stays in memory.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use redb::{BackendError, StorageBackend};

/// What redb keeps its header in. Its last bytes are unused; being a bit too large does no harm.
const HEADER: usize = 512;
/// How overwritten parts of a frozen disk are kept.
const PAGE: u64 = 4096;

/// The disk, with what is known of its health.
#[derive(Debug)]
pub(super) struct Disk {
    inner: Box<dyn StorageBackend>,
    failure: OnceLock<Arc<str>>,
    edges: Mutex<Edges>,
}

/// The two things that redb overwrites in place.
#[derive(Debug, Clone)]
struct Edge {
    header: [u8; HEADER],
    len: u64,
}

#[derive(Debug)]
struct Edges {
    now: Edge,
    synced: Edge,
}

impl Disk {
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> io::Result<Arc<Self>> {
        let len = inner.len()?;
        let mut header = [0; HEADER];
        let known = HEADER.min(usize::try_from(len).unwrap_or(HEADER));
        if let Some(part) = header.get_mut(..known) {
            inner.read(0, part)?;
        }
        let now = Edge { header, len };
        Ok(Arc::new(Self {
            inner,
            failure: OnceLock::new(),
            edges: Mutex::new(Edges { synced: now.clone(), now }),
        }))
    }

    /// Lets no write through from now on. The first cause stays.
    pub(super) fn give_up(&self, cause: &str) -> &Arc<str> {
        self.failure.get_or_init(|| cause.into())
    }

    /// Why nothing is written any more.
    pub(super) fn failure(&self) -> Option<&Arc<str>> {
        self.failure.get()
    }

    fn edges(&self) -> MutexGuard<'_, Edges> {
        self.edges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing<T>(&self, what: &str, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if let Some(cause) = self.failure.get() {
            return Err(io::Error::other(cause.to_string()));
        }
        act().inspect_err(|e| {
            self.give_up(&format!("{what} failed: {e}"));
        })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Frees locks; there is nobody left to tell of a failure.
        let _ = self.inner.close();
    }
}

/// The disk as the writing redb sees it.
#[derive(Debug)]
pub(super) struct Live(pub(super) Arc<Disk>);

impl StorageBackend for Live {
    fn len(&self) -> io::Result<u64> {
        self.0.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.changing("changing the file's length", || self.0.inner.set_len(len))?;
        self.0.edges().now.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.changing("fsync", || self.0.inner.sync_data())?;
        // Nobody else writes: redb has one writer, and it waits here.
        let mut edges = self.0.edges();
        edges.synced = edges.now.clone();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.changing("a write", || self.0.inner.write(offset, data))?;
        if let Ok(offset) = usize::try_from(offset)
            && offset < HEADER
        {
            let mut edges = self.0.edges();
            for (slot, byte) in edges.now.header.iter_mut().skip(offset).zip(data) {
                *slot = *byte;
            }
        }
        Ok(())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

/// The disk as it was when an fsync last succeeded. Writes go to memory.
#[derive(Debug)]
pub(super) struct Frozen {
    disk: Arc<Disk>,
    overlay: Mutex<Overlay>,
}

#[derive(Debug)]
struct Overlay {
    len: u64,
    pages: BTreeMap<u64, Box<[u8]>>,
}

impl Frozen {
    pub(super) fn new(disk: Arc<Disk>) -> io::Result<Self> {
        let Edge { header, len } = disk.edges().synced.clone();
        let frozen = Self { disk, overlay: Mutex::new(Overlay { len, pages: BTreeMap::new() }) };
        frozen.write(0, &header)?;
        Ok(frozen)
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the file; what is beyond its end is zero.
    fn read_file(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let have = self.disk.inner.len()?.saturating_sub(offset);
        let have = usize::try_from(have).unwrap_or(usize::MAX).min(out.len());
        let (inside, beyond) = out.split_at_mut_checked(have).unwrap_or_default();
        beyond.fill(0);
        if inside.is_empty() {
            return Ok(());
        }
        self.disk.inner.read(offset, inside)
    }

    /// Calls `each` for the part of every page that the range covers: the page's start, where the part begins
    /// in the page, and where it lies in the range.
    fn parts(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
        let end = offset.saturating_add(len as u64);
        let first = offset - offset % PAGE;
        (first..end).step_by(PAGE as usize).map(move |page| {
            let from = offset.max(page);
            let to = end.min(page + PAGE);
            // Each difference is at most a page or the caller's buffer long.
            let within = (from - page) as usize;
            (page, within, (from - offset) as usize..(to - offset) as usize)
        })
    }
}

impl StorageBackend for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.overlay().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.saturating_add(out.len() as u64) > self.overlay().len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(offset, out)?;
        let overlay = self.overlay();
        for (page, within, range) in Self::parts(offset, out.len()) {
            if let Some(kept) = overlay.pages.get(&page)
                && let Some(out) = out.get_mut(range)
            {
                for (out, byte) in out.iter_mut().zip(kept.iter().skip(within)) {
                    *out = *byte;
                }
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.overlay().len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut overlay = self.overlay();
        for (page, within, range) in Self::parts(offset, data.len()) {
            let kept = match overlay.pages.entry(page) {
                std::collections::btree_map::Entry::Occupied(kept) => kept.into_mut(),
                std::collections::btree_map::Entry::Vacant(free) => {
                    let mut kept = vec![0; PAGE as usize].into_boxed_slice();
                    self.read_file(page, &mut kept)?;
                    free.insert(kept)
                }
            };
            let data = data.get(range).unwrap_or_default();
            for (slot, byte) in kept.iter_mut().skip(within).zip(data) {
                *slot = *byte;
            }
        }
        Ok(())
    }
}
