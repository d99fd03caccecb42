//! One murder at a time: five nodes each, timing that matters, and `cargo test` likes to run tests side by side.
//! `RAVENRY_MURDERS` allows more at once, for a machine with cores to spare.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::deadline::eventually;

/// Longer than any story may run.
const QUEUE: Duration = Duration::from_secs(30 * 60);

/// A place in the queue of all murders on this machine, whichever process wants them. Dropping it lets the next
/// one in; so does the death of the process.
#[derive(Debug)]
pub(super) struct Turn {
    _file: File,
}

impl Turn {
    /// Waits for our turn.
    pub(super) async fn take() -> Result<Self> {
        let places = std::env::var("RAVENRY_MURDERS").map_or(Ok(1), |count| count.parse())?;
        eventually(QUEUE, "waiting for another murder to end", async || {
            for place in 0..places {
                if let Some(turn) = Self::try_place(place)? {
                    return Ok(Some(turn));
                }
            }
            Ok(None)
        })
        .await
        .map(|(turn, _)| turn)
    }

    fn try_place(place: usize) -> Result<Option<Self>> {
        let path = std::env::temp_dir().join(format!("ravenry-murder-{place}.lock"));
        let file = Self::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }
    /// Opens the file, made only if it is missing: what another user made may be locked, but not written.
    fn open(path: &Path) -> std::io::Result<File> {
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                File::options().create(true).append(true).open(path)
            }
            other => other,
        }
    }
}
