//! Message texts: while they come in, and when they are read back.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::disk::{Disk, DiskFile};

/// How much of a text is read at once.
const CHUNK: u64 = 64 << 10;

/// Where texts lie that are too long for memory, until it is known whether they are to be kept. Never synced;
/// emptied when a spool is opened.
#[derive(Clone)]
pub struct Incoming {
    disk: Arc<dyn Disk>,
    in_memory: usize,
    next: Arc<AtomicU64>,
}

impl Incoming {
    pub(super) const DIRECTORY: &str = "incoming";

    pub(super) fn new(disk: Arc<dyn Disk>, in_memory: usize) -> Self {
        Self { disk, in_memory, next: Arc::default() }
    }

    /// A text that begins to come in.
    pub fn begin(&self) -> BodyWriter {
        BodyWriter { incoming: self.clone(), memory: BytesMut::new(), spilt: None, len: 0 }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").finish_non_exhaustive()
    }
}

/// A text coming in: kept in memory up to a bound, then in a file that goes when this is dropped.
///
/// Writing blocks no longer than the page cache does; nothing is synced.
#[derive(Debug)]
pub struct BodyWriter {
    incoming: Incoming,
    memory: BytesMut,
    spilt: Option<Spilt>,
    len: u64,
}

impl BodyWriter {
    /// Takes more of the text.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.spilt.is_none() && self.memory.len() + bytes.len() > self.incoming.in_memory {
            let number = self.incoming.next.fetch_add(1, Ordering::Relaxed);
            let path = Path::new(Incoming::DIRECTORY).join(format!("{number:016x}"));
            let file = self.incoming.disk.create(&path)?;
            let spilt = Spilt { disk: self.incoming.disk.clone(), file, path: Some(path) };
            spilt.file.write_all_at(&self.memory, 0)?;
            self.memory = BytesMut::new();
            self.spilt = Some(spilt);
        }
        match &self.spilt {
            Some(spilt) => spilt.file.write_all_at(bytes, self.len)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Bytes taken so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was taken yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole text.
    pub fn finish(self) -> Body {
        Body(match self.spilt {
            None => Kind::Memory(self.memory.freeze()),
            Some(spilt) => Kind::Spilt(spilt, self.len),
        })
    }
}

/// A file in `incoming`, which goes when this is dropped.
pub(super) struct Spilt {
    disk: Arc<dyn Disk>,
    pub(super) file: Arc<dyn DiskFile>,
    path: Option<PathBuf>,
}

impl Spilt {
    /// Gives the file another name, under which it stays.
    pub(super) fn keep(mut self, name: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            self.disk.rename(path, name)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Spilt {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What stays behind is removed when the spool is opened next.
            let _ = self.disk.remove(&path);
        }
    }
}

impl fmt::Debug for Spilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Spilt").field(&self.path).finish()
    }
}

/// A complete text, not yet durable. Its lines end in CRLF; it is not dot-stuffed.
#[derive(Debug)]
pub struct Body(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Memory(Bytes),
    Spilt(Spilt, u64),
}

impl Body {
    /// A text in memory.
    pub fn in_memory(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Memory(bytes.into()))
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Memory(bytes) => bytes.len() as u64,
            Kind::Spilt(_, len) => *len,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text from its beginning, to be read as often as one likes before it is queued.
    pub fn reader(&self) -> StoredBody {
        match &self.0 {
            Kind::Memory(bytes) => StoredBody::in_memory(bytes.clone()),
            Kind::Spilt(spilt, len) => StoredBody::in_file(spilt.file.clone(), *len),
        }
    }
}

/// A text that is read, from its beginning to its end. Clones begin anew where the original stands.
#[derive(Clone)]
pub struct StoredBody {
    source: Source,
    len: u64,
    at: u64,
}

#[derive(Clone)]
enum Source {
    Memory(Bytes),
    File(Arc<dyn DiskFile>),
}

impl StoredBody {
    pub(super) fn in_memory(bytes: Bytes) -> Self {
        Self { len: bytes.len() as u64, source: Source::Memory(bytes), at: 0 }
    }

    pub(super) fn in_file(file: Arc<dyn DiskFile>, len: u64) -> Self {
        Self { source: Source::File(file), len, at: 0 }
    }

    /// The whole text's length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The next part, at most 64 KiB of a file; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let file = match &self.source {
            Source::Memory(_) => return self.next_blocking(),
            Source::File(file) => file.clone(),
        };
        let mut reader = Self { source: Source::File(file), ..*self };
        let (at, part) = tokio::task::spawn_blocking(move || {
            let part = reader.next_blocking();
            (reader.at, part)
        })
        .await
        .map_err(io::Error::other)?;
        self.at = at;
        part
    }

    /// As [`Self::next`], for threads that may wait for the disk.
    pub fn next_blocking(&mut self) -> io::Result<Option<Bytes>> {
        if self.at >= self.len {
            return Ok(None);
        }
        let part = match &self.source {
            Source::Memory(bytes) => {
                bytes.slice(usize::try_from(self.at).unwrap_or(bytes.len()).min(bytes.len())..)
            }
            Source::File(file) => {
                let wanted = usize::try_from((self.len - self.at).min(CHUNK)).map_err(io::Error::other)?;
                let mut part = vec![0; wanted];
                file.read_exact_at(&mut part, self.at)?;
                part.into()
            }
        };
        self.at += part.len() as u64;
        Ok(Some(part))
    }
}

impl fmt::Debug for StoredBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredBody").field("len", &self.len).finish_non_exhaustive()
    }
}
