//! A message on its way to the writer: its text is put where it will lie, its envelope is laid out.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::body::{Body, Kind, Spilt};
use super::disk::DiskFile;
use super::index::{Place, Slot};
use super::progress::Progress;
use super::read::{checksum, text_path};
use super::record::{MAX_INLINE, Meta, Text};
use super::shared::Shared;
use super::writer::New;
use super::{Envelope, QueueId, SpoolError};
use crate::failpoint;

/// What goes into the record, and for a long text the name of the file that it is in by now, durably.
pub(super) async fn text(shared: Arc<Shared>, id: QueueId, body: Body) -> Result<(Text, Bytes), SpoolError> {
    match body.0 {
        Kind::Memory(bytes) if bytes.len() as u64 <= MAX_INLINE => inline(bytes),
        Kind::Memory(bytes) => on_thread(move || {
            let file = shared.disk.create(&text_path(id))?;
            file.write_all_at(&bytes, 0)?;
            sync(&shared, &*file)?;
            shared.disk.sync_directory(Path::new(Shared::TEXTS))?;
            Ok(Text::File { len: bytes.len() as u64, crc: crc32fast::hash(&bytes) })
        })
        .await
        .map(|text| (text, Bytes::new())),
        Kind::Spilt(spilt, len) if len <= MAX_INLINE => {
            let bytes = on_thread(move || {
                let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
                spilt.file.read_exact_at(&mut bytes, 0)?;
                Ok(bytes)
            });
            inline(bytes.await?.into())
        }
        Kind::Spilt(spilt, len) => {
            on_thread(move || keep(&shared, id, spilt, len)).await.map(|text| (text, Bytes::new()))
        }
    }
}

fn inline(bytes: Bytes) -> Result<(Text, Bytes), SpoolError> {
    let len = u32::try_from(bytes.len()).map_err(|_| SpoolError::Busy)?;
    Ok((Text::Inline { len, crc: crc32fast::hash(&bytes) }, bytes))
}

fn keep(shared: &Shared, id: QueueId, spilt: Spilt, len: u64) -> std::io::Result<Text> {
    let crc = checksum(&*spilt.file, len)?;
    sync(shared, &*spilt.file)?;
    spilt.keep(&text_path(id))?;
    failpoint::reached("spool.text.renamed");
    shared.disk.sync_directory(Path::new(Shared::TEXTS))?;
    failpoint::reached("spool.text.kept");
    Ok(Text::File { len, crc })
}

fn sync(shared: &Shared, file: &dyn DiskFile) -> std::io::Result<()> {
    file.sync().inspect_err(|error| {
        shared.poison(&format!("an fsync of a long text failed: {error}"));
    })
}

/// On a thread that may wait for the disk.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, SpoolError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| SpoolError::Closed)?;
    done.map_err(|error| SpoolError::writing("keeping a long text", &error))
}

pub(super) fn lay_out(id: QueueId, envelope: Envelope, text: Text, inline: Bytes) -> Result<New, SpoolError> {
    let progress = Progress::new(envelope.recipients.len());
    let mut slot = Slot {
        message: Place { segment: 0, offset: 0, meta_len: 0 },
        progress: None,
        text_len: text.len(),
        arrival_unix_ms: envelope.arrival_unix_ms,
        waiting: 0,
        failed: 0,
        in_file: matches!(text, Text::File { .. }),
        held: false,
    };
    slot.note(&progress);
    let meta = Meta { text, progress, envelope }.encode()?;
    Ok(New { id, meta, inline, slot })
}
