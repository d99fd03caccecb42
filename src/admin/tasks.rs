//! Changes of the whole list that a person orders.

use serde::{Deserialize, Serialize};

/// How a reseed, or taking the master's list, ended.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// The server name in the master's banner.
    pub master: String,
    /// Names in our list.
    pub entries: u64,
    /// Names that the master's list was compared on afterwards, over a second `UPDATE`.
    pub verified: u64,
    /// Names that differ even so: changed since, or held back for a person.
    pub differing: u64,
    /// How long it took.
    pub seconds: f64,
}
