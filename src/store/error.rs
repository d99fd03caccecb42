//! What can go wrong with the store, and who is at fault.

use std::path::PathBuf;
use std::sync::Arc;

use crate::packed::Malformed;

/// Why the store did not do what it was asked. Cheap to clone, since one failed group answers many callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process works on the same directory.
    #[error("{} is in use by {holder}", dir.display())]
    InUse {
        /// The directory asked for.
        dir: PathBuf,
        /// The holder as it named itself, such as `process 4711`.
        holder: String,
    },
    /// A newer release wrote the store. Nothing was changed.
    #[error(
        "the store has format {found}, this release knows formats up to {known}: a newer release wrote it"
    )]
    TooNew {
        /// The format on disk.
        found: u32,
        /// The newest format that this release reads.
        known: u32,
    },
    /// The operating system or the disk failed while the store was opened or read.
    #[error("the disk failed: {0}")]
    Disk(Arc<str>),
    /// What is on disk is not what was written there.
    #[error("the store is damaged: {0}")]
    Corrupt(Arc<str>),
    /// A commit failed, now or earlier. Nothing is written any more until the process is restarted; reads
    /// show what was acknowledged. Whether the changes of the very call that failed will be there after the
    /// restart is unknown: all of them or none.
    #[error("the store takes no more changes since {0}")]
    Poisoned(Arc<str>),
    /// Too many calls wait for the disk; nothing was changed.
    #[error("{0} calls already wait for the store's disk")]
    Busy(usize),
    /// A value is longer than the store takes; nothing was changed.
    #[error("{what} has {len} bytes, more than {max}")]
    TooLong {
        /// Which value.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The longest taken.
        max: usize,
    },
    /// A newer load, or a change of the list's order, took the place of this load.
    #[error("the load was superseded")]
    LoadSuperseded,
    /// The store was closed before the call could be carried out.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn corrupt(what: impl Into<Arc<str>>) -> Self {
        Self::Corrupt(what.into())
    }

    pub(super) fn disk(what: &str, error: &std::io::Error) -> Self {
        Self::Disk(format!("{what}: {error}").into())
    }
}

impl From<Malformed> for StoreError {
    fn from(error: Malformed) -> Self {
        Self::corrupt(error.to_string())
    }
}

impl From<redb::Error> for StoreError {
    fn from(error: redb::Error) -> Self {
        use redb::Error as E;
        match error {
            E::Io(error) => Self::Disk(error.to_string().into()),
            E::PreviousIo => Self::Disk("an earlier failure of the same disk".into()),
            E::Backend(error) => Self::Disk(error.to_string().into()),
            E::DatabaseAlreadyOpen => Self::Disk("the database file is locked by another process".into()),
            other => Self::Corrupt(other.to_string().into()),
        }
    }
}

macro_rules! through_redb_error {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                redb::Error::from(error).into()
            }
        }
    )*};
}

through_redb_error!(StorageError, TableError, TransactionError, CommitError, DatabaseError, CursorError);
