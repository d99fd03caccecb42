//! The face to the MTA, and the way of deliveries to the frontends.
//!
//! A message goes to a frontend while it comes in; a copy is kept until every recipient has its answer, so that what
//! the frontend does not take after all can be queued. On the healthy way nothing is made durable here: the 250 is
//! the frontend's own.
//!
//! | file | what |
//! |---|---|
//! | `listener` | accepting, limits, stopping |
//! | `wire` | one client's bytes, every wait bounded |
//! | `login` | STARTTLS, AUTH |
//! | `session` | the commands of one client |
//! | `message` | one message: recipients, text, one reply for each recipient |
//! | `knowledge` | what the list knows of recipients |
//! | `mailbox` | which mailbox an address means; pure |
//! | `decide` | what becomes of a recipient; pure |
//! | `tally` | how many recipients were answered what |
//! | `upstream` | the frontends |
//! | `replay` | deliveries out of the queue |
//! | `submission` | reports to the submission host |

pub mod decide;
mod knowledge;
mod listener;
mod login;
pub mod mailbox;
mod message;
mod replay;
mod session;
mod submission;
mod tally;
#[cfg(test)]
mod tests;
mod upstream;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig as TlsConfig;

use crate::net::address::Trust;
use crate::net::sasl::server::Gate;
use decide::Defer;
use mailbox::Naming;

pub use listener::{Face, Listener};
pub use replay::Replay;
pub use submission::Submission;
pub use tally::Answered;
pub use upstream::{
    FrontendStatus, Frontends, Hello, Shown, Trouble, UnknownFrontend, UpstreamConfig, visit,
};

/// How the face to the MTA behaves.
#[derive(Clone)]
pub struct FaceConfig {
    /// What we call ourselves.
    pub servername: String,
    /// Who needs no login.
    pub trusted: Vec<Trust>,
    /// Who else may deliver after logging in.
    pub gate: Option<Arc<Gate>>,
    /// Whether PLAIN may be used without TLS.
    pub allow_plaintext: bool,
    /// STARTTLS is offered when there is an identity for it.
    pub tls: Option<Arc<TlsConfig>>,
    /// What is done with what cannot be delivered now.
    pub defer: Defer,
    /// How the frontends name mailboxes.
    pub naming: Naming,
    /// The longest message taken, in bytes.
    pub max_message: u64,
    /// The most recipients of a message.
    pub max_recipients: usize,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long a client may take over a command, or to take a reply.
    pub command_timeout: Duration,
    /// How long a client may be silent within a message.
    pub data_timeout: Duration,
    /// How long a failed login waits for its answer.
    pub failed_login_delay: Duration,
}

impl FaceConfig {
    /// The defaults; nobody is trusted.
    pub fn new(servername: impl Into<String>) -> Self {
        Self {
            servername: servername.into(),
            trusted: Vec::new(),
            gate: None,
            allow_plaintext: false,
            tls: None,
            defer: Defer::default(),
            naming: Naming::default(),
            max_message: 1 << 30,
            max_recipients: 10_000,
            max_connections: 2_000,
            command_timeout: Duration::from_secs(300),
            data_timeout: Duration::from_secs(180),
            failed_login_delay: Duration::from_secs(3),
        }
    }
}

/// One client.
#[derive(Clone, Debug)]
struct Peer {
    /// `None` on a socket of this host.
    address: Option<IpAddr>,
    /// For logs and for `Received`.
    name: String,
    /// It needs no login.
    trusted: bool,
}

/// Why a connection ended, for the log.
#[derive(Debug, thiserror::Error)]
enum Hangup {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("closed by the client")]
    Closed,
    #[error("closed by the client within a message, which is forgotten")]
    CutOff,
    #[error("it said goodbye")]
    Quit,
    #[error("it was silent, or slow, for too long")]
    Slow,
    #[error("it did not take what it was sent")]
    Stalled,
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("it sent commands behind STARTTLS")]
    Injection,
    #[error("too many failed logins")]
    Guessing,
    #[error("too many errors")]
    Errors,
    #[error("stopping")]
    Stopping,
}
