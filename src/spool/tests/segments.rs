//! What holds of any bytes whatsoever in the place of the queue's only segment. Shared with the fuzz target
//! `spool_segment`: `spool` is this crate's module for the one and the library's for the other.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::spool::{Disk, DiskFile, Options, QueueId, Room, Spool, SpoolError};

const HEADER: usize = 32;
const FRAME: usize = 32;

/// A disk in memory that never fails.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<BTreeMap<PathBuf, Arc<File>>>>);

#[derive(Default)]
struct File(Mutex<Vec<u8>>);

impl Disk for Memory {
    fn create(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.0.lock().unwrap();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = Arc::<File>::default();
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.lock().unwrap().get(name).cloned();
        Ok(file.ok_or(io::ErrorKind::NotFound)?)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock().unwrap();
        let names = files.keys().filter(|name| name.parent() == Some(directory));
        Ok(names.filter_map(|name| Some(name.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        let removed = self.0.lock().unwrap().remove(name);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn room(&self) -> io::Result<Room> {
        Ok(Room { bytes: u64::MAX, inodes: u64::MAX })
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let part = from.checked_add(buffer.len()).and_then(|to| bytes.get(from..to));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        if bytes.len() < from + new.len() {
            bytes.resize(from + new.len(), 0);
        }
        bytes[from..from + new.len()].copy_from_slice(new);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
}

/// Checksums that are right: no fuzzer would find them.
fn with_right_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(header) = bytes.get_mut(..HEADER) {
        let crc = crc32fast::hash(&header[..HEADER - 4]).to_le_bytes();
        header[HEADER - 4..].copy_from_slice(&crc);
    }
    let salt = bytes.get(16..24).unwrap_or_default().to_vec();
    let mut at = HEADER;
    while let Some(frame) = bytes.get(at..at + FRAME) {
        let length = |from: usize| u32::from_le_bytes(frame[from..from + 4].try_into().unwrap()) as usize;
        let (meta_len, body_len) = (length(16), length(20));
        let meta_at = at + FRAME;
        let Some(meta) = bytes.get(meta_at..meta_at.saturating_add(meta_len)) else { break };
        let meta_crc = crc32fast::hash(meta).to_le_bytes();
        bytes[at + 24..at + 28].copy_from_slice(&meta_crc);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&salt);
        crc.update(&(at as u64).to_le_bytes());
        crc.update(&bytes[at..at + FRAME - 4]);
        bytes[at + FRAME - 4..at + FRAME].copy_from_slice(&crc.finalize().to_le_bytes());
        at = meta_at.saturating_add(meta_len).saturating_add(body_len);
    }
    bytes
}

fn segment_name(bytes: &[u8]) -> PathBuf {
    let number = bytes.get(12..16).map_or(0, |number| u32::from_le_bytes(number.try_into().unwrap()));
    let salt = bytes.get(16..24).map_or(0, |salt| u64::from_le_bytes(salt.try_into().unwrap()));
    // The next one is its successor.
    PathBuf::from(format!("segments/{:08x}-{salt:016x}.seg", number.min(u32::MAX - 16)))
}

/// What can be read of everything that is queued. Nothing else may go wrong than that a message is damaged.
fn readable(spool: &Spool) -> Vec<QueueId> {
    let all = spool.ids_after(None, usize::MAX).into_iter();
    all.filter(|id| match spool.message_with_text(*id) {
        Ok((message, text)) => {
            assert_eq!(message.len, text.len());
            assert_eq!(message.envelope.recipients.len(), message.progress.fates.len());
            true
        }
        Err(SpoolError::Damaged(_)) => false,
        Err(other) => panic!("{id}: {other}"),
    })
    .collect()
}

fn check_as_it_is(bytes: Vec<u8>) {
    let disk = Memory::default();
    disk.0.lock().unwrap().insert(segment_name(&bytes), Arc::new(File(Mutex::new(bytes.clone()))));
    let options = Options { min_free_bytes: 0, min_free_inodes: 0, ..Options::default() };
    let first = match Spool::open_on(Arc::new(disk.clone()), options.clone()) {
        Ok(spool) => readable(&spool),
        Err(SpoolError::TooNew { .. }) => return,
        Err(other) => panic!("it does not open: {other}"),
    };
    // What is found once is found again: neither lost nor made up by what was done about the damage.
    let again = readable(&Spool::open_on(Arc::new(disk), options).expect("it opened before"));
    assert_eq!(first, again);
}

/// Any bytes, as they are and with right checksums.
pub(super) fn check(bytes: &[u8]) {
    check_as_it_is(bytes.to_vec());
    check_as_it_is(with_right_checksums(bytes.to_vec()));
}
