//! The configuration file: one TOML file, every key documented in `ravenry.example.toml`.

mod backends;
mod changes;
mod check;
mod descriptors;
mod imap;
mod lmtp;
mod reach;
mod spool;
mod units;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use backends::Backends;
pub use changes::{Changes, Keys};
pub use check::{Finding, Severity};
pub use descriptors::{Descriptors, PACKAGED};
pub use imap::Imap;
pub use lmtp::{Lmtp, Names, Upstream, VirtualDomains};
pub use reach::Reach;
pub use spool::Spool;
pub use units::{Size, Span};

/// Where the file is looked for unless the command line says otherwise.
pub const DEFAULT_PATH: &str = "/etc/ravenry/ravenry.toml";

/// MUPDATE's port (RFC 3656 §6).
pub const MUPDATE_PORT: u16 = 3905;

/// Why there is no configuration; the operator's file is at fault.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// It is no TOML, or holds what Ravenry does not know.
    #[error("{}:{line}:{column}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong, with a suggestion where there is one.
        why: String,
    },
}

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether the murder is served.
    #[serde(default)]
    pub mode: Mode,
    /// What is logged, such as `info,ravenry::mupdate=debug`.
    #[serde(default = "defaults::log")]
    pub log: String,
    /// Everything of a run lives here.
    #[serde(default = "defaults::state_dir")]
    pub state_dir: PathBuf,
    /// A list on disk that was last served longer ago than this is not believed before it was compared.
    #[serde(default = "defaults::max_unattended")]
    pub max_unattended: Span,
    /// The face to the murder.
    pub mupdate: Mupdate,
    /// The real master.
    pub master: Master,
    /// When a master's list is not believed.
    #[serde(default)]
    pub guard: Guard,
    /// What the master is given when it returns.
    #[serde(default)]
    pub replay: Replay,
    /// The list on disk.
    #[serde(default)]
    pub store: Store,
    /// The face to the MTA.
    pub lmtp: Option<Lmtp>,
    /// Deliveries that wait.
    #[serde(default)]
    pub spool: Spool,
    /// The face to mail clients.
    pub imap: Option<Imap>,
    /// How backends are asked what they hold.
    pub backends: Option<Backends>,
    /// The control socket.
    #[serde(default)]
    pub admin: Admin,
    /// Metrics for Prometheus.
    pub metrics: Option<Metrics>,
}

/// What a run is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Stand between the murder and its master.
    #[default]
    Serve,
    /// Follow the master, keep the list, count what would have been done; listen for nobody and change nothing.
    Shadow,
}

impl Config {
    /// The same for a run in the shadow of the murder: no face listens.
    #[must_use]
    pub fn without_faces(mut self) -> Self {
        self.mupdate.listen.clear();
        self.mupdate.frontends = None;
        Self { lmtp: None, imap: None, ..self }
    }

    /// Where the frontends' slaves answer: at the port of MUPDATE of every frontend that is configured for mail and mail
    /// clients, unless `mupdate.frontends` says otherwise.
    pub fn slaves(&self) -> Vec<String> {
        if let Some(frontends) = &self.mupdate.frontends {
            return frontends.clone();
        }
        let lmtp = self.lmtp.iter().flat_map(|lmtp| &lmtp.frontends);
        let imap = self.imap.iter().flat_map(|imap| &imap.frontends);
        let hosts: BTreeSet<&str> = lmtp
            .chain(imap)
            .filter(|address| !address.starts_with("unix:"))
            .filter_map(|address| address.rsplit_once(':').map(|(host, _)| host))
            .collect();
        hosts.into_iter().map(|host| format!("{host}:{MUPDATE_PORT}")).collect()
    }
}

/// `[mupdate]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mupdate {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Who may log in; written by `ravenry user add`.
    pub users_file: PathBuf,
    /// Where the frontends' own mupdate slaves answer, `host:port`: asked whether they have stored a change. See
    /// [`Config::slaves`].
    pub frontends: Option<Vec<String>>,
    /// PLAIN without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Nobody logs in without TLS.
    #[serde(default)]
    pub require_tls: bool,
    /// What the banner calls us.
    pub servername: Option<String>,
    /// PEM file of the certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's key.
    pub key: Option<PathBuf>,
    /// How long a client may take to log in.
    #[serde(default = "defaults::login_timeout")]
    pub login_timeout: Span,
    /// How long a failed login waits for its answer.
    #[serde(default = "defaults::failed_login_delay")]
    pub failed_login_delay: Span,
    /// How long a stream may take nothing of what it is sent.
    #[serde(default = "defaults::write_stall")]
    pub write_stall: Span,
    /// Connections at a time that are logged in.
    #[serde(default = "defaults::max_connections")]
    pub max_connections: usize,
    /// And that are not; who comes then takes the place of another.
    #[serde(default = "defaults::max_unauthenticated")]
    pub max_unauthenticated: usize,
}

/// `[master]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// `host:port`
    pub address: String,
    /// One of the master's `admins`.
    pub user: String,
    /// A file with the user's password.
    pub password_file: PathBuf,
    /// Demand STARTTLS, and check the certificate against these authorities (PEM).
    pub tls_ca_file: Option<PathBuf>,
    /// How long the master may take to answer before it counts as lost.
    #[serde(default = "defaults::deadline")]
    pub deadline: Span,
    /// The same for a minute after it was lost.
    #[serde(default = "defaults::short_deadline")]
    pub short_deadline: Span,
    /// Connections that carry writes.
    #[serde(default = "defaults::connections")]
    pub connections: usize,
}

/// `[guard]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Guard {
    /// Part of the list that may be missing or moved, 0 to 1.
    pub share: f64,
    /// So many names are never suspicious.
    pub at_least: u64,
    /// More names always are.
    pub at_most: u64,
    /// Deletes that the master makes on its own account within this time are counted together.
    pub burst: Span,
}

impl Default for Guard {
    fn default() -> Self {
        Self { share: 0.01, at_least: 10, at_most: 100, burst: Span::seconds(60) }
    }
}

/// `[replay]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replay {
    /// Names given to the master at once.
    pub concurrency: usize,
    /// Names given to the master in a second at most; 0: as many as it takes.
    pub rate: usize,
    /// How long a deactivated mailbox waits for the rest of its XFER.
    pub postpone: Span,
}

impl Default for Replay {
    fn default() -> Self {
        Self { concurrency: 32, rate: 0, postpone: Span::seconds(60) }
    }
}

/// `[store]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Memory for the list's pages.
    pub cache: Size,
    /// Look-ups that are remembered.
    pub hot_entries: usize,
    /// How long it is remembered who changed a name; 0: not at all.
    pub history: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self { cache: Size::mebibytes(64), hot_entries: 100_000, history: Span::seconds(30 * 24 * 3600) }
    }
}

/// `[admin]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// The control socket; who may open it may give orders.
    pub socket: PathBuf,
}

impl Default for Admin {
    fn default() -> Self {
        Self { socket: "/run/ravenry/admin.sock".into() }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where Prometheus finds `/metrics`.
    pub listen: SocketAddr,
}

mod defaults {
    use super::Span;
    use std::path::PathBuf;

    pub(super) fn log() -> String {
        "info".into()
    }
    pub(super) fn state_dir() -> PathBuf {
        "/var/lib/ravenry".into()
    }
    pub(super) fn max_unattended() -> Span {
        Span::seconds(3600)
    }
    pub(super) fn login_timeout() -> Span {
        Span::seconds(30)
    }
    pub(super) fn failed_login_delay() -> Span {
        Span::seconds(3)
    }
    pub(super) fn write_stall() -> Span {
        Span::seconds(30)
    }
    pub(super) fn max_connections() -> usize {
        10_000
    }
    pub(super) fn max_unauthenticated() -> usize {
        5_000
    }
    pub(super) fn deadline() -> Span {
        Span::seconds(2)
    }
    pub(super) fn short_deadline() -> Span {
        Span::milliseconds(500)
    }
    pub(super) fn connections() -> usize {
        8
    }
}

impl Config {
    /// Reads and parses the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text, path)
    }

    /// Parses a file's text; `path` is for messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let why = in_one_line(&with_suggestion(error.message().trim_end()));
            ConfigError::Malformed { path: path.to_owned(), line, column, why }
        })
    }
}

/// A quoted key may hold line ends and other control characters, which neither a log nor a terminal should get.
fn in_one_line(message: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().collect() } else { c.to_string() };
    message.chars().map(escaped).collect()
}

/// "unknown field `listn`, expected one of `listen`, …" becomes "unknown key `listn`, did you mean `listen`?".
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = quoted.next().filter(|_| message.starts_with("unknown field")) else {
        return message.to_owned();
    };
    let near = quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 3)
        .min();
    match near {
        Some((_, known)) => format!("unknown key `{unknown}`, did you mean `{known}`?"),
        None => message.replacen("unknown field", "unknown key", 1),
    }
}

#[cfg(test)]
mod tests;
