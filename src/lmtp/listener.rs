//! Accepting clients, and letting go of them.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::knowledge::Directory;
use super::message::Context;
use super::session::Session;
use super::tally::{Answered, Tally};
use super::upstream::Frontends;
use super::wire::Wire;
use super::{FaceConfig, Hangup, Peer};
use crate::authority::namespace::Namespace;
use crate::net::activated::Passed;
use crate::net::address::Listen;
use crate::net::live::Live;
use crate::net::places::Places;
use crate::net::stop::until;
use crate::net::stream::Stream;
use crate::spool::Spool;

/// How long messages that are under way may take when the process stops. What is not answered by then is still the
/// MTA's.
const STOP_BOUND: Duration = Duration::from_secs(5);

/// The face to the MTA; clones are the same one.
#[derive(Clone)]
pub struct Face {
    context: Context,
    config: Live<FaceConfig>,
    connections: Places,
}

/// Where a face listens.
pub struct Listener(Kind);

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Begins to listen. A socket that a process left behind is replaced, one that answers is not.
    pub async fn bind(at: &Listen) -> io::Result<Self> {
        match at {
            Listen::Tcp(address) => Ok(Self(Kind::Tcp(TcpListener::bind(address).await?))),
            Listen::Unix(path) => Ok(Self(Kind::Unix(bind_unix(path)?))),
        }
    }

    /// Goes on with a socket that listens already.
    pub fn passed(socket: Passed) -> io::Result<Self> {
        Ok(Self(match socket {
            Passed::Tcp(tcp) => {
                tcp.set_nonblocking(true)?;
                Kind::Tcp(TcpListener::from_std(tcp)?)
            }
            Passed::Unix(unix) => {
                unix.set_nonblocking(true)?;
                Kind::Unix(UnixListener::from_std(unix)?)
            }
        }))
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody answers there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // An MTA runs as another user; the directory decides who gets here.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

impl Face {
    /// A face that delivers through these frontends, and queues what they do not take.
    pub fn new(
        config: FaceConfig,
        frontends: Frontends,
        namespace: Arc<dyn Namespace>,
        spool: Spool,
    ) -> Self {
        let directory = Directory::new(namespace, config.naming.clone());
        let config = Live::new(config);
        let context = Context { config: config.get(), frontends, directory, spool, tally: Tally::default() };
        Self { context, config, connections: Places::default() }
    }

    /// Who connects from now on is served with what `change` makes of the settings.
    pub fn change(&self, change: impl FnOnce(FaceConfig) -> FaceConfig) {
        self.config.set(change(FaceConfig::clone(&self.config.get())));
    }

    /// Clients that are connected now.
    pub fn sessions(&self) -> usize {
        self.connections.taken()
    }

    /// What recipients were answered, since the start.
    pub fn answered(&self) -> Answered {
        self.context.tally.answered()
    }

    /// The frontends, and how they do.
    pub fn frontends(&self) -> &Frontends {
        &self.context.frontends
    }

    /// Accepts until `stop` turns true; then messages that are under way end within a short bound.
    pub async fn serve(&self, listener: Listener, mut stop: watch::Receiver<bool>) {
        let mut sessions = JoinSet::new();
        let told = stop.clone();
        loop {
            tokio::select! {
                accepted = self.accept(&listener) => match accepted {
                    Ok((stream, peer)) => self.begin(&mut sessions, stream, peer, told.clone()),
                    Err(error) => {
                        // Out of descriptors, most likely: connections that end give some back.
                        tracing::error!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
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

    async fn accept(&self, listener: &Listener) -> io::Result<(Stream, Peer)> {
        match &listener.0 {
            Kind::Tcp(listener) => {
                let (tcp, address) = listener.accept().await?;
                tcp.set_nodelay(true)?;
                let address = address.ip().to_canonical();
                let trusted = self.config.get().trusted.iter().any(|trust| trust.holds(address));
                let peer = Peer { address: Some(address), name: address.to_string(), trusted };
                Ok((Stream::Plain(tcp), peer))
            }
            Kind::Unix(listener) => {
                let (unix, _) = listener.accept().await?;
                Ok((Stream::Unix(unix), Peer { address: None, name: "unix".into(), trusted: true }))
            }
        }
    }

    fn begin(&self, sessions: &mut JoinSet<()>, stream: Stream, peer: Peer, stop: watch::Receiver<bool>) {
        let context = Context { config: self.config.get(), ..self.context.clone() };
        let wire = Wire::new(stream, context.config.command_timeout);
        let Some(connection) = self.connections.take(context.config.max_connections) else {
            tracing::warn!(peer = %peer.name, "too many connections");
            sessions.spawn(wire.close(Some((421, "4.3.2 Too many connections, try again later"))));
            return;
        };
        let name = peer.name.clone();
        sessions.spawn(async move {
            let _connection = connection;
            let hangup = Box::pin(Session::new(wire, context, peer).run(stop)).await;
            match hangup {
                Hangup::Quit | Hangup::Closed => {
                    tracing::debug!(peer = %name, %hangup, "connection ended");
                }
                hangup => tracing::info!(peer = %name, %hangup, "connection ended"),
            }
        });
    }
}
