//! The control socket: what an operator may ask of a running Ravenry.
//!
//! A UNIX socket; its file permission is the authority. One line of JSON asks, one line of JSON answers:
//! `{"ask":"status"}`, and `{"ok":…}` or `{"error":"…"}`.

pub mod client;
pub mod server;
pub mod status;

use serde::{Deserialize, Serialize};

/// What may be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// Where things stand.
    Status,
    /// Stand in, whatever the master says.
    StandIn,
    /// Let the master decide again.
    Follow,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    ask: Ask,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Answer {
    Ok(serde_json::Value),
    Error(String),
}

/// The longest line taken on either side: a status with a hundred conflicts of the longest names fits.
const MAX_LINE: u64 = 4 << 20;
