//! Reading messages back, by whoever needs one, while the writer writes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::disk::DiskFile;
use super::index::{Place, Segment, Slot};
use super::progress::Progress;
use super::record::{FRAME, Frame, Kind, Meta, SegmentId, Text};
use super::shared::Shared;
use super::{Envelope, QueueId, SpoolError, StoredBody};

/// How much of a text is checked at once.
const CHUNK: u64 = 256 << 10;

const WRONG_TEXT: &str = "the checksum of its text is wrong";

/// A queued message as it lies on disk.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its number.
    pub id: QueueId,
    /// From whom, to whom.
    pub envelope: Arc<Envelope>,
    /// How far it has come.
    pub progress: Progress,
    /// The text's length in bytes.
    pub len: u64,
}

/// Where the file of a long text is.
pub(super) fn text_path(id: QueueId) -> PathBuf {
    Path::new(Shared::TEXTS).join(id.to_string())
}

impl Shared {
    /// A message without its text.
    pub(super) fn message(&self, id: QueueId) -> Result<Message, SpoolError> {
        let (meta, _) = self.meta(id)?;
        let len = meta.text.len();
        Ok(Message { id, envelope: Arc::new(meta.envelope), progress: meta.progress, len })
    }

    /// A message with its text, whose checksum has been verified.
    pub(super) fn message_with_text(&self, id: QueueId) -> Result<(Message, StoredBody), SpoolError> {
        let (meta, (segment, place)) = self.meta(id)?;
        let text = match meta.text {
            Text::Inline { .. } => StoredBody::in_memory(self.inline_text(id, &meta, &segment, place)?),
            Text::File { len, crc } => {
                let file = self.disk.open(&text_path(id)).map_err(|error| unreadable(id, &error))?;
                if checksum(&*file, len).map_err(|error| unreadable(id, &error))? != crc {
                    return Err(damaged(id, WRONG_TEXT));
                }
                StoredBody::in_file(file, len)
            }
        };
        let len = meta.text.len();
        Ok((Message { id, envelope: Arc::new(meta.envelope), progress: meta.progress, len }, text))
    }

    /// The text that lies in the record, verified; nothing if it has a file of its own.
    pub(super) fn inline_text(
        &self,
        id: QueueId,
        meta: &Meta,
        segment: &Segment,
        place: Place,
    ) -> Result<Bytes, SpoolError> {
        let Text::Inline { len, crc } = meta.text else { return Ok(Bytes::new()) };
        let mut bytes = vec![0; len as usize];
        let at = u64::from(place.offset) + FRAME as u64 + u64::from(place.meta_len);
        segment.file.read_exact_at(&mut bytes, at).map_err(|error| unreadable(id, &error))?;
        if crc32fast::hash(&bytes) == crc { Ok(bytes.into()) } else { Err(damaged(id, WRONG_TEXT)) }
    }

    /// How far a message has come.
    pub(super) fn progress(&self, id: QueueId) -> Result<Progress, SpoolError> {
        Ok(self.meta(id)?.0.progress)
    }

    /// The newest meta part, and where the message's record is.
    pub(super) fn meta(&self, id: QueueId) -> Result<(Meta, (Segment, Place)), SpoolError> {
        let (slot, segment, newer) = {
            let index = self.index();
            let slot: Slot = *index.get(id).ok_or(SpoolError::NotFound(id))?;
            let segment = |place: Place| {
                index.segments.get(&place.segment).cloned().ok_or_else(|| damaged(id, "its segment is gone"))
            };
            let newer =
                slot.progress.map(|place| Ok::<_, SpoolError>((segment(place)?, place))).transpose()?;
            (slot, segment(slot.message)?, newer)
        };
        let bytes = record_meta(&segment.file, segment.id, slot.message, (Kind::Message, id))?;
        let mut meta = Meta::decode(&bytes).map_err(|error| damaged(id, error))?;
        if let Some((segment, place)) = newer {
            let bytes = record_meta(&segment.file, segment.id, place, (Kind::Progress, id))?;
            let progress = Progress::decode(&bytes).map_err(|error| damaged(id, error))?;
            if progress.fates.len() != meta.progress.fates.len() {
                return Err(damaged(id, "its progress is another message's"));
            }
            meta.progress = progress;
        }
        if let Some(progress) = self.unwritten(id) {
            meta.progress = progress;
        }
        Ok((meta, (segment, slot.message)))
    }
}

fn record_meta(
    file: &Arc<dyn DiskFile>,
    segment: SegmentId,
    place: Place,
    (kind, id): (Kind, QueueId),
) -> Result<Vec<u8>, SpoolError> {
    let mut bytes = vec![0; FRAME + place.meta_len as usize];
    file.read_exact_at(&mut bytes, place.offset.into()).map_err(|error| unreadable(id, &error))?;
    let frame = bytes
        .first_chunk::<FRAME>()
        .and_then(|frame| Frame::decode(frame, segment, place.offset.into()))
        .filter(|frame| frame.kind == kind && frame.id == id && frame.meta_len == place.meta_len)
        .ok_or_else(|| damaged(id, "its record is not where it was written"))?;
    let meta = bytes.split_off(FRAME);
    if crc32fast::hash(&meta) != frame.meta_crc {
        return Err(damaged(id, "the checksum of its envelope is wrong"));
    }
    Ok(meta)
}

/// The checksum of a file's first bytes.
pub(super) fn checksum(file: &dyn DiskFile, len: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; usize::try_from(CHUNK.min(len)).unwrap_or_default()];
    let mut at = 0;
    while at < len {
        let want = usize::try_from((len - at).min(CHUNK)).unwrap_or_default();
        let part = buffer.get_mut(..want).unwrap_or_default();
        file.read_exact_at(part, at)?;
        hasher.update(part);
        at += want as u64;
    }
    Ok(hasher.finalize())
}

fn damaged(id: QueueId, why: impl std::fmt::Display) -> SpoolError {
    SpoolError::Damaged(format!("message {id}: {why}").into())
}

/// A file that ends too early or is not there is damage; a disk that does not answer may do so later.
fn unreadable(id: QueueId, error: &io::Error) -> SpoolError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => damaged(id, error),
        _ => SpoolError::disk(format!("reading message {id}"), error),
    }
}
