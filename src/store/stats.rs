//! What a store tells of itself.

use std::sync::Arc;

use super::{Servers, Synced};
use crate::list::Order;

/// What the store holds, as of the last commit. Costs nothing to ask for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Names in the list.
    pub entries: u64,
    /// Of them, usable mailboxes.
    pub active: u64,
    /// Of them, reservations.
    pub reserved: u64,
    /// Names that were in the list, as far as they are remembered.
    pub forgotten: u64,
    /// Changes that the master has not heard of.
    pub journal_records: u64,
    /// Names that they are about.
    pub journalled_names: u64,
    /// When the oldest of them was made.
    pub oldest_journal_unix: Option<u64>,
    /// Exchanges with the master whose outcome is unknown.
    pub doubts: u64,
    /// Names that a person has to decide about.
    pub conflicts: u64,
    /// Names where the master's list differs and nothing was done about it yet.
    pub unconfirmed: u64,
    /// Names with which something is under way, or was left so.
    pub underway: u64,
    /// The greatest sequence number given out.
    pub seq: u64,
    /// The order of the list.
    pub order: Order,
    /// Whether a master ever completed the list.
    pub complete: bool,
    /// When it did last, and which master.
    pub synced: Option<Synced>,
    /// A reseed that did not come to its end, with the names that the master may lose by it.
    pub reseeding: Option<u64>,
    /// When Ravenry was last alive and serving with this store.
    pub attended_at: Option<u64>,
    /// Whether an operator wants Ravenry to go on standing in.
    pub held: bool,
    /// What is remembered of servers.
    pub servers: Servers,
    /// Why no more changes are taken.
    pub poisoned: Option<Arc<str>>,
    /// Why the store of this or an earlier run took no more changes, if no master completed the list since.
    /// Changes may be missing that the master or a backend knows of: such a list must not be served as current.
    pub suspect: Option<Arc<str>>,
    /// Calls that were committed since the store was opened.
    pub calls: u64,
    /// Transactions that they shared.
    pub commits: u64,
}
