//! Accepting connections, and letting go of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dump::Bulk;
use super::removals::Removals;
use super::session::Session;
use super::{Hangup, Peer, ServerConfig, login};
use crate::authority::feed::Backlog;
use crate::authority::namespace::Namespace;
use crate::net::guesses::Guesses;
use crate::net::live::Live;
use crate::net::places::Places;
use crate::net::stop::until;
use crate::net::strangers::{Place, Strangers};
use crate::net::stream::Stream;

/// How long what is under way may take when the process stops.
const STOP_BOUND: Duration = Duration::from_secs(2);

/// One connected stream, for status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamStatus {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Who logged in.
    pub identity: Arc<str>,
    /// Since when: seconds since 1970.
    pub since_unix: u64,
    /// The last change written to it.
    pub written_seq: u64,
    /// Changes that it still has to be sent.
    pub lag: usize,
}

/// The streams that are connected, by their number.
#[derive(Default)]
struct Registry {
    last: u64,
    streams: HashMap<u64, (StreamStatus, Backlog)>,
}

/// The streams that are connected, and who sends them the list.
#[derive(Clone)]
pub(super) struct Streams {
    all: Arc<Mutex<Registry>>,
    bulk: Arc<Bulk>,
}

impl Streams {
    fn new(bulk: Bulk) -> Self {
        Self { all: Arc::default(), bulk: Arc::new(bulk) }
    }

    pub(super) fn bulk(&self) -> Arc<Bulk> {
        self.bulk.clone()
    }

    pub(super) fn begin(&self, peer: &Peer, identity: &Arc<str>, backlog: Backlog) -> StreamEntry {
        let since_unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (peer, identity) = (peer.address, identity.clone());
        let status = StreamStatus { peer, identity, since_unix, written_seq: 0, lag: 0 };
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.last += 1;
        let id = all.last;
        all.streams.insert(id, (status, backlog));
        StreamEntry { streams: self.clone(), id }
    }
}

/// A stream's place in the registry, for as long as it lives.
pub(super) struct StreamEntry {
    streams: Streams,
    id: u64,
}

impl StreamEntry {
    pub(super) fn written(&self, seq: u64) {
        let mut all = self.streams.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((status, _)) = all.streams.get_mut(&self.id) {
            status.written_seq = seq;
        }
    }
}

impl Drop for StreamEntry {
    fn drop(&mut self) {
        self.streams.all.lock().unwrap_or_else(PoisonError::into_inner).streams.remove(&self.id);
    }
}

/// The face to the murder.
#[derive(Clone)]
pub struct Server {
    config: Live<ServerConfig>,
    namespace: Arc<dyn Namespace>,
    streams: Streams,
    removals: Removals,
    connections: Places,
    strangers: Strangers,
    guesses: Guesses,
}

impl Server {
    /// A server that answers from this namespace. Fails only where the system gives no threads.
    pub fn new(config: ServerConfig, namespace: Arc<dyn Namespace>) -> std::io::Result<Self> {
        let strangers = Strangers::new(config.max_unauthenticated);
        let guesses = Guesses::new(config.failed_login_delay);
        let streams = Streams::new(Bulk::start()?);
        Ok(Self {
            config: Live::new(config),
            namespace,
            streams,
            removals: Removals::default(),
            connections: Places::default(),
            strangers,
            guesses,
        })
    }

    /// Who connects from now on is served with what `change` makes of the settings.
    pub fn change(&self, change: impl FnOnce(ServerConfig) -> ServerConfig) {
        let config = change(ServerConfig::clone(&self.config.get()));
        self.strangers.allow(config.max_unauthenticated);
        self.guesses.answer_after(config.failed_login_delay);
        self.config.set(config);
    }

    /// The streams that are connected now.
    pub fn streams(&self) -> Vec<StreamStatus> {
        let all = self.streams.all.lock().unwrap_or_else(PoisonError::into_inner);
        let status = |(status, backlog): &(StreamStatus, Backlog)| StreamStatus {
            lag: backlog.changes(),
            ..status.clone()
        };
        all.streams.values().map(status).collect()
    }

    /// A person lets a backend remove so many names with its next `ctl_mboxlist -m`, within the hour.
    pub fn allow_removals(&self, server: &str, count: u64) {
        tracing::warn!(server, count, "an operator allows removals");
        self.removals.allow(server.as_bytes(), count);
    }

    /// Accepts on a listener until `stop` turns true; then what is under way ends within a short bound, streams
    /// bare.
    pub async fn serve(&self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, address)) => self.accept(&mut sessions, tcp, address),
                    Err(error) => {
                        // Out of descriptors, most likely: a stranger gives one back.
                        tracing::error!(%error, "a connection could not be accepted");
                        self.strangers.evict();
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                Some(_) = sessions.join_next() => {}
                () = until(&mut stop) => break,
            }
        }
        drop(listener);
        let finish = async { while sessions.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_BOUND, finish).await;
    }

    fn accept(&self, sessions: &mut JoinSet<()>, tcp: TcpStream, address: SocketAddr) {
        let server = self.clone();
        let place = self.strangers.enter(address.ip());
        sessions.spawn(async move {
            let peer = Peer { address };
            let hangup = server.session(tcp, peer, place).await;
            match hangup {
                Hangup::Logout | Hangup::Closed => {
                    tracing::debug!(peer = %address, %hangup, "connection ended")
                }
                hangup => tracing::info!(peer = %address, %hangup, "connection ended"),
            }
        });
    }

    async fn session(&self, tcp: TcpStream, peer: Peer, mut place: Place) -> Hangup {
        if !self.namespace.may_serve() {
            return Hangup::Unserved;
        }
        if let Err(error) = tcp.set_nodelay(true) {
            return error.into();
        }
        let config = self.config.get();
        let attempt = || self.guesses.attempt(peer.address.ip());
        let known = tokio::select! {
            // Boxed, so that what a login needs is not carried for the session's life.
            known = Box::pin(login::log_in(Stream::Plain(tcp), &config, &peer, &attempt)) => known,
            () = place.taken() => return Hangup::Displaced,
        };
        let (wire, user) = match known {
            Ok(known) => known,
            Err(hangup) => return hangup,
        };
        drop(place);
        // A frontend that is not let in tries again in 20 s and keeps its list; so no BYE, ever (rule 2).
        let Some(_connection) = self.connections.take(config.max_connections) else {
            return Hangup::Full;
        };
        let namespace = self.namespace.clone();
        let (streams, removals) = (self.streams.clone(), self.removals.clone());
        Box::pin(Session::new(wire, user, peer, config, namespace, streams, removals).run()).await
    }
}
