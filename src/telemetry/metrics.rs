//! The recorder behind `/metrics`, and the gauges that are read off where things stand.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::metric::{BUCKETS, Metric};
use crate::admin::status::{ImapStatus, LmtpStatus, QueueStatus, Status};
use crate::authority::machine::State;

/// Starts recording; the handle renders what `/metrics` shows.
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

/// Sets every gauge from where things stand; `now` is in seconds since 1970.
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
    for frontend in &imap.frontends {
        let label = [("frontend", frontend.address.clone())];
        let up = frontend.down.is_none() && !frontend.drained;
        Metric::ImapFrontendUp.set_for(&label, f64::from(u8::from(up)));
        Metric::ImapFrontendSessions.set_for(&label, frontend.in_use as f64);
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
    for frontend in &lmtp.frontends {
        let label = [("frontend", frontend.address.clone())];
        let up = frontend.down.is_none() && !frontend.drained;
        Metric::LmtpFrontendUp.set_for(&label, f64::from(u8::from(up)));
        Metric::LmtpFrontendConnections.set_for(&label, frontend.in_use as f64);
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
}
