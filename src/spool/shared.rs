//! What the writer and all who read share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::disk::{Disk, Room};
use super::index::Index;
use super::progress::Progress;
use super::{Options, QueueId, SpoolError};
use crate::net::live::Live;

/// How long a look at the disk's free room is believed.
const ROOM_AGE: Duration = Duration::from_millis(250);
/// So much more has to be free before a full disk no longer counts as full.
const MORE_ROOM: u64 = 1 << 20;

pub(super) struct Shared {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: Live<Options>,
    index: Mutex<Index>,
    /// Changes that the disk did not take: what readers see, and what is written when it takes more. `None`:
    /// the message is forgotten.
    unwritten: Mutex<BTreeMap<QueueId, Option<Progress>>>,
    poisoned: OnceLock<Arc<str>>,
    room: Mutex<Option<(Instant, Room)>>,
    refusal: Mutex<Option<Refusal>>,
    last_id: AtomicU64,
    /// Since when the writer has been at the same group; `None` while it waits for work.
    at_work: Mutex<Option<Instant>>,
    /// Damaged records that are kept in the quarantine.
    pub(super) quarantined: AtomicU64,
}

/// A message that the disk did not take.
struct Refusal {
    why: Arc<str>,
    /// With so much free, another one is worth a try.
    enough: u64,
}

impl Shared {
    pub(super) const SEGMENTS: &str = "segments";
    pub(super) const TEXTS: &str = "texts";
    pub(super) const QUARANTINE: &str = "quarantine";

    pub(super) fn new(disk: Arc<dyn Disk>, options: Options, index: Index, last_id: u64) -> Self {
        Self {
            disk,
            options: Live::new(options),
            index: Mutex::new(index),
            unwritten: Mutex::default(),
            poisoned: OnceLock::new(),
            room: Mutex::new(None),
            refusal: Mutex::new(None),
            last_id: AtomicU64::new(last_id),
            at_work: Mutex::new(None),
            quarantined: AtomicU64::new(0),
        }
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all_unwritten(&self) -> MutexGuard<'_, BTreeMap<QueueId, Option<Progress>>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn unwritten(&self, id: QueueId) -> Option<Progress> {
        self.all_unwritten().get(&id).cloned().flatten()
    }

    /// A number for a new message: the time in microseconds, or one more than the last.
    pub(super) fn next_id(&self) -> QueueId {
        let now = (self.options.get().now_unix_ms)().saturating_mul(1000);
        let next = |last: u64| last.saturating_add(1).max(now);
        let last = self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        QueueId(next(last.unwrap_or_else(|last| last)))
    }

    pub(super) fn poisoned(&self) -> Option<&Arc<str>> {
        self.poisoned.get()
    }

    /// The writer begins with a group, or has come a step further, or (`false`) waits for work.
    pub(super) fn at_work(&self, working: bool) {
        *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) = working.then(Instant::now);
    }

    /// For how long the writer has been at the same thing.
    pub(super) fn silence(&self) -> Duration {
        let since = *self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Nothing is accepted from now on.
    pub(super) fn poison(&self, cause: &str) -> SpoolError {
        let cause = self.poisoned.get_or_init(|| {
            tracing::error!(cause, "the queue's disk failed: no delivery is accepted until a restart");
            cause.into()
        });
        SpoolError::Poisoned(cause.clone())
    }

    /// What is free on the disk, as of a moment ago.
    pub(super) fn room(&self) -> Result<Room, SpoolError> {
        let mut known = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        match *known {
            Some((at, room)) if at.elapsed() < ROOM_AGE => Ok(room),
            _ => {
                let room = self.disk.room().map_err(|e| SpoolError::disk("looking for free space", &e))?;
                *known = Some((Instant::now(), room));
                Ok(room)
            }
        }
    }

    /// Notes that the disk did not take a message of this length, or took one.
    pub(super) fn note(&self, taken: Result<(), &SpoolError>, len: u64) {
        let refusal = match taken {
            Ok(()) => None,
            Err(SpoolError::Full(why)) => {
                let free = self.disk.room().map_or(0, |room| room.bytes);
                // What there is of the text is taken away yet.
                let enough = free.saturating_add(len).saturating_add(len).saturating_add(MORE_ROOM);
                Some(Refusal { why: why.clone(), enough })
            }
            Err(SpoolError::Disk(why)) => Some(Refusal { why: why.clone(), enough: u64::MAX }),
            Err(_) => return,
        };
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Why the disk did not take the last message, if that would not have changed since.
    pub(super) fn refused(&self) -> Option<Arc<str>> {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        let refusal = refusal.as_ref()?;
        let enough = self.room().is_ok_and(|room| room.bytes >= refusal.enough);
        (!enough).then(|| refusal.why.clone())
    }

    /// Whether a text of this length would be taken.
    pub(super) fn admits(&self, len: u64) -> Result<(), SpoolError> {
        if let Some(cause) = self.poisoned() {
            return Err(SpoolError::Poisoned(cause.clone()));
        }
        let (options, room) = (self.options.get(), self.room()?);
        let full = |why: String| Err(SpoolError::Full(why.into()));
        if room.bytes < options.min_free_bytes.saturating_add(len) {
            return full(format!("{} bytes are free on its disk", room.bytes));
        }
        if room.inodes < options.min_free_inodes {
            return full(format!("{} inodes are free on its disk", room.inodes));
        }
        let index = self.index();
        if index.len() as u64 >= options.max_messages {
            return full(format!("{} messages are queued", index.len()));
        }
        if index.text_bytes.saturating_add(len) > options.max_bytes {
            return full(format!("{} bytes are queued", index.text_bytes));
        }
        Ok(())
    }
}
