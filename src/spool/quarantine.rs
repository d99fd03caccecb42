//! Where damaged records are kept for a person.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::disk::{Disk, DiskFile};
use super::index::{Segment, Slot};
use super::read::text_path;
use super::record::FRAME;
use super::shared::Shared;
use super::{QueueId, SpoolError};

/// What is copied at once.
const CHUNK: u64 = 1 << 20;
/// How what a power cut may have left is called; it was most likely never acknowledged.
pub(super) const TORN: &str = "torn-";

/// Copies part of a segment, as far as it can be read. Answers whether that was not done before.
pub(super) fn range(
    disk: &dyn Disk,
    segment: &Segment,
    from: u64,
    to: u64,
    torn: bool,
) -> io::Result<(bool, PathBuf)> {
    let prefix = if torn { TORN } else { "" };
    let directory = Path::new(Shared::QUARANTINE);
    let path = directory
        .join(format!("{prefix}{:08x}-{:08x}-{from:08x}.bin", segment.id.number, segment.id.salt as u32));
    let file = match disk.create(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok((false, path)),
        made => made?,
    };
    let mut at = from;
    while at < to {
        let mut part = vec![0; usize::try_from((to - at).min(CHUNK)).unwrap_or_default()];
        if let Err(error) = segment.file.read_exact_at(&mut part, at) {
            tracing::error!(%error, from, to, "part of a damaged record cannot even be read: zeros are kept");
        }
        file.write_all_at(&part, at - from)?;
        at += part.len() as u64;
    }
    keep(disk, &*file)?;
    Ok((true, path))
}

/// Copies a message's record and moves its text.
pub(super) fn message(shared: &Shared, id: QueueId, slot: &Slot, why: &str) -> Result<(), SpoolError> {
    let failed = |error: io::Error| SpoolError::disk(format!("keeping damaged message {id} aside"), &error);
    let segment = shared.index().segments.get(&slot.message.segment).cloned();
    let mut kept = PathBuf::new();
    if let Some(segment) = segment {
        let inline = if slot.in_file { 0 } else { slot.text_len };
        let from = u64::from(slot.message.offset);
        let to = from + FRAME as u64 + u64::from(slot.message.meta_len) + inline;
        (_, kept) = range(&*shared.disk, &segment, from, to, false).map_err(failed)?;
    }
    if slot.in_file {
        let path = Path::new(Shared::QUARANTINE).join(format!("{id}.text"));
        match shared.disk.rename(&text_path(id), &path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        shared.disk.sync_directory(Path::new(Shared::QUARANTINE)).map_err(failed)?;
    }
    shared.quarantined.fetch_add(1, Ordering::Relaxed);
    tracing::error!(%id, why, kept = %kept.display(), "a queued message is damaged and kept aside");
    Ok(())
}

fn keep(disk: &dyn Disk, file: &dyn DiskFile) -> io::Result<()> {
    file.sync()?;
    disk.sync_directory(Path::new(Shared::QUARANTINE))
}
