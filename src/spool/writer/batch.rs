//! A group of records on its way to the disk, and what it makes of the messages.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::spool::QueueId;
use crate::spool::index::{Place, Slot};
use crate::spool::progress::Progress;
use crate::spool::record::{Frame, Kind, SegmentId};

/// A group on its way to the disk.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) effects: BTreeMap<QueueId, Option<Slot>>,
    pub(super) progress: BTreeMap<QueueId, Progress>,
    pub(super) dead_texts: Vec<PathBuf>,
}

impl Batch {
    /// Appends a record; returns where it will lie.
    pub(super) fn record(
        &mut self,
        (segment, end): (SegmentId, u64),
        kind: Kind,
        id: QueueId,
        meta: &[u8],
        inline: &[u8],
    ) -> Place {
        let offset = end + self.bytes.len() as u64;
        let length = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let frame = Frame {
            kind,
            id,
            meta_len: length(meta.len()),
            body_len: length(inline.len()),
            meta_crc: crc32fast::hash(meta),
        };
        self.bytes.extend_from_slice(&frame.encode(segment, offset));
        self.bytes.extend_from_slice(meta);
        self.bytes.extend_from_slice(inline);
        Place {
            segment: segment.number,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            meta_len: frame.meta_len,
        }
    }

    pub(super) fn progressed(
        &mut self,
        active: Option<&(SegmentId, u64)>,
        id: QueueId,
        mut slot: Slot,
        progress: Progress,
    ) {
        if let Some(active) = active {
            slot.progress = Some(self.record(*active, Kind::Progress, id, &progress.encode(), &[]));
        }
        slot.note(&progress);
        self.effects.insert(id, Some(slot));
        self.progress.insert(id, progress);
    }
}
