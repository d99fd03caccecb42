//! Walking over the whole list for UPDATE and LIST, and the threads that do it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{put_mailbox, put_reserve};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::authority::facts::Unreadable;
use crate::list::slave_drops;
use crate::store::{Cursor, Snapshot};

/// How much of the list is read and encoded at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// How far the threads that send whole lists stand behind the others, in the kernel's steps of `nice`.
const NICE: i32 = 10;

/// Threads that read and encode whole lists, and nothing else. They stand back where somebody waits for a write: ten
/// slaves that take a million mailboxes at once want every processor for seconds.
#[derive(Debug)]
pub(super) struct Bulk {
    handle: Handle,
    /// `None` only while this is dropped.
    runtime: Option<Runtime>,
}

impl Bulk {
    /// Starts them, on half of the processors: however many slaves come at once, the other half is for those who
    /// wait for a write.
    pub(super) fn start() -> std::io::Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads((processors / 2).max(1))
            .thread_name("bulk")
            .on_thread_start(|| {
                // On Linux this is about the calling thread. Without it, they are threads like others.
                if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                    tracing::debug!(%error, "a thread for whole lists keeps its priority");
                }
            })
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Walks over the list there, to its end or until nobody takes the parts any more.
    pub(super) fn walk(&self, dump: Dump, parts: mpsc::Sender<BytesMut>) -> Walk {
        self.handle.spawn(dump.walk(parts))
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A walk under way.
type Walk = JoinHandle<Result<Sent, Unreadable>>;

/// Which entries of the list are sent.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    /// Those whose `server!partition` begins like this.
    Prefix(Bytes),
    /// Those on these servers.
    Hosts(Arc<[Bytes]>),
}

impl Filter {
    pub(crate) fn passes(&self, location: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => location.starts_with(prefix),
            Self::Hosts(hosts) => {
                let server = location.split(|b| *b == b'!').next().unwrap_or_default();
                hosts.iter().any(|host| host == server)
            }
        }
    }
}

/// What a walk over the list is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// Every entry.
    Whole,
    /// Every entry that a slave's merge may drop (rule 3).
    InDanger,
}

type Drops = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// A walk over the whole list, part by part.
pub(crate) struct Dump {
    snapshot: Snapshot,
    cursor: Cursor,
    tag: Bytes,
    filter: Option<Filter>,
    part: Part,
    drops: Drops,
    sent: Sent,
}

/// What a walk has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sent {
    /// How many entries were encoded.
    pub(crate) entries: u64,
    /// How many entries there are that a slave's merge may drop.
    pub(crate) in_danger: u64,
}

impl Dump {
    pub(crate) fn new(snapshot: Snapshot, tag: Bytes, filter: Option<Filter>, part: Part) -> Self {
        let drops = Box::new(slave_drops());
        Self { snapshot, cursor: Cursor::default(), tag, filter, part, drops, sent: Sent::default() }
    }

    async fn walk(mut self, parts: mpsc::Sender<BytesMut>) -> Result<Sent, Unreadable> {
        loop {
            let mut lines = BytesMut::with_capacity(CHUNK_BYTES * 3 / 2);
            let more = self.chunk(&mut lines)?;
            if parts.send(lines).await.is_err() || !more {
                return Ok(self.sent);
            }
        }
    }

    /// What was encoded so far.
    #[cfg(test)]
    pub(crate) fn sent(&self) -> Sent {
        self.sent
    }

    /// Reads and encodes the next part; tells whether more may follow. Reads the disk.
    pub(crate) fn chunk(&mut self, lines: &mut BytesMut) -> Result<bool, Unreadable> {
        let Self { snapshot, cursor, tag, filter, part, drops, sent } = self;
        let more = snapshot.read_chunk_with_forgotten(cursor, CHUNK_BYTES, &mut |name, entry| {
            let endangered = drops(name);
            let Some(entry) = entry else { return };
            sent.in_danger += u64::from(endangered);
            let wanted = *part == Part::Whole || endangered;
            if wanted && filter.as_ref().is_none_or(|filter| filter.passes(entry.location)) {
                sent.entries += 1;
                match entry.acl {
                    Some(acl) => put_mailbox(lines, tag, name, entry.location, acl),
                    None => put_reserve(lines, tag, name, entry.location),
                }
            }
        })?;
        Ok(more)
    }
}
