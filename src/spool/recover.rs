//! Reading a spool that an earlier process left: what is queued, what is damaged, what is left over.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::body::Incoming;
use super::disk::{Disk, DiskFile};
use super::index::{Index, Place, Segment, Slot};
use super::progress::Progress;
use super::record::{FORMAT, FRAME, Frame, HEADER, Kind, MAX_META, Meta, RECORD_MAGIC, SegmentId, Text};
use super::shared::Shared;
use super::{QueueId, SpoolError, quarantine};

/// How much of a segment is read at once.
const WINDOW: usize = 256 << 10;
/// What a disk fails to read as a whole.
const SECTOR: usize = 4096;
const UNREADABLE: u8 = 0xee;

/// What was found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) index: Index,
    /// The greatest number given out.
    pub(super) last_id: u64,
    /// The number for the next segment.
    pub(super) next_number: u32,
    /// What the last segment speaks of, if it was not closed in peace. If an fsync failed, the page cache may
    /// show what the disk does not hold: all of it is written again.
    pub(super) untrusted: Vec<QueueId>,
    /// Files in the quarantine but torn ends.
    pub(super) quarantined: u64,
}

/// Reads everything but the texts of closed segments. Removes nothing that may be mail.
pub(super) fn recover(disk: &Arc<dyn Disk>) -> Result<Found, SpoolError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| SpoolError::disk(&what, &error)
    };
    let mut segments = open_segments(&**disk)?;
    let last = segments.pop();
    let mut found =
        Found { next_number: last.as_ref().map_or(0, |segment| segment.id.number) + 1, ..Found::default() };
    for segment in segments {
        let mut ignored = BTreeSet::new();
        take(&**disk, segment, false, &mut found, &mut ignored).map_err(failed("reading the queue"))?;
    }
    if let Some(segment) = last {
        let mut touched = BTreeSet::new();
        let closed =
            take(&**disk, segment, true, &mut found, &mut touched).map_err(failed("reading the queue"))?;
        if !closed {
            found.untrusted = touched.into_iter().collect();
        }
    }
    tidy(&**disk, &mut found).map_err(failed("tidying the queue's directory"))?;
    let kept = disk.list(Path::new(Shared::QUARANTINE)).map_err(failed("looking into the quarantine"))?;
    found.quarantined = kept.iter().filter(|name| !name.starts_with(quarantine::TORN)).count() as u64;
    Ok(found)
}

/// All segments, the oldest first. Refuses before anything is changed if one of them is of a newer format.
fn open_segments(disk: &dyn Disk) -> Result<Vec<Segment>, SpoolError> {
    let directory = Path::new(Shared::SEGMENTS);
    let failed = |error: io::Error| SpoolError::disk("opening the queue's segments", &error);
    let mut names = disk.list(directory).map_err(failed)?;
    names.sort();
    let mut segments = Vec::new();
    for name in names {
        let Some(id) = SegmentId::of_file_name(&name) else {
            tracing::warn!(name, "a stranger among the queue's segments is ignored");
            continue;
        };
        let path = directory.join(&name);
        let file = disk.open(&path).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let mut header = [0; HEADER as usize];
        let format = match file.read_exact_at(&mut header, 0) {
            Ok(()) => id.format_of(&header),
            // Too short, or not readable: the scan will say which.
            Err(_) => None,
        };
        if let Some(found) = format.filter(|found| *found > FORMAT) {
            return Err(SpoolError::TooNew { file: path, found, known: FORMAT });
        }
        segments.push(Segment { id, file, len, live: 0, unreadable: false });
    }
    Ok(segments)
}

/// Takes over what one segment says. Answers whether it was closed in peace.
fn take(
    disk: &dyn Disk,
    segment: Segment,
    is_last: bool,
    found: &mut Found,
    touched: &mut BTreeSet<QueueId>,
) -> io::Result<bool> {
    found.index.segments.insert(segment.id.number, segment.clone());
    let scan = scan(segment.id, &*segment.file, segment.len, is_last, |record| {
        touched.insert(record.frame.id);
        found.last_id = found.last_id.max(record.frame.id.0);
        apply(&mut found.index, segment.id.number, &record)
    });
    if scan.unreadable
        && let Some(segment) = found.index.segments.get_mut(&segment.id.number)
    {
        segment.unreadable = true;
    }
    if segment.len <= HEADER {
        // Begun, but no record can have been in it.
        return Ok(true);
    }
    let damaged_end = scan.damage.last().is_some_and(|range| range.1 == segment.len);
    for (from, to) in &scan.damage {
        // A segment whose end could not be marked is torn as well.
        let torn = !scan.closed && !scan.unreadable && damaged_end && *to == segment.len;
        let (new, kept) = quarantine::range(disk, &segment, *from, *to, torn)?;
        let (bytes, kept) = (to - from, kept.display());
        match (new, torn) {
            (true, true) => tracing::warn!(
                bytes, %kept,
                "the queue ends in the middle of a record: if the power failed, it was never acknowledged"
            ),
            (true, false) => tracing::error!(bytes, %kept, "part of the queue is damaged and kept aside"),
            (false, _) => {}
        }
    }
    if is_last && !scan.closed && !scan.unreadable && scan.end < segment.len {
        segment.file.set_len(scan.end)?;
        segment.file.sync()?;
        if let Some(segment) = found.index.segments.get_mut(&segment.id.number) {
            segment.len = scan.end;
        }
    }
    Ok(scan.closed)
}

/// One sound record; the index is changed by it. Answers whether its meta part makes sense.
fn apply(index: &mut Index, segment: u32, record: &Record<'_>) -> bool {
    let id = record.frame.id;
    let Ok(offset) = u32::try_from(record.offset) else { return false };
    let place = Place { segment, offset, meta_len: record.frame.meta_len };
    match record.frame.kind {
        Kind::Closed => {}
        Kind::Removed => {
            index.set(id, None);
        }
        Kind::Message => {
            let Ok(meta) = Meta::decode(record.meta) else { return false };
            let mut slot = Slot {
                message: place,
                progress: None,
                text_len: meta.text.len(),
                arrival_unix_ms: meta.envelope.arrival_unix_ms,
                waiting: 0,
                failed: 0,
                in_file: matches!(meta.text, Text::File { .. }),
                held: false,
            };
            slot.note(&meta.progress);
            index.set(id, Some(slot));
        }
        Kind::Progress => {
            let Ok(progress) = Progress::decode(record.meta) else { return false };
            if let Some(mut slot) = index.get(id).copied() {
                slot.progress = Some(place);
                slot.note(&progress);
                index.set(id, Some(slot));
            }
        }
    }
    true
}

/// Removes what nobody will ask for: texts that were never queued or are forgotten, and what had begun to come
/// in. A message whose long text is gone is damaged.
fn tidy(disk: &dyn Disk, found: &mut Found) -> io::Result<()> {
    for name in disk.list(Path::new(Incoming::DIRECTORY))? {
        disk.remove(&Path::new(Incoming::DIRECTORY).join(name))?;
    }
    for name in disk.list(Path::new(Shared::TEXTS))? {
        let wanted =
            name.parse().is_ok_and(|id: QueueId| found.index.get(id).is_some_and(|slot| slot.in_file));
        if !wanted {
            disk.remove(&Path::new(Shared::TEXTS).join(name))?;
        }
    }
    Ok(())
}

/// A record whose frame and meta part are sound.
pub(super) struct Record<'a> {
    pub(super) frame: Frame,
    pub(super) offset: u64,
    pub(super) meta: &'a [u8],
}

/// What a segment holds beside its records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Stretches that are not what was written, from and to.
    pub(super) damage: Vec<(u64, u64)>,
    /// It says that it ends here, and does.
    pub(super) closed: bool,
    /// The disk did not give all of it; it may do so later.
    pub(super) unreadable: bool,
    /// The end of the last sound record.
    pub(super) end: u64,
}

/// Reads a segment from its beginning to its end, and tells of every sound record; the answer says whether it
/// makes sense. `thorough`: texts in records are verified too.
pub(super) fn scan(
    segment: SegmentId,
    file: &dyn DiskFile,
    len: u64,
    thorough: bool,
    mut tell: impl FnMut(Record<'_>) -> bool,
) -> Scan {
    let mut scan = Scan { end: HEADER.min(len), ..Scan::default() };
    let mut window = Window { file, len, from: 0, bytes: Vec::new(), unreadable: false };
    let sound = window.at(0, HEADER as usize).first_chunk().is_some_and(|h| segment.format_of(h).is_some());
    if !sound && len > 0 {
        scan.damage.push((0, HEADER.min(len)));
    }
    let mut at = HEADER;
    while at < len {
        let frame = window.at(at, FRAME).first_chunk().and_then(|frame| Frame::decode(frame, segment, at));
        let Some(frame) = frame else {
            let next = resync(&mut window, segment, at + 1);
            // A file that had grown before its bytes were written: nothing was there.
            let unwritten = thorough && next == len && window.is_zero(at, next);
            if !unwritten {
                damage(&mut scan, at, next);
            }
            at = next;
            continue;
        };
        let next = at + frame.record_len();
        // The frame is right about its length: nothing within is looked at as a record.
        let whole = next <= len && record(&mut window, &frame, at, thorough, &mut tell);
        if whole {
            scan.closed = frame.kind == Kind::Closed && next == len;
            scan.end = next;
        } else {
            damage(&mut scan, at, next.min(len));
        }
        at = next;
    }
    scan.unreadable = window.unreadable;
    scan
}

fn damage(scan: &mut Scan, from: u64, to: u64) {
    match scan.damage.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => scan.damage.push((from, to)),
    }
}

fn record(
    window: &mut Window<'_>,
    frame: &Frame,
    at: u64,
    thorough: bool,
    tell: &mut impl FnMut(Record<'_>) -> bool,
) -> bool {
    let meta_at = at + FRAME as u64;
    let meta_len = (frame.meta_len as usize).min(MAX_META);
    let meta = window.at(meta_at, meta_len);
    if meta.len() != meta_len || crc32fast::hash(meta) != frame.meta_crc {
        return false;
    }
    if thorough && frame.kind == Kind::Message {
        let meta = meta.to_vec();
        if let Ok(Meta { text: Text::Inline { len, crc }, .. }) = Meta::decode(&meta) {
            let text = window.at(meta_at + meta_len as u64, len as usize);
            if len != frame.body_len || crc32fast::hash(text) != crc {
                return false;
            }
        }
        return tell(Record { frame: *frame, offset: at, meta: &meta });
    }
    tell(Record { frame: *frame, offset: at, meta })
}

/// The next offset at which a frame is, or the end.
fn resync(window: &mut Window<'_>, segment: SegmentId, from: u64) -> u64 {
    let mut at = from;
    while at + FRAME as u64 <= window.len {
        let bytes = window.at(at, WINDOW);
        if bytes.len() < FRAME {
            break;
        }
        let starts = bytes.len() - FRAME + 1;
        for start in 0..starts {
            let Some(candidate) = bytes.get(start..).filter(|rest| rest.starts_with(RECORD_MAGIC)) else {
                continue;
            };
            let offset = at + start as u64;
            if candidate.first_chunk().is_some_and(|frame| Frame::decode(frame, segment, offset).is_some()) {
                return offset;
            }
        }
        at += starts as u64;
    }
    window.len
}

/// A file seen through a buffer.
struct Window<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    from: u64,
    bytes: Vec<u8>,
    unreadable: bool,
}

impl Window<'_> {
    /// The bytes at an offset; fewer at the end of the file.
    fn at(&mut self, offset: u64, wanted: usize) -> &[u8] {
        let wanted = usize::try_from(self.len.saturating_sub(offset)).map_or(wanted, |left| left.min(wanted));
        let inside = offset >= self.from && offset + wanted as u64 <= self.from + self.bytes.len() as u64;
        if !inside {
            let left = self.len.saturating_sub(offset);
            let fill = usize::try_from(left).map_or(WINDOW, |left| left.min(WINDOW)).max(wanted);
            self.bytes.resize(fill, 0);
            self.from = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, offset) {
                tracing::error!(%error, offset, "part of the queue cannot be read");
                self.fill_in_pieces();
            }
        }
        let start = usize::try_from(offset - self.from).unwrap_or_default();
        self.bytes.get(start..start + wanted).unwrap_or_default()
    }

    /// What cannot be read is filled with what no record begins with, so that it counts as damage.
    fn fill_in_pieces(&mut self) {
        for (number, piece) in self.bytes.chunks_mut(SECTOR).enumerate() {
            if self.file.read_exact_at(piece, self.from + (number * SECTOR) as u64).is_err() {
                piece.fill(UNREADABLE);
                self.unreadable = true;
            }
        }
    }

    fn is_zero(&mut self, from: u64, to: u64) -> bool {
        let mut at = from;
        while at < to {
            let wanted = usize::try_from(to - at).map_or(WINDOW, |left| left.min(WINDOW));
            let part = self.at(at, wanted);
            if part.iter().any(|byte| *byte != 0) {
                return false;
            }
            at += part.len().max(1) as u64;
        }
        true
    }
}
