//! What can go wrong with the spool, and what an MTA is told.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{QueueId, Reply};

/// Why the spool did not do what it was asked. Cheap to clone, since one failed group answers many callers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// Another process works on the same directory.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// A newer release wrote the spool. Nothing was changed.
    #[error("{} has format {found}, this release knows formats up to {known}", file.display())]
    TooNew {
        /// The segment.
        file: PathBuf,
        /// The format on disk.
        found: u32,
        /// The newest format that this release reads.
        known: u32,
    },
    /// The operating system or the disk failed; nothing was accepted, and the next call may do better.
    #[error("the disk failed: {0}")]
    Disk(Arc<str>),
    /// There is too little room on the disk, or the queue is as long as it may get.
    #[error("the queue takes no more: {0}")]
    Full(Arc<str>),
    /// A write or an fsync failed, now or earlier. Nothing is accepted until the process is restarted.
    /// Whether the message of the very call that failed is on disk is unknown.
    #[error("the queue takes no more since {0}")]
    Poisoned(Arc<str>),
    /// The disk does not keep up.
    #[error("too much already waits for the queue's disk")]
    Busy,
    /// An envelope is longer than the spool takes.
    #[error("the envelope has {len} bytes or recipients, more than {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The longest taken.
        max: usize,
    },
    /// What is on disk is not what was written there.
    #[error("damaged: {0}")]
    Damaged(Arc<str>),
    /// There is no such message.
    #[error("no message {0} is queued")]
    NotFound(QueueId),
    /// The spool was closed before the call could be carried out.
    #[error("the spool is closed")]
    Closed,
}

impl SpoolError {
    pub(super) fn disk(what: impl std::fmt::Display, error: &io::Error) -> Self {
        Self::Disk(format!("{what}: {error}").into())
    }

    /// A write that failed: for want of room, or for a worse reason.
    pub(super) fn writing(what: impl std::fmt::Display, error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full(error.to_string().into()),
            _ => Self::disk(what, error),
        }
    }

    /// What to tell whoever brought the message (RFC 3463 §3.4): always to come back.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Full(_) => Reply::own(452, [4, 3, 1], "Insufficient system storage"),
            Self::Busy => Reply::own(451, [4, 3, 2], "Too busy, try again later"),
            Self::TooLong { .. } => Reply::own(452, [4, 5, 3], "Too many recipients"),
            _ => Reply::own(451, [4, 3, 0], "The message could not be stored"),
        }
    }
}
