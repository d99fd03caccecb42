//! Every metric's name, in one place, with what monitors and people need to know of it.
//!
//! A leaf: any room may count here, and this room knows none of them. Base units; `_total` for what only grows; no
//! label names a user or a mailbox. `docs/metrics.md` is made from this (`ravenry generate metrics`).

use std::time::Duration;

use metrics::{
    SharedString, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// Who decides about the namespace, in words.
pub const STATES: &[&str] = &["learning", "following", "standing-in", "replaying", "holding"];
/// What is asked for, in words.
pub const COMMANDS: &[&str] = &["activate", "reserve", "deactivate", "delete"];
/// How it ends.
pub const OUTCOMES: &[&str] = &["done", "refused", "unavailable"];
/// A label whose values are not known beforehand. Whoever counts keeps them few.
const OPEN: &[&str] = &[];

/// Upper bounds of the buckets of a duration, in seconds.
pub const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What kind of number a metric is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until the process ends.
    Counter,
    /// Durations, in [`BUCKETS`].
    Histogram,
}

impl Kind {
    /// Prometheus's word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// A label and its values; no values where they are not known beforehand.
pub type LabelValues = (&'static str, &'static [&'static str]);

struct Facts {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    labels: &'static [LabelValues],
    help: &'static str,
}

macro_rules! metrics {
    ($($(#[$doc:meta])* $variant:ident = $kind:ident $name:literal in $unit:ident by $labels:expr, $help:literal;)+) => {
        /// Every metric.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Metric {
            $(#[doc = $help] $variant,)+
        }

        impl Metric {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$variant => Facts {
                        name: $name,
                        kind: Kind::$kind,
                        unit: Unit::$unit,
                        labels: $labels,
                        help: $help,
                    },)+
                }
            }
        }
    };
}

metrics! {
    State = Gauge "ravenry_state" in Count by &[("state", STATES)],
        "Who decides about the namespace; 1 for the present state";
    StateStartTime = Gauge "ravenry_state_start_time_seconds" in Seconds by &[],
        "When the present state began, in seconds since 1970";
    StateChanges = Counter "ravenry_state_changes_total" in Count by &[("from", STATES), ("to", STATES)],
        "Changes of state; from following or replaying to standing-in, the master was lost";
    HeldByOperator = Gauge "ravenry_held_by_operator" in Count by &[],
        "1 while `ravenry stand-in` keeps Ravenry deciding, whatever the master says";
    MasterConnected = Gauge "ravenry_master_connected" in Count by &[],
        "1 while the stream from the master is up";
    BarrierAge = Gauge "ravenry_barrier_age_seconds" in Seconds by &[],
        "Time since a NOOP of the master proved that our list is its list";
    ListEntries = Gauge "ravenry_list_entries" in Count by &[],
        "Names in the mailbox list";
    ListReservations = Gauge "ravenry_list_reservations" in Count by &[],
        "Of them, those that are only reserved: a mailbox is being made or moved, or was not";
    Writes = Counter "ravenry_writes_total" in Count by
        &[("command", COMMANDS), ("outcome", OUTCOMES), ("state", STATES)],
        "Changes that the murder asked for, by the state in which they were answered; `unavailable` is neither yes nor no";
    WriteDuration = Histogram "ravenry_write_duration_seconds" in Seconds by &[("state", STATES)],
        "Time from a change being asked for to its answer";
    CommitDuration = Histogram "ravenry_store_commit_duration_seconds" in Seconds by &[],
        "Time from changes being handed to the store until they are durable";
    StorePoisoned = Gauge "ravenry_store_poisoned" in Count by &[],
        "1 when the store has failed and nothing more is promised on it";
    JournalNames = Gauge "ravenry_journal_names" in Count by &[],
        "Names whose changes the master has not been given yet";
    JournalRecords = Gauge "ravenry_journal_records" in Count by &[],
        "Changes that the master has not been given yet";
    JournalAge = Gauge "ravenry_journal_age_seconds" in Seconds by &[],
        "Age of the oldest change that the master has not been given yet; 0 when there is none";
    ReplayPending = Gauge "ravenry_replay_pending" in Count by &[],
        "Names still to be compared with a returned master's list";
    ReplaySteps = Counter "ravenry_replay_steps_total" in Count by &[],
        "Names that were compared with a returned master's list and settled";
    Conflicts = Gauge "ravenry_conflicts" in Count by &[],
        "Names that differ here and at the master, for a person to decide";
    ConflictsFound = Counter "ravenry_conflicts_found_total" in Count by &[],
        "Conflicts that were recorded";
    Unconfirmed = Gauge "ravenry_unconfirmed" in Count by &[],
        "Names kept although the master's list lacks, hides or moves them";
    Doubts = Gauge "ravenry_doubts" in Count by &[],
        "Writes to the master whose outcome is unknown";
    GuardTrips = Counter "ravenry_guard_trips_total" in Count by &[],
        "Lists of the master that were not believed";
    CrashesAverted = Counter "ravenry_crashes_averted_total" in Count by &[],
        "Deletes sent to the master of names that it did not hold; sent by a backend, each would have crashed it";
    BypassedChanges = Counter "ravenry_bypassed_changes_total" in Count by &[("server", OPEN)],
        "Changes made at the master behind Ravenry's back, by the server in the mailbox's location";
    ShadowedChanges = Counter "ravenry_shadowed_changes_total" in Count by &[("server", OPEN)],
        "In shadow mode: changes that Ravenry would have had to decide about or forward, by the server in the mailbox's location";
    Streams = Gauge "ravenry_streams" in Count by &[],
        "Frontends connected to the stream";
    StreamLagMax = Gauge "ravenry_stream_lag_max" in Count by &[],
        "Changes that the slowest stream still has to be sent";
    StreamLag = Gauge "ravenry_stream_lag" in Count by &[("peer", OPEN)],
        "Changes that a stream still has to be sent, by the address of the host that logged in; gone when its stream ends";
    StreamMisses = Counter "ravenry_stream_misses_total" in Count by &[],
        "Times that a change was answered OK although a frontend did not have it yet: the frontend had not taken it in time";
    LmtpSessions = Gauge "ravenry_lmtp_sessions" in Count by &[],
        "Clients of the face to the MTA";
    LmtpRecipients = Counter "ravenry_lmtp_recipients_total" in Count by
        &[("outcome", &["delivered", "queued", "deferred", "refused"])],
        "Recipients by what they were answered";
    LmtpFrontendUp = Gauge "ravenry_lmtp_frontend_up" in Count by &[("frontend", OPEN)],
        "1 while a frontend gets mail";
    LmtpFrontendConnections = Gauge "ravenry_lmtp_frontend_connections" in Count by &[("frontend", OPEN)],
        "Connections to a frontend that are in use";
    QueueMessages = Gauge "ravenry_queue_messages" in Count by &[],
        "Messages that were accepted and could not be placed yet";
    QueueBytes = Gauge "ravenry_queue_bytes" in Bytes by &[],
        "Bytes of their texts";
    QueueOldestAge = Gauge "ravenry_queue_oldest_age_seconds" in Seconds by &[],
        "Age of the oldest of them; 0 when there is none";
    QueueHeld = Gauge "ravenry_queue_held" in Count by &[],
        "Queued messages that an operator holds";
    QueueFailed = Gauge "ravenry_queue_failed" in Count by &[],
        "Queued messages that can be neither delivered nor returned";
    QueueQuarantined = Gauge "ravenry_queue_quarantined" in Count by &[],
        "Damaged records of the queue that were kept aside";
    QueueFreeBytes = Gauge "ravenry_queue_free_bytes" in Bytes by &[],
        "Bytes that are free on the queue's disk";
    QueueAccepting = Gauge "ravenry_queue_accepting" in Count by &[],
        "1 while the queue would take a message";
    QueuePoisoned = Gauge "ravenry_queue_poisoned" in Count by &[],
        "1 when the queue's disk has failed and nothing more is accepted";
    QueueFsyncDuration = Histogram "ravenry_queue_fsync_duration_seconds" in Seconds by &[],
        "Time that the queue's disk takes to make a group of messages durable";
    QueueDeliveries = Counter "ravenry_queue_deliveries_total" in Count by
        &[("outcome", &["delivered", "deferred", "refused", "expired"])],
        "What became of recipients when a queued message was tried";
    QueueReports = Counter "ravenry_queue_reports_total" in Count by &[],
        "Reports to senders whose message was not delivered";
    ImapSessions = Gauge "ravenry_imap_sessions" in Count by &[],
        "Mail clients connected, those that are logging in among them";
    ImapLogins = Counter "ravenry_imap_logins_total" in Count by &[("outcome", OUTCOMES)],
        "Logins of mail clients; `refused` is a frontend's word, `unavailable` says that no frontend answered";
    ImapBytes = Counter "ravenry_imap_bytes_total" in Bytes by &[("to", &["frontends", "clients"])],
        "Bytes that passed behind logins";
    ImapFrontendUp = Gauge "ravenry_imap_frontend_up" in Count by &[("frontend", OPEN)],
        "1 while a frontend gets mail clients";
    ImapFrontendSessions = Gauge "ravenry_imap_frontend_sessions" in Count by &[("frontend", OPEN)],
        "Mail clients' sessions at a frontend";
    GhostsRemoved = Counter "ravenry_ghosts_removed_total" in Count by &[],
        "Mailboxes that nobody holds and that were taken off the list";
    WithoutMaster = Counter "ravenry_imap_without_master_total" in Count by &[("server", OPEN)],
        "Commands that a backend refused because it had no word from its mupdate master, by that backend; `?` where it is not known";
    CertificateEnd = Gauge "ravenry_certificate_end_time_seconds" in Seconds by &[("certificate", OPEN)],
        "When the certificate that is shown to clients ends, in seconds since 1970; by its file";
    BuildInfo = Gauge "ravenry_build_info" in Count by &[("version", OPEN)],
        "Always 1; the version is a label";
    StartTime = Gauge "ravenry_start_time_seconds" in Seconds by &[],
        "When this process started, in seconds since 1970";
    ConfigReloadSuccess = Gauge "ravenry_config_last_reload_successful" in Count by &[],
        "1 when the configuration in use is the one that was last asked for";
    ConfigReloadTime = Gauge "ravenry_config_last_reload_success_time_seconds" in Seconds by &[],
        "When a configuration was last taken, in seconds since 1970";
    ConfigRestartNeeded = Gauge "ravenry_config_restart_needed" in Count by &[],
        "Keys of the configuration that were changed and reloaded, and count only after a restart";
}

impl Metric {
    /// The name that Prometheus knows.
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// What kind of number it is.
    pub const fn kind(self) -> Kind {
        self.facts().kind
    }

    /// What it tells.
    pub const fn help(self) -> &'static str {
        self.facts().help
    }

    /// Its labels.
    pub const fn labels(self) -> &'static [LabelValues] {
        self.facts().labels
    }

    /// The series that Prometheus keeps for it, as names.
    pub fn series(self) -> Vec<String> {
        match self.kind() {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", self.name())).into()
            }
            Kind::Gauge | Kind::Counter => vec![self.name().to_owned()],
        }
    }

    /// Sets a gauge.
    pub fn set(self, value: f64) {
        gauge!(self.name()).set(value);
    }

    /// Sets one series of a gauge.
    pub fn set_for<V: Into<SharedString> + Clone>(self, labels: &[(&'static str, V)], value: f64) {
        gauge!(self.name(), labels).set(value);
    }

    /// Counts one, or some.
    pub fn count(self, more: u64) {
        counter!(self.name()).increment(more);
    }

    /// Counts in one series.
    pub fn count_for<V: Into<SharedString> + Clone>(self, labels: &[(&'static str, V)], more: u64) {
        counter!(self.name(), labels).increment(more);
    }

    /// Takes over what was counted elsewhere, in one series.
    pub fn counted_for<V: Into<SharedString> + Clone>(self, labels: &[(&'static str, V)], so_far: u64) {
        counter!(self.name(), labels).absolute(so_far);
    }

    /// Takes a duration into a histogram.
    pub fn observe(self, duration: Duration) {
        histogram!(self.name()).record(duration);
    }

    /// Takes a duration into one series of a histogram.
    pub fn observe_for<V: Into<SharedString> + Clone>(
        self,
        labels: &[(&'static str, V)],
        duration: Duration,
    ) {
        histogram!(self.name(), labels).record(duration);
    }

    /// Tells the recorder what this is, and makes its counters start at 0: a rate needs a first value.
    pub fn describe(self) {
        let facts = self.facts();
        match facts.kind {
            Kind::Gauge => describe_gauge!(facts.name, facts.unit, facts.help),
            Kind::Counter => describe_counter!(facts.name, facts.unit, facts.help),
            Kind::Histogram => describe_histogram!(facts.name, facts.unit, facts.help),
        }
        if facts.kind == Kind::Counter {
            for labels in combinations(facts.labels) {
                self.count_for(&labels, 0);
            }
        }
    }
}

/// Every combination of the values of labels; none if one of them has values that are not known.
fn combinations(labels: &[LabelValues]) -> Vec<Vec<(&'static str, &'static str)>> {
    labels.iter().fold(vec![Vec::new()], |so_far, &(label, values)| {
        let with = |chosen: &Vec<_>, value| chosen.iter().copied().chain([(label, value)]).collect();
        so_far.iter().flat_map(|chosen| values.iter().map(move |value| with(chosen, *value))).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_what_prometheus_expects() {
        let mut seen = HashSet::new();
        for metric in Metric::ALL.iter().copied() {
            let name = metric.name();
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("ravenry_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
            if metric.facts().unit == Unit::Seconds {
                assert!(name.ends_with("_seconds"), "{name}");
            }
            for (label, _) in metric.labels() {
                assert!(!["user", "mailbox", "name"].contains(label), "{name} by {label}");
            }
        }
    }

    #[test]
    fn labels_with_known_values_are_combined_and_open_ones_are_not() {
        assert_eq!(combinations(&[]), [[]]);
        assert_eq!(combinations(&[("a", &["1", "2"]), ("b", &["3"])]).len(), 2);
        assert!(combinations(&[("a", &["1"]), ("server", OPEN)]).is_empty());
    }
}
