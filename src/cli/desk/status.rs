//! Where things stand.

use super::{Desk, unix};
use crate::admin::status::{
    ConfigurationStatus, ConflictStatus, FrontendStatus, ImapStatus, JournalStatus, LeftOverName,
    LeftOverStatus, LmtpStatus, MasterStatus, PassageStatus, QueueStatus, Status, StoreStatus, StreamStatus,
};
use crate::authority::task::Standing;
use crate::cli::imap_face::Clients;
use crate::imap::Health;
use crate::list::Entry;
use crate::lmtp::Face;
use crate::spool::Spool;

/// Conflicts that `status` names, and names left under way; the rest are counted.
const SHOWN: usize = 100;

pub(super) fn status(desk: &Desk) -> Status {
    let standing: Standing = desk.authority.standing().borrow().clone();
    let stats = desk.authority.store().stats();
    let streams = desk.server.streams();
    let identity = standing.master.as_ref();
    Status {
        state: standing.state.word().into(),
        since: standing.since_unix,
        reason: standing.reason,
        shadow: desk.shadow,
        held_by_operator: standing.held,
        entries: stats.entries,
        reserved: stats.reserved,
        journal: stats.journalled_names,
        conflicts: stats.conflicts,
        streams: streams.len(),
        unconfirmed: stats.unconfirmed,
        doubts: stats.doubts,
        left_over: if stats.underway > 0 { left_over(desk) } else { LeftOverStatus::default() },
        replaying: standing.replaying,
        last_barrier: standing.last_barrier_unix,
        master: MasterStatus {
            address: desk.master_address.clone(),
            connected: standing.connected,
            servername: identity.map(|identity| identity.servername.clone()),
            version: identity.map(|identity| identity.version.clone()),
            last_error: standing.last_error,
        },
        journal_detail: JournalStatus { records: stats.journal_records, oldest: stats.oldest_journal_unix },
        conflict_detail: if stats.conflicts > 0 { conflicts(desk) } else { Vec::new() },
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
        queue: desk.deliveries.as_ref().map(|deliveries| queue(&deliveries.spool)),
        lmtp: desk.deliveries.as_ref().map(|deliveries| lmtp(&deliveries.face)),
        imap: desk.clients.as_ref().map(imap),
        configuration: ConfigurationStatus::clone(&desk.configuration.get()),
        history: standing
            .history
            .into_iter()
            .map(|passage| PassageStatus {
                at: passage.at_unix,
                state: passage.state.word().into(),
                reason: passage.reason,
            })
            .collect(),
        version: env!("CARGO_PKG_VERSION").into(),
        started: desk.started,
        now: unix(),
    }
}

fn queue(spool: &Spool) -> QueueStatus {
    let stats = spool.stats();
    QueueStatus {
        messages: stats.messages,
        bytes: stats.bytes,
        oldest: stats.oldest_unix_ms.map(|at| at / 1000),
        held: stats.held,
        failed: stats.failed,
        quarantined: stats.quarantined,
        disk_bytes: stats.disk_bytes,
        free_bytes: stats.room.map(|room| room.bytes),
        full: stats.full.map(|why| why.to_string()),
        poisoned: stats.poisoned.map(|cause| cause.to_string()),
    }
}

fn lmtp(face: &Face) -> LmtpStatus {
    let answered = face.answered();
    let frontends = face.frontends().status().into_iter().map(|frontend| FrontendStatus {
        address: frontend.address.to_string(),
        down: frontend.down,
        down_since: frontend.down_since_unix,
        drained: frontend.drained,
        in_use: frontend.in_use,
    });
    LmtpStatus {
        sessions: face.sessions(),
        delivered: answered.delivered,
        queued: answered.queued,
        deferred: answered.deferred,
        refused: answered.refused,
        frontends: frontends.collect(),
    }
}

fn imap(clients: &Clients) -> ImapStatus {
    let frontends = clients.proxy.frontends().into_iter().map(|frontend| {
        let (down, down_since) = match frontend.health {
            Health::Down(why, since) => (Some(why), Some(since)),
            Health::Up(_) | Health::Unknown => (None, None),
        };
        let (address, drained, in_use) = (frontend.address, frontend.drained, frontend.sessions);
        FrontendStatus { address, down, down_since, drained, in_use }
    });
    let (bytes_to_frontends, bytes_to_clients) = clients.proxy.traffic();
    ImapStatus {
        sessions: clients.proxy.sessions(),
        bytes_to_frontends,
        bytes_to_clients,
        ghosts_forgotten: clients.onlooker.ghosts_forgotten(),
        without_master: clients.onlooker.without_master(),
        frontends: frontends.collect(),
    }
}

fn left_over(desk: &Desk) -> LeftOverStatus {
    let left = desk.authority.store().snapshot().and_then(|list| list.left_over()).unwrap_or_default();
    let place = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.location.to_string());
    let (count, asked) = (left.len() as u64, desk.asking.is_some() && !desk.shadow);
    let named = left.into_iter().take(SHOWN).map(|left| LeftOverName {
        name: left.name.to_string(),
        before: place(&left.underway.before),
        now: place(&desk.authority.store().get(&left.name).ok().flatten()),
        identity: left.underway.identity,
        peer: left.underway.peer,
        since: left.underway.at_unix,
    });
    LeftOverStatus { count, asked, names: named.collect() }
}

fn conflicts(desk: &Desk) -> Vec<ConflictStatus> {
    let conflicts = desk.authority.store().snapshot().and_then(|list| list.conflicts(None, SHOWN));
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
