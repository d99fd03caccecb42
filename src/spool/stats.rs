//! What a spool holds, for whoever asks.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Room, Spool, SpoolError};

/// What the spool holds. Costs little to ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Messages.
    pub messages: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// When the oldest of them came, in milliseconds since 1970.
    pub oldest_unix_ms: Option<u64>,
    /// Of them, held by an operator.
    pub held: u64,
    /// Of them, with recipients that were refused or expired and nobody who can be told.
    pub failed: u64,
    /// Damaged records kept aside.
    pub quarantined: u64,
    /// Bytes of segments on disk.
    pub disk_bytes: u64,
    /// What is free on the disk; `None` where it cannot be asked.
    pub room: Option<Room>,
    /// Why nothing is accepted any more.
    pub poisoned: Option<Arc<str>>,
    /// Why nothing is accepted now.
    pub full: Option<Arc<str>>,
}

impl Spool {
    /// What the spool holds.
    pub fn stats(&self) -> Stats {
        let shared = &self.handle.shared;
        let full = match shared.admits(0) {
            Err(SpoolError::Full(why)) => Some(why),
            _ => shared.refused(),
        };
        let room = shared.room().ok();
        let index = shared.index();
        Stats {
            messages: index.len() as u64,
            bytes: index.text_bytes,
            oldest_unix_ms: index.oldest().map(|(_, slot)| slot.arrival_unix_ms),
            held: index.held,
            failed: index.failed,
            quarantined: shared.quarantined.load(Ordering::Relaxed),
            disk_bytes: index.segment_bytes(),
            room,
            poisoned: shared.poisoned().cloned(),
            full,
        }
    }
}
