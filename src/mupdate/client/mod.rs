//! The link to the real master: one connection that follows its `UPDATE` stream, and a pool of others that
//! carry writes. To the master we are a slave and an administrator.
//!
//! | file | what |
//! |---|---|
//! | `connection` | connect, banner, STARTTLS, login, lines |
//! | `follower` | the stream, barriers, liveness, reconnecting |
//! | `deletions` | never two of one name at a time |
//! | `forward` | writes: as what they are sent, and what became of them |
//! | `line` | one connection that carries writes |
//! | `listing` | a whole list, read once |
//! | `pool` | connections for writes, open ahead |
//! | `turn` | one TLS handshake at a time |
//! | `witness` | a frontend's slave, asked what it has stored |

mod connection;
mod deletions;
mod follower;
pub(crate) mod forward;
mod line;
mod listing;
mod pool;
#[cfg(test)]
mod tests;
mod turn;
mod witness;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::rustls::pki_types::InvalidDnsNameError;

use crate::authority::master::{BoxFuture, LinkEvent, Lost, Master, MasterReply};
use crate::authority::write::Write;
use crate::net::live::Live;
use crate::net::secret::Secret;
use crate::net::tls::server_name;

pub use connection::{Connection, LinkError, Tls};
pub use listing::Listing;
pub use witness::Witness;

/// How to reach the master, and how patient to be with it.
#[derive(Clone, Debug)]
pub struct LinkConfig {
    /// `host:port`
    pub address: String,
    /// One of the master's `admins`.
    pub user: String,
    /// The user's password.
    pub password: Secret,
    /// Whether and how to use STARTTLS.
    pub tls: Tls,
    /// How long connecting and logging in may take.
    pub connect_deadline: Duration,
    /// How long the master may be silent when something was asked of it.
    pub silence: Duration,
    /// How long a healthy stream may be quiet before it is asked for a sign of life.
    pub ping: Duration,
    /// The first wait before connecting anew; it doubles up to `backoff_max`, with jitter.
    pub backoff: Duration,
    /// The longest wait before connecting anew.
    pub backoff_max: Duration,
    /// How many connections carry writes at most.
    pub connections: usize,
    /// How many of them are to have room for more writes, always; 0: none is opened before it is needed.
    pub ready: usize,
}

impl LinkConfig {
    /// The defaults for a master at an address.
    pub fn new(address: impl Into<String>, user: impl Into<String>, password: Secret) -> Self {
        Self {
            address: address.into(),
            user: user.into(),
            password,
            tls: Tls::Off,
            connect_deadline: Duration::from_secs(2),
            silence: Duration::from_secs(2),
            ping: Duration::from_secs(1),
            backoff: Duration::from_millis(200),
            // A master that is back is to be given what it missed within 5 s, list and replay included.
            backoff_max: Duration::from_secs(2),
            connections: 8,
            ready: 2,
        }
    }

    /// The same login, and the same trust, at another server.
    pub fn at(&self, address: String) -> Result<Self, InvalidDnsNameError> {
        let tls = match &self.tls {
            Tls::Off => Tls::Off,
            Tls::StartTls(trust, _) => Tls::StartTls(trust.clone(), server_name(&address)?),
        };
        Ok(Self { address, tls, ..self.clone() })
    }
}

/// The link; dropping it ends its task and connections.
pub struct MasterLink {
    forward: Arc<forward::Forward>,
    barriers: mpsc::Sender<follower::BarrierRequest>,
    restart: Arc<tokio::sync::Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl MasterLink {
    /// Starts following. A configuration that changes counts for connections that are opened from then on, but for the
    /// number of those that carry writes. What happens is told through `events`; when nobody listens there any more, the
    /// link ends.
    pub fn spawn(config: impl Into<Live<LinkConfig>>, events: mpsc::Sender<LinkEvent>) -> Self {
        let config = config.into();
        let (barriers, requests) = mpsc::channel(1024);
        let restart = Arc::new(tokio::sync::Notify::new());
        let pool = pool::Pool::new(config.clone());
        let (follows, followed) = watch::channel(None);
        let forward = Arc::new(forward::Forward::new(&config.get(), pool.clone(), followed));
        let follower = follower::Follower::new(config, pool, follows, events, requests, restart.clone());
        let task = tokio::spawn(follower.run());
        Self { forward, barriers, restart, task }
    }
}

impl Drop for MasterLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Master for MasterLink {
    fn send(&self, write: Write, deadline: Duration) -> BoxFuture<Result<MasterReply, Lost>> {
        let forward = self.forward.clone();
        Box::pin(async move { forward.send(write, deadline).await })
    }

    fn barrier(&self, deadline: Duration) -> BoxFuture<Result<(), Lost>> {
        let barriers = self.barriers.clone();
        Box::pin(async move {
            let (reply, passed) = oneshot::channel();
            let asked = async {
                barriers.send(reply).await.map_err(|_| Lost::Unsent("the link has ended".into()))?;
                passed.await.unwrap_or_else(|_| Err(Lost::Unsent("the link has ended".into())))
            };
            let late = |_| Err(Lost::InDoubt(format!("no answer to NOOP for {} ms", deadline.as_millis())));
            tokio::time::timeout(deadline, asked).await.unwrap_or_else(late)
        })
    }

    fn reconnect(&self) {
        self.forward.clear();
        self.restart.notify_one();
    }
}
