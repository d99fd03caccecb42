//! Metrics: every name in one place. Base units; no label that names a user or a mailbox.

use std::net::SocketAddr;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::admin::status::Status;
use crate::authority::machine::State;

/// Every metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// One series per state; 1 for the present one.
    State,
    /// Names in the list.
    ListEntries,
    /// Names whose changes the master has not been given yet.
    JournalNames,
    /// Age of the oldest of them.
    JournalAgeSeconds,
    /// Names that a person has to decide about.
    Conflicts,
    /// Names kept although the master's list takes them away.
    Unconfirmed,
    /// Writes to the master of unknown outcome.
    Doubts,
    /// Frontends connected to the stream.
    Streams,
    /// Changes that the slowest stream still has to be sent.
    StreamLagMax,
    /// 1 while the stream from the master is up.
    MasterConnected,
    /// Time since a NOOP of the master last proved that our list is its list.
    BarrierAgeSeconds,
    /// 1 when the store has failed.
    StorePoisoned,
    /// Clients of the face to the MTA.
    LmtpSessions,
    /// Recipients by what they were answered (label `outcome`), since the start.
    LmtpRecipients,
    /// Per frontend: 1 while it gets mail.
    LmtpFrontendUp,
    /// Per frontend: connections in use.
    LmtpFrontendConnections,
    /// Always 1; the version is a label.
    BuildInfo,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::State,
        Self::ListEntries,
        Self::JournalNames,
        Self::JournalAgeSeconds,
        Self::Conflicts,
        Self::Unconfirmed,
        Self::Doubts,
        Self::Streams,
        Self::StreamLagMax,
        Self::MasterConnected,
        Self::BarrierAgeSeconds,
        Self::StorePoisoned,
        Self::LmtpSessions,
        Self::LmtpRecipients,
        Self::LmtpFrontendUp,
        Self::LmtpFrontendConnections,
        Self::BuildInfo,
    ];

    /// The name that Prometheus knows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "ravenry_state",
            Self::ListEntries => "ravenry_list_entries",
            Self::JournalNames => "ravenry_journal_names",
            Self::JournalAgeSeconds => "ravenry_journal_age_seconds",
            Self::Conflicts => "ravenry_conflicts",
            Self::Unconfirmed => "ravenry_unconfirmed",
            Self::Doubts => "ravenry_doubts",
            Self::Streams => "ravenry_streams",
            Self::StreamLagMax => "ravenry_stream_lag_max",
            Self::MasterConnected => "ravenry_master_connected",
            Self::BarrierAgeSeconds => "ravenry_barrier_age_seconds",
            Self::StorePoisoned => "ravenry_store_poisoned",
            Self::LmtpSessions => "ravenry_lmtp_sessions",
            Self::LmtpRecipients => "ravenry_lmtp_recipients_total",
            Self::LmtpFrontendUp => "ravenry_lmtp_frontend_up",
            Self::LmtpFrontendConnections => "ravenry_lmtp_frontend_connections",
            Self::BuildInfo => "ravenry_build_info",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::State => "Who decides about the namespace; 1 for the present state",
            Self::ListEntries => "Names in the mailbox list",
            Self::JournalNames => "Names whose changes the master has not been given yet",
            Self::JournalAgeSeconds => "Age of the oldest change that the master has not been given yet",
            Self::Conflicts => "Names that differ here and at the master, for a person to decide",
            Self::Unconfirmed => "Names kept although the master's list lacks, hides or moves them",
            Self::Doubts => "Writes to the master whose outcome is unknown",
            Self::Streams => "Frontends connected to the stream",
            Self::StreamLagMax => "Changes that the slowest stream still has to be sent",
            Self::MasterConnected => "1 while the stream from the master is up",
            Self::BarrierAgeSeconds => "Time since a NOOP of the master proved that our list is its list",
            Self::StorePoisoned => "1 when the store has failed and nothing more is promised",
            Self::LmtpSessions => "Clients of the face to the MTA",
            Self::LmtpRecipients => "Recipients by what they were answered, since the start",
            Self::LmtpFrontendUp => "1 while a frontend gets mail",
            Self::LmtpFrontendConnections => "Connections to a frontend that are in use",
            Self::BuildInfo => "Always 1; the version is a label",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::JournalAgeSeconds | Self::BarrierAgeSeconds => Unit::Seconds,
            _ => Unit::Count,
        }
    }
}

/// Serves `/metrics` on an address.
pub fn serve(listen: SocketAddr) -> Result<(), String> {
    let builder = PrometheusBuilder::new().with_http_listener(listen);
    builder.install().map_err(|error| format!("metrics at {listen}: {error}"))?;
    for metric in Metric::ALL {
        if metric.name().ends_with("_total") {
            describe_counter!(metric.name(), metric.unit(), metric.help());
        } else {
            describe_gauge!(metric.name(), metric.unit(), metric.help());
        }
    }
    Ok(())
}

/// Sets every gauge from where things stand; `now` is in seconds since 1970.
pub fn record(status: &Status, now: u64) {
    for state in State::ALL {
        let present = f64::from(u8::from(state.word() == status.state));
        gauge!(Metric::State.name(), "state" => state.word()).set(present);
    }
    let set = |metric: Metric, value: f64| gauge!(metric.name()).set(value);
    let age = |at: Option<u64>| at.map_or(0.0, |at| now.saturating_sub(at) as f64);
    set(Metric::ListEntries, status.entries as f64);
    set(Metric::JournalNames, status.journal as f64);
    set(Metric::JournalAgeSeconds, age(status.journal_detail.oldest));
    set(Metric::Conflicts, status.conflicts as f64);
    set(Metric::Unconfirmed, status.unconfirmed as f64);
    set(Metric::Doubts, status.doubts as f64);
    set(Metric::Streams, status.streams as f64);
    let lag = status.stream_detail.iter().map(|stream| stream.lag).max().unwrap_or(0);
    set(Metric::StreamLagMax, lag as f64);
    set(Metric::MasterConnected, f64::from(u8::from(status.master.connected)));
    set(Metric::BarrierAgeSeconds, age(status.last_barrier.or(Some(status.started))));
    set(Metric::StorePoisoned, f64::from(u8::from(status.store.poisoned.is_some())));
    if let Some(lmtp) = &status.lmtp {
        set(Metric::LmtpSessions, lmtp.sessions as f64);
        let outcomes = [
            ("delivered", lmtp.delivered),
            ("queued", lmtp.queued),
            ("deferred", lmtp.deferred),
            ("refused", lmtp.refused),
        ];
        for (outcome, count) in outcomes {
            counter!(Metric::LmtpRecipients.name(), "outcome" => outcome).absolute(count);
        }
        for frontend in &lmtp.frontends {
            let up = f64::from(u8::from(frontend.down.is_none() && !frontend.drained));
            let address = || frontend.address.clone();
            gauge!(Metric::LmtpFrontendUp.name(), "frontend" => address()).set(up);
            let in_use = frontend.in_use as f64;
            gauge!(Metric::LmtpFrontendConnections.name(), "frontend" => address()).set(in_use);
        }
    }
    gauge!(Metric::BuildInfo.name(), "version" => status.version.clone()).set(1.0);
}
