//! Deliveries that were accepted and could not be placed yet.
//!
//! [`Spool::enqueue`] makes a message durable; [`Spool::start`] works the queue off: a pure [`schedule`] says
//! what is tried when, [`Deliver`] is whoever can try. What can neither be delivered nor returned is kept
//! visibly.
//!
//! # On disk
//!
//! | in the directory | what |
//! |---|---|
//! | `lock` | locked (flock) by the process that has the spool open |
//! | `segments/NUMBER-SALT.seg` | the log: envelopes, short texts, what became of them |
//! | `texts/ID` | the text of a message of more than 1 MiB |
//! | `incoming/` | texts that come in and do not fit in memory; emptied at the start |
//! | `quarantine/` | damaged records, for a person; `torn-…` is what a power cut left, most likely never acknowledged |
//!
//! A segment of format 1 is a header of 32 bytes and records without gaps; all numbers are little-endian:
//!
//! | header | | frame of a record | |
//! |---|---|---|---|
//! | 0 | `RAVENRYQ` | 0 | `f5 52 51 01` |
//! | 8 | format, 4 bytes | 4 | kind: 1 message, 2 progress, 3 removed, 4 closed; three zeros |
//! | 12 | number, 4 | 8 | the message's number, 8 |
//! | 16 | salt, 8 | 16 | length of the meta part, 4 |
//! | 24 | zeros, 4 | 20 | length of the text, 4 |
//! | 28 | CRC-32, 4 | 24 | CRC-32 of the meta part, 4 |
//! | | | 28 | CRC-32 of salt, offset and the frame so far, 4 |
//!
//! Behind the frame lie the meta part and the text. The meta part of a message says where its text is, its
//! length and CRC-32, then the [`Progress`] and the [`Envelope`]; that of a progress record is a newer
//! [`Progress`]. The salt is random and not told to anybody: no text can be made to look like a record.
//!
//! # Invariants
//!
//! - `Ok` of [`Spool::enqueue`] comes after the fsync of everything the message needs: the file of a long text,
//!   its name, then the record. One thread writes; whoever waits meanwhile shares the next write and fsync.
//! - Records are never changed. Of two that speak of the same message the later one counts.
//! - Segments are removed in their order, each durably before the next. So a record that says what became of a
//!   message is always still there when the message's own record is. A message that outlives most of its
//!   segment is written again at the end, with its newest progress, before the segment goes.
//! - A sender is told (the report is queued, durably) before a record says that it was told.
//! - In memory are an index of some hundred bytes a message, and what is on its way to the disk (64 MiB).
//!
//! # Recovery
//!
//! Opening reads frames and meta parts of all segments in order, and all of the last one. A frame that is
//! wrong is searched for the next right one; everything between two right ones is copied to the quarantine
//! and reported. A damaged end of a segment that was not closed is called torn, copied too, and cut off. Texts
//! are verified when they are read; a message whose text is damaged goes to the quarantine as a whole. A
//! segment that the disk does not give is kept until it does.
//!
//! If the last segment was not closed, all it speaks of is written again into a new one: after a failed fsync the
//! page cache may show what the disk does not hold, and nobody can tell afterwards.
//!
//! # When the disk fails
//!
//! A full disk refuses the call, and what was half written is cut off. Any other failed write, and every failed
//! fsync, ends all acknowledging until a restart ([`SpoolError::Poisoned`]). What was queued is still delivered;
//! that it was is remembered in memory, and after a restart delivered once more: harmless, since it has a
//! Message-ID.
//!
//! # Why a log
//!
//! Measured with messages of 20 KB on an NVMe disk with two cores: a file for each message and an fsync each
//! takes 2,400 messages a second from one caller and 10,500 from sixteen; a log with one fsync for all who
//! wait takes 4,300 from one and 38,500 from sixteen.

mod attempt;
mod body;
mod deliver;
mod disk;
mod envelope;
mod error;
mod id;
mod index;
mod intake;
mod operator;
mod options;
mod progress;
mod quarantine;
mod read;
mod record;
mod recover;
mod replay;
mod report;
pub mod schedule;
mod shared;
mod stamp;
mod stats;
mod writer;

#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::list::MailboxName;
use attempt::Courier;
use record::MAX_INLINE;
use replay::{Event, Replay};
use schedule::LaneStatus;
use shared::Shared;
use writer::{Change, Changed, Request, Work, Writer};

pub use attempt::Ways;
pub use body::{Body, BodyWriter, Incoming, StoredBody};
pub use deliver::{Attempt, Deliver, Destination, Reply, Verdict};
pub use disk::{Disk, DiskFile, RealDisk, Room};
pub use envelope::{Address, AddressError, Envelope, Parameter, Protocol, Recipient};
pub use error::SpoolError;
pub use id::{NoQueueId, QueueId};
pub use options::Options;
pub use progress::{Fate, Progress};
pub use read::Message;
pub use report::Reporter;
pub use stamp::{Stamp, Trace};
pub use stats::Stats;

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

/// Calls that may wait for the disk.
const WAITING_CALLS: usize = 16_384;
/// Bytes that may wait for the disk, in units of [`UNIT`].
const WAITING_UNITS: usize = 64 << 10;
const UNIT: usize = 1 << 10;
/// Units of the smallest message: so few that what became of messages always finds a place among the calls.
const LEAST_UNITS: usize = 8;
const _: () = assert!(WAITING_UNITS / LEAST_UNITS + attempt::SETTLING < WAITING_CALLS);
/// How long a call waits for its turn.
const TURN: Duration = Duration::from_secs(10);

/// A handle to the spool; clones are the same spool. Dropping the last one waits for what is being written.
#[derive(Clone)]
pub struct Spool {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    incoming: Incoming,
    /// `None` only while the handle is dropped.
    queue: Option<SyncSender<Request>>,
    writer: Option<JoinHandle<()>>,
    turns: Arc<Semaphore>,
    /// To the task that works off the queue, once there is one.
    events: OnceLock<mpsc::UnboundedSender<Event>>,
    /// Keeps the directory ours.
    _lock: Option<File>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spool").finish_non_exhaustive()
    }
}

const DIRECTORIES: [&str; 4] = [Shared::SEGMENTS, Shared::TEXTS, Incoming::DIRECTORY, Shared::QUARANTINE];

impl Spool {
    /// Opens the spool in a directory; makes it if it does not exist. The directory's parent has to exist.
    /// Blocks while the segments are read.
    pub fn open(directory: &Path, options: Options) -> Result<Self, SpoolError> {
        let failed = |error: io::Error| SpoolError::disk(directory.display(), &error);
        let disk = RealDisk::make(directory, &DIRECTORIES).map_err(failed)?;
        let lock = File::options()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(directory.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Self::start_writer(Arc::new(disk), options, Some(lock)),
            Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(directory.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Opens a spool on any disk.
    pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Self, SpoolError> {
        Self::start_writer(disk, options, None)
    }

    fn start_writer(disk: Arc<dyn Disk>, options: Options, lock: Option<File>) -> Result<Self, SpoolError> {
        let found = recover::recover(&disk)?;
        let incoming = Incoming::new(disk.clone(), options.in_memory);
        let shared = Arc::new(Shared::new(disk, options, found.index, found.last_id));
        shared.quarantined.store(found.quarantined, Ordering::Relaxed);
        let mut writer = Writer::new(shared.clone(), found.next_number);
        writer.distrust(found.untrusted)?;
        let (queue, waiting) = sync_channel(WAITING_CALLS);
        let writer = std::thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| SpoolError::disk("starting the writer's thread", &error))?;
        let handle = Handle {
            shared,
            incoming,
            queue: Some(queue),
            writer: Some(writer),
            turns: Arc::new(Semaphore::new(WAITING_UNITS)),
            events: OnceLock::new(),
            _lock: lock,
        };
        Ok(Self { handle: Arc::new(handle) })
    }

    /// Where the text of a message is put while it comes in.
    pub fn incoming(&self) -> &Incoming {
        &self.handle.incoming
    }

    /// Whether a message of this length would be taken now: room on the disk, room in the queue, a disk that
    /// has not failed. To be asked before an MTA sends its text.
    pub fn admits(&self, len: u64) -> Result<(), SpoolError> {
        self.handle.shared.admits(len)
    }

    /// Makes a message durable, then answers: from then on it is ours to deliver or to return. The text has its
    /// Message-ID and Date ([`Stamp`]). Dropping the future does not take it back.
    pub async fn enqueue(&self, envelope: Envelope, body: Body) -> Result<QueueId, SpoolError> {
        self.handle.shared.admits(body.len())?;
        self.put(envelope, body).await
    }

    /// A text could not be kept while it came in: what [`Self::enqueue`] would have answered.
    pub fn lost(&self, text: &BodyWriter, error: &io::Error) -> SpoolError {
        let error = SpoolError::writing("keeping a text", error);
        self.handle.shared.note(Err(&error), text.len());
        error
    }

    /// As [`Self::enqueue`], into the room that is kept free for what makes room.
    async fn enqueue_report(&self, envelope: Envelope, body: Body) -> Result<QueueId, SpoolError> {
        self.put(envelope, body).await
    }

    async fn put(&self, envelope: Envelope, body: Body) -> Result<QueueId, SpoolError> {
        let shared = &self.handle.shared;
        let id = shared.next_id();
        let weight = usize::try_from(body.len().min(MAX_INLINE)).unwrap_or_default() / UNIT + LEAST_UNITS;
        let turn = self.handle.turns.clone().acquire_many_owned(u32::try_from(weight).unwrap_or(1));
        let turn = tokio::time::timeout(TURN, turn).await.map_err(|_| SpoolError::Busy)?;
        let turn = turn.map_err(|_| SpoolError::Closed)?;
        let mailboxes = envelope.recipients.iter().map(|recipient| recipient.mailbox.clone()).collect();
        let (protocol, len) = (envelope.protocol, body.len());
        let text = intake::text(shared.clone(), id, body).await;
        let (text, inline) = text.inspect_err(|error| shared.note(Err(error), len))?;
        let queued = intake::lay_out(id, envelope, text, inline)
            .and_then(|new| self.request(Work::Enqueue(Box::new(new))));
        // A task of its own: who stops waiting must not leave a message that nobody tries.
        let spool = self.clone();
        let done = tokio::spawn(async move {
            let done = match queued {
                Ok(waiting) => waiting.await,
                Err(error) => Err(error),
            };
            drop(turn);
            spool.handle.shared.note(done.as_ref().map(drop), len);
            match (&done, text) {
                (Ok(_), _) if protocol == Protocol::Report => spool.tell(Event::In(id)),
                (Ok(_), _) => spool.tell(Event::Queued(id, mailboxes)),
                // It was not accepted, whether or not its record is on disk.
                (Err(_), record::Text::File { .. }) => {
                    drop(spool.handle.shared.disk.remove(&read::text_path(id)))
                }
                (Err(_), record::Text::Inline { .. }) => {}
            }
            done
        });
        done.await.unwrap_or(Err(SpoolError::Closed)).map(|_| id)
    }

    fn tell(&self, event: Event) {
        if let Some(events) = self.handle.events.get() {
            let _ = events.send(event);
        }
    }

    /// For how long the writer has been at the same thing, which a disk that works is done with in no time.
    pub fn silence(&self) -> Duration {
        self.handle.shared.silence()
    }

    /// A message without its text. Blocks for a read.
    pub fn message(&self, id: QueueId) -> Result<Message, SpoolError> {
        self.handle.shared.message(id)
    }

    /// A message with its text, whose checksum has been verified. Blocks for reads.
    pub fn message_with_text(&self, id: QueueId) -> Result<(Message, StoredBody), SpoolError> {
        self.handle.shared.message_with_text(id)
    }

    /// The numbers of up to so many messages behind one, oldest first.
    pub fn ids_after(&self, id: Option<QueueId>, limit: usize) -> Vec<QueueId> {
        self.handle.shared.index().after(id).take(limit).map(|(id, _)| id).collect()
    }

    /// Asks the writer, and waits for its answer.
    async fn change(&self, id: QueueId, change: Change) -> Result<Changed, SpoolError> {
        self.request(Work::Change(id, change))?.await
    }

    fn request(
        &self,
        work: Work,
    ) -> Result<impl Future<Output = Result<Changed, SpoolError>> + Send + use<>, SpoolError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.handle.queue.as_ref().ok_or(SpoolError::Closed)?;
        queue.try_send(Request { work, reply }).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Busy,
            TrySendError::Disconnected(_) => SpoolError::Closed,
        })?;
        Ok(async move { answer.await.unwrap_or(Err(SpoolError::Closed)) })
    }

    /// Tries what waited for this: at once, or a little later what was woken so in vain too often.
    pub fn wake(&self, wake: Wake) {
        self.tell(Event::Wake(wake));
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.handle.shared.index().len() == 0
    }

    /// A new message for this mailbox was delivered past the queue: what waits for its backend may be tried.
    pub fn reached(&self, mailbox: &MailboxName) {
        self.tell(Event::Reached(mailbox.clone()));
    }

    /// Works off the queue from now on, on the current runtime, until the last handle is dropped. Only the
    /// first call counts.
    pub fn start(&self, ways: Ways) {
        let (sender, events) = mpsc::unbounded_channel();
        if self.handle.events.set(sender).is_err() {
            return;
        }
        let courier = Courier {
            ways,
            options: self.handle.shared.options.clone(),
            settling: Semaphore::new(attempt::SETTLING),
        };
        let replay = Replay::new(&self.handle, courier, events);
        tokio::spawn(replay.run(Arc::downgrade(&self.handle)));
    }

    /// What comes, and what is tried, from now on goes by what `change` makes of the options: limits, times, who reports.
    pub fn reconfigure(&self, change: impl FnOnce(Options) -> Options) {
        let options = change(Options::clone(&self.handle.shared.options.get()));
        let policy = options.policy;
        self.handle.shared.options.set(options);
        self.tell(Event::Policy(policy));
    }

    /// How things stand at each destination.
    pub async fn lanes(&self) -> Vec<LaneStatus> {
        let (reply, answer) = oneshot::channel();
        self.tell(Event::Lanes(reply));
        answer.await.unwrap_or_default()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
