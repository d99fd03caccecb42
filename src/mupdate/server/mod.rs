//! The face to the murder: to frontends and backends this is the mupdate master.
//!
//! | file | what |
//! |---|---|
//! | `listener` | accepting, limits, the registry of streams, stopping |
//! | `wire` | one connection's bytes: bounded reads, bounded writes |
//! | `login` | banner, STARTTLS, AUTHENTICATE |
//! | `session` | the commands of somebody who is logged in |
//! | `stream` | UPDATE: the whole list, then every change |
//! | `dump` | walking over the whole list, and the threads that do it |
//! | `disarm` | what `ctl_mboxlist -m` must not be told |
//! | `removals` | how many names a person lets a backend remove |
//! | `operation` | whether what a backend asked for came to its end |

pub(crate) mod disarm;
pub(crate) mod dump;
mod listener;
pub(crate) mod login;
pub(crate) mod operation;
mod removals;
pub(crate) mod session;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig as TlsConfig;

use crate::net::sasl::server::Gate;

pub use listener::{Server, StreamStatus};

/// How the face to the murder behaves.
#[derive(Clone)]
pub struct ServerConfig {
    /// What the banner calls us.
    pub servername: String,
    /// What the banner says of the version. Clients only show it; as a master's it must be Cyrus's.
    pub version: String,
    /// Who may log in. Everybody in there is an administrator: nobody else has business here.
    pub gate: Arc<Gate>,
    /// Whether PLAIN may be used without TLS.
    pub allow_plaintext: bool,
    /// Whether nobody logs in without TLS. Cyrus's clients use STARTTLS only where no mechanism is offered in clear.
    pub require_tls: bool,
    /// STARTTLS is offered when there is an identity for it.
    pub tls: Option<Arc<TlsConfig>>,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a failed login waits for its answer.
    pub failed_login_delay: Duration,
    /// How long a logged-in client may be silent; streams send NOOP more often.
    pub idle_timeout: Duration,
    /// How long a write to a client may make no progress.
    pub write_stall: Duration,
    /// How long a command may take to arrive, once it has begun to.
    pub command_timeout: Duration,
    /// Connections at a time that are logged in.
    pub max_connections: usize,
    /// And that are not; who comes then takes the place of another.
    pub max_unauthenticated: usize,
}

impl ServerConfig {
    /// The defaults.
    pub fn new(servername: impl Into<String>, gate: Arc<Gate>) -> Self {
        Self {
            servername: servername.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            gate,
            allow_plaintext: false,
            require_tls: false,
            tls: None,
            login_timeout: Duration::from_secs(30),
            failed_login_delay: Duration::from_secs(3),
            idle_timeout: Duration::from_secs(3 * 3600),
            write_stall: Duration::from_secs(30),
            command_timeout: Duration::from_secs(60),
            max_connections: 10_000,
            max_unauthenticated: 5_000,
        }
    }
}

/// Why a connection ended, for the log. None of it is told to a stream: those are closed bare (rule 2).
#[derive(Debug, thiserror::Error)]
enum Hangup {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("closed by the client")]
    Closed,
    #[error("{0}")]
    Fault(#[from] ravenry_parsers::mupdate::CommandFault),
    #[error("logged out")]
    Logout,
    #[error("silent for too long")]
    Idle,
    #[error("did not log in in time")]
    NoLogin,
    #[error("somebody else took the place of this stranger")]
    Displaced,
    #[error("too many connections")]
    Full,
    #[error("a command took too long to arrive")]
    Slow,
    #[error("did not take what it was sent")]
    Stalled,
    #[error("{0}")]
    Feed(#[from] crate::authority::feed::FeedError),
    #[error("there is no list that may be served")]
    Unserved,
    #[error("{0}")]
    Unreadable(#[from] crate::authority::facts::Unreadable),
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("stopping")]
    Stopping,
}

/// One client.
#[derive(Clone, Debug)]
struct Peer {
    address: SocketAddr,
}
