//! How a spool works, as a configuration may have it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Reporter;
use super::schedule::Policy;

/// How a spool works.
#[derive(Clone, Debug)]
pub struct Options {
    /// A text up to this length is kept in memory while it comes in, in bytes.
    pub in_memory: usize,
    /// A segment of the log that is longer is closed, in bytes; at most 1 GiB.
    pub segment_bytes: u64,
    /// With less free on the disk nothing is accepted.
    pub min_free_bytes: u64,
    /// The same for inodes.
    pub min_free_inodes: u64,
    /// So many messages at most; each takes some 300 bytes of memory.
    pub max_messages: u64,
    /// So many bytes of texts at most.
    pub max_bytes: u64,
    /// When what is tried.
    pub policy: Policy,
    /// How long an attempt may take.
    pub patience: Duration,
    /// Who tells senders what became of their messages.
    pub reporter: Reporter,
    /// The time, in milliseconds since 1970.
    pub now_unix_ms: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_memory: 64 << 10,
            segment_bytes: 64 << 20,
            min_free_bytes: 256 << 20,
            min_free_inodes: 10_000,
            max_messages: 5_000_000,
            max_bytes: u64::MAX,
            policy: Policy::default(),
            patience: Duration::from_secs(600),
            reporter: Reporter { host: "localhost".into(), from: "MAILER-DAEMON@localhost".into() },
            now_unix_ms: || {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            },
        }
    }
}
