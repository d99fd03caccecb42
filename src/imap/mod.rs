//! The face to mail clients: one address that stays up while frontends come and go.
//!
//! | file | what |
//! |---|---|
//! | `listener` | accepting, limits, the PROXY protocol, stopping |
//! | `login` | from a stranger to a session: greeting, STARTTLS, LOGIN, AUTHENTICATE |
//! | `frontends` | which frontends answer, and the way to one |
//! | `session` | one session from its login to its end |
//! | `watch` | what a session shows of the murder |
//! | `relay` | bytes between client and frontend, without buffers of its own |
//! | `conversation` | what passes, what is rewritten, what is noticed. Pure |
//! | `output` | what becomes of a chunk on its way. Pure |
//! | `outcome` | the commands whose outcome matters. Pure |
//! | `wire` | a connection before the relay: lines and commands, bounded |

mod conversation;
mod frontends;
mod listener;
mod login;
mod outcome;
mod output;
mod relay;
mod session;
#[cfg(test)]
mod tests;
mod watch;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ServerConfig as TlsConfig;

pub use frontends::{FrontendError, FrontendStatus, Health, Shown, visit};
pub use listener::{Listening, Proxy};

use crate::list::MailboxName;
use crate::net::address::Trust;
use crate::net::tls::ClientTls;

/// How the face to mail clients behaves.
#[derive(Clone, Debug)]
pub struct ImapConfig {
    /// The frontends, `host:port`.
    pub frontends: Vec<String>,
    /// How they are reached.
    pub frontend_tls: ClientTls,
    /// Tell them with the PROXY protocol (version 2) who the client is.
    pub announce_clients: bool,
    /// Who may tell us with the PROXY protocol who the client is; from them a header is demanded.
    pub balancers: Vec<Trust>,
    /// Passwords without TLS.
    pub allow_plaintext: bool,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a frontend may take to greet.
    pub connect_deadline: Duration,
    /// How long it may take to answer a login.
    pub frontend_login_timeout: Duration,
    /// How often frontends are asked whether they are there.
    pub check_every: Duration,
    /// How long a frontend that is down may owe a client an answer.
    pub frontend_silence: Duration,
    /// Refusals for want of the mupdate master get `[UNAVAILABLE]` and a plain sentence; otherwise they pass as they are.
    pub mark_unavailable: bool,
    /// A session in which nothing passes for so long ends. Cyrus's own limit is shorter.
    pub idle_timeout: Duration,
    /// How long sessions may take to come to a good end when the process stops.
    pub drain: Duration,
    /// Sessions at a time, those that are logging in among them.
    pub max_sessions: usize,
    /// Of them, from one address.
    pub max_per_client: usize,
}

impl ImapConfig {
    /// The defaults for some frontends.
    pub fn new(frontends: Vec<String>) -> Self {
        Self {
            frontends,
            frontend_tls: ClientTls::Off,
            announce_clients: false,
            balancers: Vec::new(),
            allow_plaintext: false,
            login_timeout: Duration::from_secs(60),
            connect_deadline: Duration::from_secs(3),
            frontend_login_timeout: Duration::from_secs(10),
            check_every: Duration::from_secs(2),
            frontend_silence: Duration::from_secs(30),
            mark_unavailable: true,
            idle_timeout: Duration::from_secs(35 * 60),
            drain: Duration::from_secs(10),
            max_sessions: 50_000,
            max_per_client: 1_000,
        }
    }
}

/// Who is told what sessions show of the murder.
pub trait Observer: Send + Sync + 'static {
    /// A frontend confirmed that a mailbox is gone: deleted, or renamed.
    fn gone(&self, name: MailboxName);

    /// A frontend refused a command because somebody had no word from the mupdate master; `name` is the mailbox, as
    /// far as it is known, and `text` what the client was told.
    fn without_master(&self, command: &'static str, name: Option<MailboxName>, text: &str);
}

/// What sessions share.
#[derive(Clone)]
struct Shared {
    observer: Arc<dyn Observer>,
    config: ImapConfig,
    tls: Option<Arc<TlsConfig>>,
    frontends: Arc<frontends::Frontends>,
    traffic: Arc<relay::Traffic>,
}

/// Why a connection ended before it was a session.
#[derive(Debug, thiserror::Error)]
enum Hangup {
    #[error("client: {0}")]
    Wire(#[from] wire::WireError),
    #[error("logged out")]
    Logout,
    #[error("no frontend answers")]
    NoFrontend,
    #[error("TLS: {0}")]
    Tls(std::io::Error),
    #[error("a balancer that does not say whom it speaks for")]
    NoHeader,
}

impl Hangup {
    /// Nobody's fault, or one that is told elsewhere: clients come and go, balancers look whether somebody listens.
    fn is_usual(&self) -> bool {
        use wire::WireError::{Closed, Io};
        match self {
            Self::Logout | Self::NoFrontend | Self::Wire(Closed | Io(_)) => true,
            Self::Tls(error) => error.kind() == std::io::ErrorKind::UnexpectedEof,
            Self::Wire(_) | Self::NoHeader => false,
        }
    }
}
