//! Where things stand, in a form for people and scripts.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// The answer to `ravenry status`. Times are seconds since 1970.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// `learning`, `following`, `standing-in`, `replaying` or `holding`.
    pub state: String,
    /// Since when.
    pub since: u64,
    /// Why.
    pub reason: String,
    /// It runs in the shadow of the murder: nobody is served, nothing is changed.
    #[serde(default)]
    pub shadow: bool,
    /// An operator keeps it standing in.
    pub held_by_operator: bool,
    /// Names in the list.
    pub entries: u64,
    /// Of them, those that are only reserved.
    #[serde(default)]
    pub reserved: u64,
    /// Names whose changes the master has not been given yet.
    pub journal: u64,
    /// Names that a person has to decide about.
    pub conflicts: u64,
    /// Frontends connected to the stream.
    pub streams: usize,
    /// Names that the master's list lacks, hides or places elsewhere, kept until somebody confirms it.
    pub unconfirmed: u64,
    /// Writes to the master whose outcome is unknown.
    pub doubts: u64,
    /// Names with which something was under way when an earlier run of Ravenry was cut off.
    #[serde(default)]
    pub left_over: LeftOverStatus,
    /// Names still to be compared, while replaying.
    pub replaying: usize,
    /// When a NOOP of the master last proved that our list is its list.
    pub last_barrier: Option<u64>,
    /// The real master.
    pub master: MasterStatus,
    /// Details of the journal.
    pub journal_detail: JournalStatus,
    /// Up to a hundred of the conflicts.
    pub conflict_detail: Vec<ConflictStatus>,
    /// The streams.
    pub stream_detail: Vec<StreamStatus>,
    /// The list on disk.
    pub store: StoreStatus,
    /// Deliveries, where they are configured.
    #[serde(default)]
    pub lmtp: Option<LmtpStatus>,
    /// Mail clients, where they are served.
    pub imap: Option<ImapStatus>,
    /// What was accepted and could not be placed yet.
    #[serde(default)]
    pub queue: Option<QueueStatus>,
    /// What became of reloads.
    #[serde(default)]
    pub configuration: ConfigurationStatus,
    /// The last changes of state, the newest last.
    pub history: Vec<PassageStatus>,
    /// Of this program.
    pub version: String,
    /// When this process started.
    pub started: u64,
    /// When this was said: ages are to be counted from here.
    pub now: u64,
}

/// The configuration, as far as it is not what the file says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// Why the last reload changed nothing.
    pub failed: Option<String>,
    /// Keys that were changed since the start, and count only after a restart.
    pub restart_needed: Vec<String>,
}

impl ConfigurationStatus {
    /// In a line, if there is anything to know.
    pub fn in_words(&self) -> Option<String> {
        let failed = self.failed.as_ref().map(|why| format!("the last reload failed: {why}"));
        let keys = self.restart_needed.join(", ");
        let restart = (!keys.is_empty()).then(|| format!("in force after a restart: {keys}"));
        let words: Vec<String> = failed.into_iter().chain(restart).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

/// The real master.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MasterStatus {
    /// As configured.
    pub address: String,
    /// Whether the stream from it is up.
    pub connected: bool,
    /// From its banner.
    pub servername: Option<String>,
    /// From its banner.
    pub version: Option<String>,
    /// Why there is no connection.
    pub last_error: Option<String>,
}

/// The journal.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JournalStatus {
    /// Changes.
    pub records: u64,
    /// When the oldest was made.
    pub oldest: Option<u64>,
}

/// Deliveries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LmtpStatus {
    /// Clients connected.
    pub sessions: usize,
    /// Recipients that a frontend has taken, since the start.
    pub delivered: u64,
    /// Recipients that were queued.
    pub queued: u64,
    /// Recipients answered 4xx.
    pub deferred: u64,
    /// Recipients answered 5xx.
    pub refused: u64,
    /// The frontends.
    pub frontends: Vec<FrontendStatus>,
}

/// Mail clients.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ImapStatus {
    /// Connected, those that are logging in among them.
    pub sessions: usize,
    /// Ghosts that were taken off the list since the start.
    pub ghosts_forgotten: u64,
    /// Bytes that passed behind logins to frontends since the start.
    #[serde(default)]
    pub bytes_to_frontends: u64,
    /// And to clients.
    #[serde(default)]
    pub bytes_to_clients: u64,
    /// Commands that a backend refused because it had no word from its mupdate master, by server, since the start.
    pub without_master: BTreeMap<String, u64>,
    /// The frontends; `in_use` counts their sessions.
    pub frontends: Vec<FrontendStatus>,
}

/// The queue of deliveries.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Messages.
    pub messages: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// When the oldest came.
    pub oldest: Option<u64>,
    /// Messages that an operator holds.
    pub held: u64,
    /// Messages that can be neither delivered nor returned.
    pub failed: u64,
    /// Damaged records kept aside.
    pub quarantined: u64,
    /// Bytes of the log on disk.
    pub disk_bytes: u64,
    /// Bytes that are free on its disk.
    pub free_bytes: Option<u64>,
    /// Why nothing is accepted now, if there is too little room.
    pub full: Option<String>,
    /// Why nothing is accepted any more.
    pub poisoned: Option<String>,
}

/// A frontend that mail is delivered through, or that mail clients are passed on to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FrontendStatus {
    /// As configured.
    pub address: String,
    /// Why it is not used, if it does not answer as it should.
    pub down: Option<String>,
    /// Since when.
    pub down_since: Option<u64>,
    /// An operator keeps mail and sessions from it.
    pub drained: bool,
    /// Connections in use.
    pub in_use: usize,
}

/// One name in conflict. `None`: the name does not exist there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConflictStatus {
    /// The mailbox.
    pub name: String,
    /// Where we have it.
    pub ours: Option<String>,
    /// Where the master has it.
    pub theirs: Option<String>,
    /// Since when.
    pub since: u64,
}

/// What earlier runs left under way.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LeftOverStatus {
    /// How many names.
    pub count: u64,
    /// Whether the backends are asked how it ended: `[backends]` is configured.
    pub asked: bool,
    /// Up to a hundred of them.
    pub names: Vec<LeftOverName>,
}

/// One name with which something was under way. `None`: the name did or does not exist.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LeftOverName {
    /// The mailbox.
    pub name: String,
    /// Where it was before.
    pub before: Option<String>,
    /// Where it is now.
    pub now: Option<String>,
    /// Who had asked for it: the identity that logged in.
    pub identity: String,
    /// From which address.
    pub peer: String,
    /// When.
    pub since: u64,
}

/// One stream.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Address and port.
    pub peer: String,
    /// Who logged in.
    pub identity: String,
    /// Since when.
    pub since: u64,
    /// The last change written to it.
    pub written_seq: u64,
    /// Changes that wait for it.
    pub lag: usize,
}

/// A change of state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PassageStatus {
    /// When.
    pub at: u64,
    /// The state since then.
    pub state: String,
    /// Why.
    pub reason: String,
}

/// The list on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The last change.
    pub seq: u64,
    /// Whether a master ever completed the list.
    pub complete: bool,
    /// Why nothing more is written.
    pub poisoned: Option<String>,
}

fn ago(unix: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{} ago", span(now.saturating_sub(unix)))
}

/// So many seconds, as people say it.
pub fn span(seconds: u64) -> String {
    match seconds {
        s @ 0..=119 => format!("{s} s"),
        s @ 120..=7199 => format!("{} min", s / 60),
        s @ 7200..=172_799 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

impl fmt::Display for FrontendStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drained = if self.drained { ", drained by an operator" } else { "" };
        match (&self.down, self.down_since) {
            (Some(why), Some(since)) => {
                write!(f, "{} down since {}: {why}{drained}", self.address, ago(since))
            }
            _ => write!(f, "{} up, {} connections in use{drained}", self.address, self.in_use),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<14} {value}");
        let held = if self.held_by_operator { ", held by an operator" } else { "" };
        if self.shadow {
            row("mode", "shadow: nobody is served, nothing is changed".into())?;
        }
        row("state", format!("{}{held}, since {}", self.state, ago(self.since)))?;
        row("reason", self.reason.clone())?;
        let master = &self.master;
        row(
            "master",
            match (&master.last_error, &master.servername) {
                (Some(error), _) if !master.connected => format!("{}: {error}", master.address),
                (_, Some(name)) if master.connected => {
                    format!("{} ({name}, {})", master.address, master.version.as_deref().unwrap_or("?"))
                }
                _ => format!("{}: not connected", master.address),
            },
        )?;
        row("last barrier", self.last_barrier.map_or("never".into(), ago))?;
        let reserved =
            if self.reserved > 0 { format!(", {} only reserved", self.reserved) } else { String::new() };
        row("list", format!("{} names{reserved}", self.entries))?;
        let oldest = self.journal_detail.oldest.map(|at| format!(", the oldest {}", ago(at)));
        row("journal", format!("{} names pending{}", self.journal, oldest.unwrap_or_default()))?;
        row("in doubt", self.doubts.to_string())?;
        row("unconfirmed", self.unconfirmed.to_string())?;
        row("conflicts", self.conflicts.to_string())?;
        for conflict in &self.conflict_detail {
            let side = |place: &Option<String>| place.clone().unwrap_or_else(|| "nowhere".into());
            let (ours, theirs) = (side(&conflict.ours), side(&conflict.theirs));
            row("", format!("{}: here {ours}, at the master {theirs}", conflict.name))?;
        }
        let left = &self.left_over;
        if left.count > 0 {
            let how = if left.asked {
                "the backends are asked"
            } else {
                "nobody asks the backends: see [backends]"
            };
            row("left over", format!("{} names of operations that were cut off; {how}", left.count))?;
            for name in &left.names {
                let side = |place: &Option<String>| place.clone().unwrap_or_else(|| "nowhere".into());
                let (before, now, peer) = (side(&name.before), side(&name.now), &name.peer);
                row("", format!("{}: was {before}, is {now}; {peer}, {}", name.name, ago(name.since)))?;
            }
        }
        row("streams", self.streams.to_string())?;
        for stream in &self.stream_detail {
            row("", format!("{} ({}), {} waiting", stream.peer, stream.identity, stream.lag))?;
        }
        if let Some(lmtp) = &self.lmtp {
            let (delivered, queued) = (lmtp.delivered, lmtp.queued);
            let (deferred, refused) = (lmtp.deferred, lmtp.refused);
            row(
                "deliveries",
                format!("{delivered} delivered, {queued} queued, {deferred} deferred, {refused} refused"),
            )?;
            for frontend in &lmtp.frontends {
                row("", frontend.to_string())?;
            }
        }
        if let Some(imap) = &self.imap {
            let ghosts = imap.ghosts_forgotten;
            row("mail clients", format!("{} sessions, {ghosts} ghosts taken off the list", imap.sessions))?;
            for (server, count) in &imap.without_master {
                row(
                    "",
                    format!("{server} had no word from its mupdate master {count} times: does it ask us?"),
                )?;
            }
            for frontend in &imap.frontends {
                row("", frontend.to_string())?;
            }
        }
        if let Some(queue) = &self.queue {
            let oldest = queue.oldest.map(|at| format!(", the oldest {}", ago(at))).unwrap_or_default();
            row("queue", format!("{} messages, {} bytes{oldest}", queue.messages, queue.bytes))?;
            let parts = [
                (queue.held, "held by an operator"),
                (queue.failed, "can be neither delivered nor returned: `ravenry queue list`"),
                (queue.quarantined, "damaged, in the spool's directory quarantine"),
            ];
            for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
                row("", format!("{count} {what}"))?;
            }
            match (&queue.poisoned, &queue.full) {
                (Some(cause), _) => row("", format!("FAILED, accepts nothing until a restart: {cause}"))?,
                (None, Some(why)) => row("", format!("accepts nothing now: {why}"))?,
                (None, None) => {}
            }
        }
        if let Some(cause) = &self.store.poisoned {
            row("store", format!("FAILED: {cause}"))?;
        }
        if let Some(words) = self.configuration.in_words() {
            row("configuration", words)?;
        }
        row("version", format!("{}, started {}", self.version, ago(self.started)))
    }
}
