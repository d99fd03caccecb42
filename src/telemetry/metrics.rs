//! The recorder behind `/metrics`, and the gauges that are read off where things stand.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::metric::{BUCKETS, Metric};
use crate::admin::status::{FrontendStatus, ImapStatus, LmtpStatus, QueueStatus, Status, StreamStatus};
use crate::authority::machine::State;

/// Series of what comes and goes. A recorder shows a series for as long as it lives itself: these are made anew at
/// every look, so that none outlives its stream, or a frontend that a reload took away.
const PASSING: &[Metric] = &[
    Metric::StreamLag,
    Metric::LmtpFrontendUp,
    Metric::LmtpFrontendConnections,
    Metric::ImapFrontendUp,
    Metric::ImapFrontendSessions,
];

/// Starts recording; the handle renders what `/metrics` shows, but for what is [`passing`].
pub fn record() -> Result<PrometheusHandle, String> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(BUCKETS)
        .and_then(|builder| builder.install_recorder())
        .map_err(|error| format!("metrics: {error}"))?;
    for metric in Metric::ALL {
        metric.describe();
    }
    Ok(recorder)
}

/// The series of what comes and goes, as `/metrics` shows them.
pub fn passing(status: &Status) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        for metric in PASSING {
            metric.describe();
        }
        streams(&status.stream_detail);
        for frontend in status.lmtp.iter().flat_map(|lmtp| &lmtp.frontends) {
            of_frontend(frontend, Metric::LmtpFrontendUp, Metric::LmtpFrontendConnections);
        }
        for frontend in status.imap.iter().flat_map(|imap| &imap.frontends) {
            of_frontend(frontend, Metric::ImapFrontendUp, Metric::ImapFrontendSessions);
        }
    });
    recorder.handle().render()
}

/// By host: a frontend that comes back has another port. While its old stream is still there, the longer lag counts.
fn streams(streams: &[StreamStatus]) {
    let mut by_host = BTreeMap::<String, usize>::new();
    for stream in streams {
        let address = stream.peer.parse::<SocketAddr>();
        let host = address.map_or(stream.peer.clone(), |address| address.ip().to_canonical().to_string());
        let lag = by_host.entry(host).or_default();
        *lag = stream.lag.max(*lag);
    }
    for (host, lag) in by_host {
        Metric::StreamLag.set_for(&[("peer", host)], lag as f64);
    }
}

fn of_frontend(frontend: &FrontendStatus, up: Metric, in_use: Metric) {
    let label = [("frontend", frontend.address.clone())];
    let is_up = frontend.down.is_none() && !frontend.drained;
    up.set_for(&label, f64::from(u8::from(is_up)));
    in_use.set_for(&label, frontend.in_use as f64);
}

/// Sets every other gauge from where things stand; `now` is in seconds since 1970.
pub fn gauge(status: &Status, now: u64) {
    let flag = |is: bool| f64::from(u8::from(is));
    let age = |at: Option<u64>| at.map_or(0.0, |at| now.saturating_sub(at) as f64);
    for state in State::ALL {
        Metric::State.set_for(&[("state", state.word())], flag(state.word() == status.state));
    }
    Metric::StateStartTime.set(status.since as f64);
    Metric::HeldByOperator.set(flag(status.held_by_operator));
    Metric::MasterConnected.set(flag(status.master.connected));
    Metric::BarrierAge.set(age(status.last_barrier.or(Some(status.started))));
    Metric::ListEntries.set(status.entries as f64);
    Metric::ListReservations.set(status.reserved as f64);
    Metric::StorePoisoned.set(flag(status.store.poisoned.is_some()));
    Metric::JournalNames.set(status.journal as f64);
    Metric::JournalRecords.set(status.journal_detail.records as f64);
    Metric::JournalAge.set(age(status.journal_detail.oldest));
    Metric::ReplayPending.set(status.replaying as f64);
    Metric::Conflicts.set(status.conflicts as f64);
    Metric::Unconfirmed.set(status.unconfirmed as f64);
    Metric::Doubts.set(status.doubts as f64);
    Metric::Streams.set(status.streams as f64);
    let lag = status.stream_detail.iter().map(|stream| stream.lag).max().unwrap_or(0);
    Metric::StreamLagMax.set(lag as f64);
    if let Some(lmtp) = &status.lmtp {
        deliveries(lmtp);
    }
    if let Some(clients) = &status.imap {
        imap(clients);
    }
    if let Some(waiting) = &status.queue {
        queue(waiting, now);
    }
    Metric::BuildInfo.set_for(&[("version", status.version.clone())], 1.0);
    Metric::StartTime.set(status.started as f64);
}

fn queue(queue: &QueueStatus, now: u64) {
    let flag = |is: bool| f64::from(u8::from(is));
    Metric::QueueMessages.set(queue.messages as f64);
    Metric::QueueBytes.set(queue.bytes as f64);
    Metric::QueueOldestAge.set(queue.oldest.map_or(0.0, |at| now.saturating_sub(at) as f64));
    Metric::QueueHeld.set(queue.held as f64);
    Metric::QueueFailed.set(queue.failed as f64);
    Metric::QueueQuarantined.set(queue.quarantined as f64);
    if let Some(free) = queue.free_bytes {
        Metric::QueueFreeBytes.set(free as f64);
    }
    Metric::QueueAccepting.set(flag(queue.poisoned.is_none() && queue.full.is_none()));
    Metric::QueuePoisoned.set(flag(queue.poisoned.is_some()));
}

fn imap(imap: &ImapStatus) {
    Metric::ImapSessions.set(imap.sessions as f64);
    Metric::ImapBytes.counted_for(&[("to", "frontends")], imap.bytes_to_frontends);
    Metric::ImapBytes.counted_for(&[("to", "clients")], imap.bytes_to_clients);
    Metric::GhostsRemoved.counted_for::<&str>(&[], imap.ghosts_forgotten);
    for (server, count) in &imap.without_master {
        Metric::WithoutMaster.counted_for(&[("server", server.clone())], *count);
    }
}

fn deliveries(lmtp: &LmtpStatus) {
    Metric::LmtpSessions.set(lmtp.sessions as f64);
    let outcomes = [
        ("delivered", lmtp.delivered),
        ("queued", lmtp.queued),
        ("deferred", lmtp.deferred),
        ("refused", lmtp.refused),
    ];
    for (outcome, so_far) in outcomes {
        Metric::LmtpRecipients.counted_for(&[("outcome", outcome)], so_far);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metric::STATES;

    #[test]
    fn the_states_of_the_metrics_are_those_of_the_machine() {
        assert_eq!(State::ALL.map(State::word), STATES);
    }

    #[test]
    fn what_comes_and_goes_is_shown_while_it_is_there() {
        let stream = |peer: &str, lag| {
            let (peer, identity) = (peer.to_owned(), "murder".to_owned());
            StreamStatus { peer, identity, since: 0, written_seq: 0, lag }
        };
        let json = serde_json::json!({
            "state": "following", "since": 0, "reason": "", "held_by_operator": false, "entries": 3, "journal": 0,
            "conflicts": 0, "streams": 0, "unconfirmed": 0, "doubts": 0, "replaying": 0, "last_barrier": null,
            "master": { "address": "mm:3905", "connected": true, "servername": null, "version": null, "last_error": null },
            "journal_detail": { "records": 0, "oldest": null }, "conflict_detail": [], "stream_detail": [],
            "store": { "seq": 1, "complete": true, "poisoned": null }, "imap": null, "history": [],
            "version": "0", "started": 0, "now": 0,
        });
        let mut status: Status = serde_json::from_value(json).unwrap();
        status.stream_detail =
            vec![stream("192.0.2.1:40", 3), stream("192.0.2.1:41", 7), stream("[2001:db8::1]:9", 0)];
        let shown = passing(&status);
        assert!(shown.contains("# TYPE ravenry_stream_lag gauge\n"), "{shown}");
        assert!(shown.contains("ravenry_stream_lag{peer=\"192.0.2.1\"} 7\n"), "{shown}");
        assert!(shown.contains("ravenry_stream_lag{peer=\"2001:db8::1\"} 0\n"), "{shown}");
        status.stream_detail.remove(2);
        assert!(!passing(&status).contains("2001:db8"), "a stream that ended");
    }
}
