//! Which messages are queued, and where they lie. This is all that is kept in memory of them: some hundred
//! bytes each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::QueueId;
use super::disk::DiskFile;
use super::progress::Progress;
use super::record::{FRAME, SegmentId};

/// A record's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) meta_len: u32,
}

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Its record.
    pub(super) message: Place,
    /// The newest record of its progress, if there is one behind the message's.
    pub(super) progress: Option<Place>,
    /// The text's length.
    pub(super) text_len: u64,
    pub(super) arrival_unix_ms: u64,
    /// Recipients to be tried.
    pub(super) waiting: u32,
    /// Recipients that a person has to decide about.
    pub(super) failed: u32,
    /// The text has a file of its own.
    pub(super) in_file: bool,
    /// By an operator.
    pub(super) held: bool,
}

impl Slot {
    /// What its records take up in segments.
    fn record_bytes(&self) -> u64 {
        let inline = if self.in_file { 0 } else { self.text_len };
        let progress = self.progress.map_or(0, |place| FRAME as u64 + u64::from(place.meta_len));
        FRAME as u64 + u64::from(self.message.meta_len) + inline + progress
    }

    pub(super) fn note(&mut self, progress: &Progress) {
        self.waiting = u32::try_from(progress.waiting()).unwrap_or(u32::MAX);
        self.failed = u32::try_from(progress.failed()).unwrap_or(u32::MAX);
        self.held = progress.held;
    }
}

/// A segment that is on disk.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    /// Queued messages whose record is in it.
    pub(super) live: u32,
    /// The disk did not give all of it: it is kept, since it may do so later.
    pub(super) unreadable: bool,
}

/// All messages and segments. Every change goes through here, so the sums are always right.
#[derive(Default)]
pub(super) struct Index {
    slots: BTreeMap<QueueId, Slot>,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// Bytes of texts.
    pub(super) text_bytes: u64,
    /// Bytes of records that are not dead.
    pub(super) live_bytes: u64,
    pub(super) held: u64,
    /// Messages with failed recipients.
    pub(super) failed: u64,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, id: QueueId) -> Option<&Slot> {
        self.slots.get(&id)
    }

    /// Puts or replaces a message; `None` takes it away. Returns what was there.
    pub(super) fn set(&mut self, id: QueueId, slot: Option<Slot>) -> Option<Slot> {
        let before = match slot {
            Some(slot) => self.slots.insert(id, slot),
            None => self.slots.remove(&id),
        };
        if let Some(old) = &before {
            self.text_bytes = self.text_bytes.saturating_sub(old.text_len);
            self.live_bytes = self.live_bytes.saturating_sub(old.record_bytes());
            self.held -= u64::from(old.held);
            self.failed -= u64::from(old.failed > 0);
            if let Some(segment) = self.segments.get_mut(&old.message.segment) {
                segment.live = segment.live.saturating_sub(1);
            }
        }
        if let Some(new) = &slot {
            self.text_bytes += new.text_len;
            self.live_bytes += new.record_bytes();
            self.held += u64::from(new.held);
            self.failed += u64::from(new.failed > 0);
            if let Some(segment) = self.segments.get_mut(&new.message.segment) {
                segment.live += 1;
            }
        }
        before
    }

    /// The oldest message.
    pub(super) fn oldest(&self) -> Option<(QueueId, &Slot)> {
        self.slots.first_key_value().map(|(id, slot)| (*id, slot))
    }

    /// Messages behind an id, oldest first.
    pub(super) fn after(&self, id: Option<QueueId>) -> impl Iterator<Item = (QueueId, &Slot)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = id.map_or(Unbounded, Excluded);
        self.slots.range((from, Unbounded)).map(|(id, slot)| (*id, slot))
    }

    /// Messages whose record is in a segment. Walks all.
    pub(super) fn in_segment(&self, number: u32) -> Vec<QueueId> {
        self.after(None).filter(|(_, slot)| slot.message.segment == number).map(|(id, _)| id).collect()
    }

    /// Bytes of all segments.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.len).sum()
    }
}
