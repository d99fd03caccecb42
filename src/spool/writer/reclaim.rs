//! Giving space back, and writing again at the end of the log what must not stay where it is.

use std::path::Path;

use super::batch::Batch;
use super::{Change, GROUP, MOVED, New, Writer};
use crate::failpoint;
use crate::spool::record::Kind;
use crate::spool::shared::Shared;
use crate::spool::{QueueId, SpoolError};

impl Writer {
    /// Gives space back: whole segments, the oldest first and never out of order, since a newer one may say
    /// what became of an older one's messages.
    pub(super) fn reclaim(&mut self) {
        if self.shared.poisoned().is_some() {
            return;
        }
        loop {
            let oldest = {
                let index = self.shared.index();
                index.segments.first_key_value().map(|(_, segment)| segment.clone())
            };
            let Some(oldest) = oldest else { return };
            if oldest.unreadable || self.active.as_ref().is_some_and(|active| active.id == oldest.id) {
                return;
            }
            if oldest.live > 0 {
                return self.move_out(oldest.id.number);
            }
            failpoint::reached("spool.reclaim.before-remove");
            let directory = Path::new(Shared::SEGMENTS);
            let disk = &self.shared.disk;
            let removed = disk
                .remove(&directory.join(oldest.id.file_name()))
                .and_then(|()| disk.sync_directory(directory));
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a segment of the queue that is no longer needed stays");
                return;
            }
            failpoint::reached("spool.reclaim.after-remove");
            self.shared.index().segments.remove(&oldest.id.number);
        }
    }

    /// Moves what is alive out of the oldest segment, a part at a time, where most of what lies on disk is dead.
    fn move_out(&mut self, oldest: u32) {
        let wasteful = {
            let index = self.shared.index();
            index.segment_bytes() > 2 * index.live_bytes + 4 * self.shared.options.get().segment_bytes
        };
        let begun = self.moving.as_ref().is_some_and(|(number, _)| *number == oldest);
        if !begun && !wasteful {
            return;
        }
        if !begun {
            self.moving = Some((oldest, self.shared.index().in_segment(oldest).into()));
        }
        let Some((_, ids)) = &mut self.moving else { return };
        let mut part = Vec::new();
        let mut weight = 0;
        while weight < MOVED
            && let Some(id) = ids.pop_front()
        {
            weight += self.shared.index().get(id).map_or(0, |slot| slot.text_len.min(1 << 20) as usize + 512);
            part.push(id);
        }
        if ids.is_empty() {
            self.moving = None;
        }
        if let Err(error) = self.rewrite(&part) {
            tracing::warn!(%error, "messages cannot be moved out of an old segment of the queue");
            self.moving = None;
        }
    }

    /// Writes again what the last run may not have brought to the disk. Nothing in there was answered with 250 on the
    /// strength of an fsync that failed; so on a full disk it can wait, and is delivered meanwhile.
    pub(in crate::spool) fn distrust(&mut self, untrusted: Vec<QueueId>) -> Result<(), SpoolError> {
        self.untrusted = untrusted;
        match self.trust() {
            Err(error @ SpoolError::Full(_)) => {
                tracing::error!(%error, "the queue is delivered, but takes nothing until there is room");
                Ok(())
            }
            trusted => trusted,
        }
    }

    pub(super) fn trust(&mut self) -> Result<(), SpoolError> {
        let untrusted = std::mem::take(&mut self.untrusted);
        let trusted = self.rewrite(&untrusted);
        if trusted.is_err() {
            self.untrusted = untrusted;
        }
        trusted
    }

    /// Writes messages again as they are now, at the end of the log.
    fn rewrite(&mut self, ids: &[QueueId]) -> Result<(), SpoolError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::default();
        let active = self.ready()?;
        for id in ids {
            match self.again(*id) {
                Ok(Some(new)) => self.put(active, &mut batch, new),
                // Forgotten: said once more, for a segment that may not have kept it.
                Ok(None) => {
                    batch.record(active, Kind::Removed, *id, &[], &[]);
                }
                Err(SpoolError::Damaged(why)) => {
                    let _ = self.change(Some(&active), &mut batch, *id, Change::Damaged(why));
                }
                Err(error) => return Err(error),
            }
            if batch.bytes.len() >= GROUP {
                return self.write(batch).and_then(|()| {
                    let at = ids.iter().position(|done| done == id).unwrap_or_default();
                    self.rewrite(ids.get(at + 1..).unwrap_or_default())
                });
            }
        }
        self.write(batch)
    }

    fn again(&self, id: QueueId) -> Result<Option<New>, SpoolError> {
        let Some(mut slot) = self.shared.index().get(id).copied() else { return Ok(None) };
        let (meta, (segment, place)) = self.shared.meta(id)?;
        let inline = self.shared.inline_text(id, &meta, &segment, place)?;
        slot.progress = None;
        Ok(Some(New { id, meta: meta.encode()?, inline, slot }))
    }
}
