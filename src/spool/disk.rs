//! The disk as the spool sees it: little enough that tests can lose, tear, reorder and refuse what it is given.
//!
//! Names are relative to the spool's directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory with subdirectories that exist.
pub trait Disk: Send + Sync + 'static {
    /// Makes an empty file, which must not exist yet, for reading and writing.
    fn create(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file for reading and writing.
    fn open(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// The names of the files in a subdirectory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Takes a file away.
    fn remove(&self, name: &Path) -> io::Result<()>;
    /// Makes the names in a subdirectory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// What is free for us.
    fn room(&self) -> io::Result<Room>;
}

#[allow(clippy::len_without_is_empty, reason = "a file is not asked whether it is empty")]
/// One open file. Reads and writes may run beside each other.
pub trait DiskFile: Send + Sync + 'static {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Fills the buffer from an offset; an end before that is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes everything at an offset.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file off, or extends it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
}

/// What is free on a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes.
    pub bytes: u64,
    /// Inodes; `u64::MAX` where the file system does not count them.
    pub inodes: u64,
}

/// A directory of the file system.
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// Makes the directory and its subdirectories where they are missing. Its parent has to exist.
    pub fn make(root: &Path, subdirectories: &[&str]) -> io::Result<Self> {
        for directory in std::iter::once(root.to_owned()).chain(subdirectories.iter().map(|s| root.join(s))) {
            match DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        File::open(root)?.sync_all()?;
        if let Some(parent) = root.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { root: root.to_owned() })
    }

    fn file(&self, name: &Path, new: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(new).mode(0o600).open(self.root.join(name))?;
        Ok(Arc::new(file))
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(name, true)
    }

    fn open(&self, name: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file(name, false)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join(directory))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, name: &Path) -> io::Result<()> {
        std::fs::remove_file(self.root.join(name))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        File::open(self.root.join(directory))?.sync_all()
    }

    fn room(&self) -> io::Result<Room> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(Room {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: if found.f_files == 0 { u64::MAX } else { found.f_favail },
        })
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Self::set_len(self, len)
    }
}
