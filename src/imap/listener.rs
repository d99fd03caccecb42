//! Accepting mail clients, and letting go of them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ravenry_parsers::proxy::proxy_header;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig as TlsConfig;

use super::frontends::{FrontendStatus, Frontends};
use super::wire::{WireError, hang_up};
use super::{Hangup, ImapConfig, Observer, Shared, login, session};
use crate::net::live::Live;
use crate::net::places::Places;
use crate::net::stop::until;
use crate::net::stream::Stream;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// IMAP, with STARTTLS where there is an identity for it (port 143).
    Clear,
    /// TLS from the first byte (port 993).
    Tls,
}

/// The face to mail clients; clones are the same one.
#[derive(Clone)]
pub struct Proxy {
    shared: Live<Shared>,
    sessions: Places,
    /// How often the frontends are asked.
    check_every: Live<Duration>,
    clients: Clients,
}

/// How many sessions each address has.
#[derive(Clone, Debug, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A session's place among those of its address.
struct Place {
    clients: Clients,
    address: IpAddr,
}

impl Clients {
    fn take(&self, address: IpAddr, most: usize) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { clients: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.address);
            }
        }
    }
}

impl Proxy {
    /// A proxy; it begins to ask the frontends at once, and ends to when the last clone is dropped.
    pub fn start(config: ImapConfig, tls: Option<Arc<TlsConfig>>, observer: Arc<dyn Observer>) -> Self {
        let frontends = Arc::new(Frontends::new(
            &config.frontends,
            config.frontend_tls.clone(),
            config.announce_clients,
            config.connect_deadline,
        ));
        let check_every = Live::new(config.check_every);
        let (watched, every) = (Arc::downgrade(&frontends), check_every.clone());
        tokio::spawn(async move {
            while let Some(frontends) = watched.upgrade() {
                let began = Instant::now();
                frontends.check().await;
                drop(frontends);
                tokio::time::sleep_until(began + *every.get()).await;
            }
        });
        Self {
            shared: Live::new(Shared { observer, config, tls, frontends, traffic: Arc::default() }),
            sessions: Places::default(),
            check_every,
            clients: Clients::default(),
        }
    }

    /// Connections, those that are logging in among them.
    pub fn sessions(&self) -> usize {
        self.sessions.taken()
    }

    /// Who connects from now on is served with what `change` makes of the settings, its frontends among them; the
    /// way to the frontends stays.
    pub fn change(&self, change: impl FnOnce(ImapConfig) -> ImapConfig) {
        let Shared { observer, config, tls, frontends, traffic } = Shared::clone(&self.shared.get());
        let config = change(config);
        frontends.replace(&config.frontends);
        self.check_every.set(config.check_every);
        self.shared.set(Shared { observer, config, tls, frontends, traffic });
    }

    /// Bytes that passed behind logins since the start: to frontends, to clients.
    pub fn traffic(&self) -> (u64, u64) {
        self.shared.get().traffic.so_far()
    }

    /// The frontends, for status.
    pub fn frontends(&self) -> Vec<FrontendStatus> {
        self.shared.get().frontends.status()
    }

    /// Takes a frontend out of service (its sessions end with a `BYE` between two commands), or back into it.
    /// Answers whether there is such a frontend.
    pub fn drain(&self, address: &str, drained: bool) -> bool {
        self.shared.get().frontends.drain(address, drained)
    }

    /// Accepts until `stop` turns true; sessions then have a bounded time for a good end.
    pub async fn serve(&self, listener: TcpListener, listening: Listening, mut stop: watch::Receiver<bool>) {
        let stopped = stop.clone();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((tcp, address)) => self.accept(&mut sessions, tcp, address, listening, &stopped),
                    Err(error) => {
                        // Out of descriptors, most likely: sessions that end give some back.
                        tracing::error!(%error, "an IMAP connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = sessions.join_next() => {}
                () = until(&mut stop) => break,
            }
        }
        drop(listener);
        let finish = async { while sessions.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(self.shared.get().config.drain + Duration::from_secs(2), finish).await;
    }

    fn accept(
        &self,
        sessions: &mut JoinSet<()>,
        tcp: TcpStream,
        address: SocketAddr,
        listening: Listening,
        stop: &watch::Receiver<bool>,
    ) {
        let Some(turn) = self.sessions.take(self.shared.get().config.max_sessions) else {
            tracing::warn!(peer = %address, "too many IMAP sessions: refused");
            sessions.spawn(hang_up(Stream::Plain(tcp), b"* BYE [UNAVAILABLE] Too many sessions\r\n"));
            return;
        };
        let (proxy, stop) = (self.clone(), stop.clone());
        sessions.spawn(async move {
            let _turn = turn;
            // The login's state is boxed, so that a session does not carry it for the rest of its life.
            let shared = proxy.shared.get();
            let welcomed = Box::pin(proxy.welcome(&shared, tcp, address, listening, stop.clone())).await;
            match welcomed {
                Err(hangup) if hangup.is_usual() => {
                    tracing::debug!(peer = %address, %hangup, "IMAP connection ended");
                }
                Err(hangup) => tracing::info!(peer = %address, %hangup, "IMAP connection ended"),
                Ok((logged_in, _place)) => {
                    let over = session::run(&shared, logged_in, stop).await;
                    if over.is_fault() {
                        tracing::info!(peer = %address, %over, "IMAP session ended");
                    } else {
                        tracing::debug!(peer = %address, %over, "IMAP session ended");
                    }
                }
            }
        });
    }

    async fn welcome(
        &self,
        shared: &Shared,
        tcp: TcpStream,
        address: SocketAddr,
        listening: Listening,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(login::LoggedIn, Place), Hangup> {
        tcp.set_nodelay(true).map_err(WireError::from)?;
        let (tcp, client) = introduce(shared, tcp, address).await?;
        let most = shared.config.max_per_client;
        let Some(place) = self.clients.take(client.ip(), most) else {
            tracing::warn!(%client, "too many IMAP sessions of one client: refused");
            hang_up(Stream::Plain(tcp), b"* BYE [LIMIT] Too many sessions from your address\r\n").await;
            return Err(Hangup::Logout);
        };
        let stream = match (listening, &shared.tls) {
            (Listening::Clear, _) => Stream::Plain(tcp),
            (Listening::Tls, None) => return Err(Hangup::Tls(std::io::Error::other("no certificate"))),
            (Listening::Tls, Some(tls)) => {
                let handshake = TlsAcceptor::from(tls.clone()).accept(tcp);
                let patience = shared.config.login_timeout;
                let late = || Hangup::Tls(std::io::ErrorKind::TimedOut.into());
                let stream = tokio::time::timeout(patience, handshake).await.map_err(|_| late())?;
                Stream::Server(Box::new(stream.map_err(Hangup::Tls)?))
            }
        };
        let logged_in = tokio::select! {
            logged_in = login::log_in(shared, stream, client) => logged_in?,
            () = until(&mut stop) => return Err(Hangup::Logout),
        };
        Ok((logged_in, place))
    }
}

/// Who the client is: whoever connected, or whom a balancer of ours names.
async fn introduce(
    shared: &Shared,
    mut tcp: TcpStream,
    address: SocketAddr,
) -> Result<(TcpStream, SocketAddr), Hangup> {
    if !shared.config.balancers.iter().any(|trusted| trusted.holds(address.ip())) {
        return Ok((tcp, address));
    }
    let header = async {
        // Read without taking: what is behind the header belongs to TLS or to the client.
        let mut seen = [0; 2048];
        loop {
            let length = tcp.peek(&mut seen).await.map_err(WireError::from)?;
            match proxy_header(seen.get(..length).unwrap_or_default()) {
                Ok(Some(header)) => return Ok(header),
                Ok(None) if length > 0 && length < seen.len() => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                _ => return Err(Hangup::NoHeader),
            }
        }
    };
    let patience = shared.config.connect_deadline;
    let header = tokio::time::timeout(patience, header).await.map_err(|_| Hangup::NoHeader)??;
    let mut taken = vec![0; header.length];
    tcp.read_exact(&mut taken).await.map_err(WireError::from)?;
    Ok((tcp, header.source.unwrap_or(address)))
}
