//! What the control socket and the monitors reach of a running Ravenry.

use super::serve::unix;
use crate::admin::Ask;
use crate::admin::server::Operator;
use crate::admin::status::{ConflictStatus, JournalStatus, MasterStatus, Status, StoreStatus, StreamStatus};
use crate::authority::master::BoxFuture;
use crate::authority::task::{Authority, Order, Standing};
use crate::config::Config;
use crate::list::Entry;
use crate::mupdate::server::Server;

/// Conflicts that `status` names; the rest are counted.
const CONFLICTS_SHOWN: usize = 100;

/// What the control socket reaches.
pub(super) struct Desk {
    authority: Authority,
    server: Server,
    master_address: String,
    started: u64,
}

impl Desk {
    pub(super) fn new(config: &Config, authority: Authority, server: Server) -> Self {
        Self { authority, server, master_address: config.master.address.clone(), started: unix() }
    }

    fn conflicts(&self) -> Vec<ConflictStatus> {
        let conflicts =
            self.authority.store().snapshot().and_then(|list| list.conflicts(None, CONFLICTS_SHOWN));
        let place = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.location.to_string());
        conflicts
            .unwrap_or_default()
            .into_iter()
            .map(|conflict| ConflictStatus {
                name: conflict.name.to_string(),
                ours: place(&conflict.ours),
                theirs: place(&conflict.theirs),
                since: conflict.at_unix,
            })
            .collect()
    }
}

impl Operator for Desk {
    fn status(&self) -> Status {
        let standing: Standing = self.authority.standing().borrow().clone();
        let stats = self.authority.store().stats();
        let streams = self.server.streams();
        let identity = standing.master.as_ref();
        Status {
            state: standing.state.word().into(),
            since: standing.since_unix,
            reason: standing.reason,
            held_by_operator: standing.held,
            entries: stats.entries,
            journal: stats.journalled_names,
            conflicts: stats.conflicts,
            streams: streams.len(),
            unconfirmed: stats.unconfirmed,
            doubts: stats.doubts,
            replaying: standing.replaying,
            last_barrier: standing.last_barrier_unix,
            master: MasterStatus {
                address: self.master_address.clone(),
                connected: standing.connected,
                servername: identity.map(|identity| identity.servername.clone()),
                version: identity.map(|identity| identity.version.clone()),
                last_error: standing.last_error,
            },
            journal_detail: JournalStatus {
                records: stats.journal_records,
                oldest: stats.oldest_journal_unix,
            },
            conflict_detail: if stats.conflicts > 0 { self.conflicts() } else { Vec::new() },
            stream_detail: streams
                .into_iter()
                .map(|stream| StreamStatus {
                    peer: stream.peer.to_string(),
                    identity: stream.identity.to_string(),
                    since: stream.since_unix,
                    written_seq: stream.written_seq,
                    lag: stream.lag,
                })
                .collect(),
            store: StoreStatus {
                seq: stats.seq,
                complete: stats.complete,
                poisoned: stats.poisoned.map(|cause| cause.to_string()),
            },
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started,
        }
    }

    fn order(&self, ask: Ask) -> BoxFuture<Result<(), String>> {
        let authority = self.authority.clone();
        Box::pin(async move {
            let order = match ask {
                Ask::StandIn => Order::StandIn,
                Ask::Follow => Order::Follow,
                Ask::Status => return Ok(()),
            };
            authority.order(order).await.map_err(|stopped| stopped.to_string())
        })
    }
}
