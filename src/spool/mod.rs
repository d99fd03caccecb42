//! Deliveries that were accepted and could not be placed yet.

mod body;
mod deliver;
mod disk;
mod envelope;
mod error;
mod id;
mod stamp;

use std::path::Path;
use std::sync::Arc;

use crate::list::MailboxName;

pub use body::{Body, BodyWriter, Incoming, StoredBody};
pub use deliver::{Attempt, Deliver, Destination, Reply, Verdict};
pub use disk::{Disk, DiskFile, RealDisk, Room};
pub use envelope::{Address, AddressError, Envelope, Parameter, Protocol, Recipient};
pub use error::SpoolError;
pub use id::{NoQueueId, QueueId};
pub use stamp::{Stamp, Trace};

/// Which server holds a mailbox, from the list; `None` where the list does not know.
pub type Route = Arc<dyn Fn(&MailboxName) -> Option<Arc<str>> + Send + Sync>;

/// What changed, so that something may be tried at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wake {
    /// The master or a frontend is back: everything.
    All,
    /// A backend is back.
    Destination(Arc<str>),
    /// The list changed for this name.
    Mailbox(MailboxName),
}

/// How a spool works.
#[derive(Clone, Debug)]
pub struct Options {
    /// A text up to this length is kept in memory while it comes in, in bytes.
    pub in_memory: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { in_memory: 64 << 10 }
    }
}

/// A handle to the spool; clones are the same spool.
#[derive(Clone, Debug)]
pub struct Spool {
    incoming: Incoming,
}

impl Spool {
    /// Opens the spool in a directory; makes it if it does not exist. The directory's parent has to exist.
    pub fn open(directory: &Path, options: Options) -> Result<Self, SpoolError> {
        let disk = RealDisk::make(directory, &[Incoming::DIRECTORY])
            .map_err(|error| SpoolError::disk(directory.display(), &error))?;
        Ok(Self { incoming: Incoming::new(Arc::new(disk), options.in_memory) })
    }

    /// Where the text of a message is put while it comes in.
    pub fn incoming(&self) -> &Incoming {
        &self.incoming
    }

    /// Whether a message of this length would be taken now: room on the disk, room in the queue, a disk that
    /// has not failed. To be asked before an MTA sends its text.
    pub fn admits(&self, _len: u64) -> Result<(), SpoolError> {
        Err(SpoolError::Closed)
    }

    /// Makes a message durable, then answers: from then on it is ours to deliver or to return. The text has its
    /// Message-ID and Date. Dropping the future does not take it back.
    pub async fn enqueue(&self, _envelope: Envelope, _body: Body) -> Result<QueueId, SpoolError> {
        Err(SpoolError::Closed)
    }

    /// Tries at once what waited for this.
    pub fn wake(&self, _wake: Wake) {}

    /// Works off the queue from now on, on the current runtime, until the last handle is dropped.
    pub fn start(&self, _deliver: Arc<dyn Deliver>, _route: Route) {}
}
