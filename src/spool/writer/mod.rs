//! The one thread that writes: it takes whatever waits, writes it at once, syncs once, and answers everybody.
//!
//! | file | what |
//! |---|---|
//! | `batch` | a group of records on its way to the disk |
//! | `reclaim` | giving space back, and writing messages again |

mod batch;
mod reclaim;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::disk::DiskFile;
use super::index::{Segment, Slot};
use super::progress::{Fate, Progress};
use super::quarantine;
use super::read::text_path;
use super::record::{HEADER, Kind, SegmentId};
use super::shared::Shared;
use super::{QueueId, SpoolError};
use crate::failpoint;
use crate::telemetry::metric::Metric;
use batch::Batch;

/// How much is written at once, in bytes, if it waits.
const GROUP: usize = 8 << 20;
/// How much is moved out of an old segment beside each group.
const MOVED: usize = 1 << 20;
/// How long changes that nobody waits for may wait for company.
const LINGER: Duration = Duration::from_millis(5);
/// After so long without work an empty queue gives its segment up.
const IDLE: Duration = Duration::from_millis(500);

/// A message to be queued, laid out by whoever brought it.
pub(super) struct New {
    pub(super) id: QueueId,
    pub(super) meta: Vec<u8>,
    /// Empty if it has a file of its own.
    pub(super) inline: Bytes,
    pub(super) slot: Slot,
}

/// A change of a queued message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// What an attempt, or its end, made of some recipients.
    Fates { fates: Vec<(usize, Fate)>, attempt_unix_ms: Option<u64> },
    /// An operator's.
    Hold,
    /// An operator's; what could not be returned is tried again.
    Release,
    /// An operator's.
    Delete,
    /// It cannot be read: kept aside for a person.
    Damaged(Arc<str>),
}

pub(super) enum Work {
    Enqueue(Box<New>),
    Change(QueueId, Change),
}

impl Work {
    fn weight(&self) -> usize {
        match self {
            Self::Enqueue(new) => new.meta.len() + new.inline.len() + 64,
            Self::Change(..) => 256,
        }
    }
}

/// What became of a change: how far the message has come, or nothing if it is forgotten.
pub(super) type Changed = Option<Progress>;

pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<Changed, SpoolError>>,
}

struct Active {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    len: u64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    active: Option<Active>,
    next_number: u32,
    /// The segment that is being emptied, and what is still to be moved out of it.
    moving: Option<(u32, VecDeque<QueueId>)>,
    /// What the last run may not have brought to the disk, where there was no room yet to write it again.
    untrusted: Vec<QueueId>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, next_number: u32) -> Self {
        Self { shared, active: None, next_number, moving: None, untrusted: Vec::new() }
    }

    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        loop {
            let first = match queue.recv_timeout(IDLE) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.shared.at_work(true);
                    self.idle();
                    self.shared.at_work(false);
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let (mut weight, until) = (first.work.weight(), Instant::now() + LINGER);
            let mut waited_for = !matches!(first.work, Work::Change(..));
            let mut group = vec![first];
            while weight < GROUP {
                let next = match queue.try_recv() {
                    Ok(next) => next,
                    Err(_) if waited_for => break,
                    Err(_) => match queue.recv_timeout(until.saturating_duration_since(Instant::now())) {
                        Ok(next) => next,
                        Err(_) => break,
                    },
                };
                weight += next.work.weight();
                waited_for |= !matches!(next.work, Work::Change(..));
                group.push(next);
            }
            self.shared.at_work(true);
            self.commit(group);
            self.shared.at_work(true);
            self.reclaim();
            self.shared.at_work(false);
        }
        self.close();
        self.reclaim();
    }

    /// Writes a group, or says why not; everybody is answered.
    fn commit(&mut self, group: Vec<Request>) {
        let mut batch = Batch::default();
        let mut answers = Vec::with_capacity(group.len());
        let ready = self.trust().and_then(|()| self.ready());
        if let Ok(active) = &ready {
            self.take_up_unwritten(*active, &mut batch);
        }
        let mut left = Vec::new();
        for Request { work, reply } in group {
            let answer = match (&ready, work) {
                (Err(error), Work::Enqueue(_)) => Err(error.clone()),
                (Ok(active), Work::Enqueue(new)) => {
                    self.put(*active, &mut batch, *new);
                    Ok(None)
                }
                (_, Work::Change(id, change)) => self.change(ready.as_ref().ok(), &mut batch, id, change),
            };
            left.push(reply);
            answers.push(answer);
        }
        let written = match ready {
            Ok(_) => self.write(batch),
            Err(error) => self.only_remember(batch, error),
        };
        for (reply, answer) in left.into_iter().zip(answers) {
            // The caller may have stopped waiting; it is done all the same.
            let _ = reply.send(match (&written, answer) {
                (Err(error), Ok(_)) => Err(error.clone()),
                (_, answer) => answer,
            });
        }
    }

    /// A segment that can be written to: its name, and where its end is.
    fn ready(&mut self) -> Result<(SegmentId, u64), SpoolError> {
        if let Some(cause) = self.shared.poisoned() {
            return Err(SpoolError::Poisoned(cause.clone()));
        }
        let segment_bytes = self.shared.options.get().segment_bytes;
        if self.active.as_ref().is_some_and(|active| active.len >= segment_bytes) {
            self.close();
        }
        if let Some(active) = &self.active {
            return Ok((active.id, active.len));
        }
        let salt = crate::net::random::bytes().map_err(|e| SpoolError::Disk(e.to_string().into()))?;
        let id = SegmentId { number: self.next_number, salt: u64::from_le_bytes(salt) };
        let name = Path::new(Shared::SEGMENTS).join(id.file_name());
        let disk = &self.shared.disk;
        let failed = |error: std::io::Error| SpoolError::writing("beginning a segment of the queue", &error);
        let file = disk.create(&name).map_err(failed)?;
        // A failure here harms nothing: no record is in it yet, and another try makes another file.
        self.next_number += 1;
        failpoint::reached("spool.segment.created");
        if let Err(error) = file.write_all_at(&id.header(), 0) {
            let _ = disk.remove(&name);
            return Err(failed(error));
        }
        let synced = file.sync().and_then(|()| disk.sync_directory(Path::new(Shared::SEGMENTS)));
        if let Err(error) = synced {
            return Err(self.shared.poison(&format!("an fsync of a new segment failed: {error}")));
        }
        failpoint::reached("spool.segment.begun");
        self.shared
            .index()
            .segments
            .insert(id.number, Segment { id, file: file.clone(), len: HEADER, live: 0, unreadable: false });
        self.active = Some(Active { id, file, len: HEADER });
        Ok((id, HEADER))
    }

    fn put(&self, active: (SegmentId, u64), batch: &mut Batch, new: New) {
        let mut slot = new.slot;
        slot.message = batch.record(active, Kind::Message, new.id, &new.meta, &new.inline);
        batch.effects.insert(new.id, Some(slot));
    }

    /// Changes that an earlier group could not write go first.
    fn take_up_unwritten(&self, active: (SegmentId, u64), batch: &mut Batch) {
        let unwritten = self.shared.all_unwritten().clone();
        for (id, progress) in unwritten {
            match progress {
                None => {
                    batch.record(active, Kind::Removed, id, &[], &[]);
                }
                Some(progress) => {
                    if let Some(slot) = self.slot(batch, id) {
                        batch.progressed(Some(&active), id, slot, progress);
                    }
                }
            }
        }
    }

    /// The message as this group leaves it.
    fn slot(&self, batch: &Batch, id: QueueId) -> Option<Slot> {
        match batch.effects.get(&id) {
            Some(slot) => *slot,
            None => self.shared.index().get(id).copied(),
        }
    }

    fn change(
        &self,
        active: Option<&(SegmentId, u64)>,
        batch: &mut Batch,
        id: QueueId,
        change: Change,
    ) -> Result<Changed, SpoolError> {
        let slot = self.slot(batch, id).ok_or(SpoolError::NotFound(id))?;
        let over = match &change {
            Change::Delete => true,
            Change::Damaged(why) => {
                quarantine::message(&self.shared, id, &slot, why)?;
                true
            }
            // Nobody else is left: no need to read what is about to be forgotten.
            Change::Fates { fates, .. } => {
                slot.failed == 0
                    && slot.waiting as usize == fates.len()
                    && fates.iter().all(|(_, fate)| !fate.is_open())
            }
            Change::Hold | Change::Release => false,
        };
        if !over {
            let mut progress = match batch.progress.get(&id) {
                Some(progress) => progress.clone(),
                None => self.shared.progress(id)?,
            };
            apply(&mut progress, change);
            if !progress.is_over() {
                batch.progressed(active, id, slot, progress.clone());
                return Ok(Some(progress));
            }
        }
        if let Some(active) = active {
            batch.record(*active, Kind::Removed, id, &[], &[]);
        }
        batch.effects.insert(id, None);
        if slot.in_file {
            batch.dead_texts.push(text_path(id));
        }
        Ok(None)
    }

    /// Makes a group durable; then, and only then, it is so.
    fn write(&mut self, batch: Batch) -> Result<(), SpoolError> {
        let Some(active) = &mut self.active else { return Err(SpoolError::Closed) };
        if !batch.bytes.is_empty() {
            failpoint::reached("spool.group.before-write");
            if let Err(error) = active.file.write_all_at(&batch.bytes, active.len) {
                return Err(self.refused(batch, error));
            }
            failpoint::reached("spool.group.before-sync");
            let began = Instant::now();
            if let Err(error) = active.file.sync() {
                let error = self.shared.poison(&format!("an fsync of the queue failed: {error}"));
                return self.only_remember(batch, error);
            }
            Metric::QueueFsyncDuration.observe(began.elapsed());
            failpoint::reached("spool.group.after-sync");
            active.len += batch.bytes.len() as u64;
        }
        let (number, len) = (active.id.number, active.len);
        self.shared.all_unwritten().clear();
        {
            let mut index = self.shared.index();
            for (id, slot) in batch.effects {
                index.set(id, slot);
            }
            if let Some(segment) = index.segments.get_mut(&number) {
                segment.len = len;
            }
        }
        for path in batch.dead_texts {
            if let Err(error) = self.shared.disk.remove(&path) {
                tracing::warn!(%error, path = %path.display(), "a text that is no longer needed stays");
            }
        }
        Ok(())
    }

    /// The disk did not take a group. A full disk is survived: what was written is cut off again.
    fn refused(&mut self, batch: Batch, error: std::io::Error) -> SpoolError {
        let Some(active) = &self.active else { return SpoolError::Closed };
        let full = SpoolError::writing("writing the queue", &error);
        let cut = active.file.set_len(active.len);
        let error = match (full, cut) {
            (full @ SpoolError::Full(_), Ok(())) => full,
            (other, _) => self.shared.poison(&format!("a write to the queue failed: {other}")),
        };
        match self.only_remember(batch, error) {
            Err(error) => error,
            Ok(()) => SpoolError::Closed,
        }
    }

    /// What happened is true although the disk does not take it: a message delivered is not delivered again
    /// while the process lives. New messages are refused.
    fn only_remember(&self, batch: Batch, error: SpoolError) -> Result<(), SpoolError> {
        let mut index = self.shared.index();
        let mut unwritten = self.shared.all_unwritten();
        for (id, slot) in batch.effects {
            match (slot, index.get(id).copied()) {
                (None, Some(_)) => {
                    index.set(id, None);
                    unwritten.insert(id, None);
                }
                (Some(_), Some(mut known)) => {
                    if let Some(progress) = batch.progress.get(&id) {
                        known.note(progress);
                        index.set(id, Some(known));
                        unwritten.insert(id, Some(progress.clone()));
                    }
                }
                (_, None) => {}
            }
        }
        Err(error)
    }

    fn idle(&mut self) {
        let (empty, len) =
            (self.shared.index().len() == 0, self.active.as_ref().map_or(0, |active| active.len));
        if empty && len > HEADER {
            self.close();
        }
        self.reclaim();
        if !self.shared.all_unwritten().is_empty() {
            self.commit(Vec::new());
        }
    }

    /// Marks the end of the segment; what follows would be damage.
    fn close(&mut self) {
        let Some(active) = self.active.take() else { return };
        if self.shared.poisoned().is_some() {
            return;
        }
        let mut batch = Batch::default();
        batch.record((active.id, active.len), Kind::Closed, QueueId(0), &[], &[]);
        let closed = active.file.write_all_at(&batch.bytes, active.len).and_then(|()| active.file.sync());
        match closed {
            Ok(()) => {
                if let Some(segment) = self.shared.index().segments.get_mut(&active.id.number) {
                    segment.len = active.len + batch.bytes.len() as u64;
                }
            }
            // It has nothing that was not synced before, and is looked at more closely at the next start.
            Err(error) => tracing::warn!(%error, "a segment of the queue could not be closed"),
        }
    }
}

fn apply(progress: &mut Progress, change: Change) {
    match change {
        Change::Fates { fates, attempt_unix_ms } => {
            for (at, fate) in fates {
                if let Some(known) = progress.fates.get_mut(at) {
                    *known = fate;
                }
            }
            if let Some(at) = attempt_unix_ms {
                progress.attempts = progress.attempts.saturating_add(1);
                progress.last_attempt_unix_ms = at;
            }
        }
        Change::Hold => progress.held = true,
        Change::Release => {
            progress.held = false;
            for fate in &mut progress.fates {
                if let Fate::Failed(reply) = fate {
                    *fate = Fate::Waiting(Some(reply.clone()));
                }
            }
        }
        Change::Delete | Change::Damaged(_) => {}
    }
}
