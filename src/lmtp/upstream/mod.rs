//! The way to the frontends: connections that are kept and lent out, who is up, and one message on its way.
//!
//! | file | what |
//! |---|---|
//! | `connection` | one connection: greeting, LHLO, STARTTLS, AUTH, commands and replies, every wait bounded |
//! | `pool` | lending connections out: who is up, limits, reuse |
//! | `probe` | trying frontends out |
//! | `transaction` | one message: MAIL and RCPT with another frontend where one fails, DATA, the replies |

mod connection;
mod pool;
mod probe;
mod transaction;

use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use crate::net::secret::Secret;

pub(in crate::lmtp) use connection::Connection;
pub use connection::Trouble;
pub(crate) use pool::Purpose;
pub use pool::{FrontendStatus, Frontends, UnknownFrontend};
pub(crate) use transaction::{Begun, Recipient, Sending, Transaction};

/// What a frontend shows of itself when it is asked once.
#[derive(Clone, Copy, Debug)]
pub struct Shown {
    /// Its clock, in seconds since 1970.
    pub clock: Option<u64>,
    /// When its certificate ends, in seconds since 1970.
    pub certificate_ends: Option<u64>,
}

/// Asks a frontend once, to the point where it would take a message: MAIL is what one that wants a login refuses.
pub async fn visit(address: &str, config: &UpstreamConfig) -> Result<Shown, Trouble> {
    let mut connection = Connection::open(address, config).await?;
    connection.ask("MAIL", &[b"MAIL FROM:<>"]).await?;
    let shown = Shown { clock: connection.clock(), certificate_ends: connection.certificate_ends() };
    connection.quit().await;
    Ok(shown)
}

/// How a server is greeted, and so what it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hello {
    /// LMTP.
    Lhlo,
    /// SMTP: the submission host.
    Ehlo,
}

/// How to speak to frontends.
#[derive(Clone, Debug)]
pub struct UpstreamConfig {
    /// What they speak.
    pub hello: Hello,
    /// What we call ourselves in LHLO.
    pub servername: String,
    /// Who logs in, with what; nobody where frontends trust us (`lmtpd -a`).
    pub login: Option<(String, Secret)>,
    /// STARTTLS before anything else, or nothing at all.
    pub tls: Option<std::sync::Arc<ClientConfig>>,
    /// Connections to each frontend at a time.
    pub connections: usize,
    /// How long connecting and logging in may take.
    pub connect_timeout: Duration,
    /// How long a frontend may take to answer a command, or to take a part of a message.
    pub reply_timeout: Duration,
    /// How long it may take over a message once it has it all.
    pub delivery_timeout: Duration,
    /// How long a connection is kept for the next message.
    pub idle: Duration,
    /// How often a frontend is tried out.
    pub probe: Duration,
}

impl UpstreamConfig {
    /// The defaults.
    pub fn new(servername: impl Into<String>) -> Self {
        Self {
            hello: Hello::Lhlo,
            servername: servername.into(),
            login: None,
            tls: None,
            connections: 20,
            connect_timeout: Duration::from_secs(3),
            reply_timeout: Duration::from_secs(10),
            delivery_timeout: Duration::from_secs(60),
            idle: Duration::from_secs(10),
            probe: Duration::from_secs(5),
        }
    }
}
