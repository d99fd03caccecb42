//! How a store is opened.

use std::time::{SystemTime, UNIX_EPOCH};

use super::log;

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Memory for the pages of the file, in bytes. The greater part of what a store uses.
    pub cache_bytes: usize,
    /// How many lookups [`Store::get`](super::Store::get) remembers; some 300 bytes each.
    pub hot_entries: usize,
    /// How many calls may wait for the disk before [`StoreError::Busy`](super::StoreError::Busy).
    pub waiting_calls: usize,
    /// How many forgotten names are kept.
    pub forgotten_names: u64,
    /// How long forgotten names are kept, in seconds.
    pub forgotten_seconds: u64,
    /// How long it is remembered who changed a name, in seconds; 0: not at all.
    pub history_seconds: u64,
    /// The length of the log's file, in bytes.
    pub log_bytes: u64,
    /// Check every page when the store is opened: reads the whole file.
    pub check: bool,
    /// The time, in seconds since 1970.
    pub now_unix: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            hot_entries: 100_000,
            waiting_calls: 16_384,
            forgotten_names: 1_000_000,
            forgotten_seconds: 30 * 24 * 3600,
            history_seconds: 30 * 24 * 3600,
            log_bytes: log::LEN,
            check: false,
            now_unix: || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }
    }
}
