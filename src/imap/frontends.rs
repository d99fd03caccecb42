//! The frontends: which of them answer, which has the fewest sessions, and how to reach one.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use ravenry_parsers::imap::{Condition, ReplyHead, ServerEvent, ServerFramer};
use ravenry_parsers::proxy::put_proxy_v2;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::wire::{Wire, WireError};
use crate::net::live::Live;
use crate::net::stream::{Stream, probe};
use crate::net::tls::{ClientTls, server_name};

/// How often the host of a quiet session's frontend is probed. Whoever waits for new mail sends nothing that would show
/// that it is gone.
const PROBED_EVERY: Duration = Duration::from_secs(15);

/// Why a frontend cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FrontendError {
    /// The network, or the frontend, ended it.
    #[error(transparent)]
    Wire(Box<dyn std::error::Error + Send + Sync>),
    /// It did not greet in time.
    #[error("no greeting within {} ms", .0.as_millis())]
    Late(Duration),
    /// It greeted with something other than `* OK`; a `PREAUTH` would let anybody be somebody.
    #[error("it greets with {0}")]
    Greeting(String),
    /// TLS is demanded and it offers none, or something was sent behind the offer in clear.
    #[error("STARTTLS: {0}")]
    StartTls(String),
}

impl From<WireError> for FrontendError {
    fn from(error: WireError) -> Self {
        Self::Wire(Box::new(error))
    }
}

impl From<std::io::Error> for FrontendError {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(Box::new(error))
    }
}

/// Whether a frontend can be used, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not asked yet.
    Unknown,
    /// It greets like this.
    Up(Bytes),
    /// It does not, for this reason, since so many seconds after 1970.
    Down(String, u64),
}

/// One frontend, for status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendStatus {
    /// `host:port`
    pub address: String,
    /// Whether it can be used.
    pub health: Health,
    /// An operator keeps sessions from it.
    pub drained: bool,
    /// Sessions it has now.
    pub sessions: usize,
}

#[derive(Debug)]
struct Frontend {
    address: String,
    health: Mutex<Health>,
    down: watch::Sender<bool>,
    drained: watch::Sender<bool>,
    sessions: AtomicUsize,
}

impl Frontend {
    fn new(address: &str) -> Arc<Self> {
        Arc::new(Self {
            address: address.to_owned(),
            health: Mutex::new(Health::Unknown),
            down: watch::Sender::new(false),
            drained: watch::Sender::new(false),
            sessions: AtomicUsize::new(0),
        })
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_up(&self, greeting: Bytes) {
        let mut known = self.health();
        if !matches!(*known, Health::Up(_)) {
            tracing::info!(frontend = %self.address, "IMAP frontend is up");
        }
        *known = Health::Up(greeting);
        self.down.send_replace(false);
    }

    fn is_down(&self, why: String) {
        let mut known = self.health();
        let since = match *known {
            Health::Down(_, since) => since,
            Health::Up(_) | Health::Unknown => {
                tracing::warn!(frontend = %self.address, %why, "IMAP frontend is down");
                SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
            }
        };
        *known = Health::Down(why, since);
        self.down.send_replace(true);
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Frontends {
    all: Live<Vec<Arc<Frontend>>>,
    tls: ClientTls,
    /// Tell them with the PROXY protocol whom we speak for.
    announce: bool,
    deadline: Duration,
}

/// A session's place at a frontend, for as long as it lives.
#[derive(Debug)]
pub(super) struct Lease(Arc<Frontend>);

impl Lease {
    pub(super) fn address(&self) -> &str {
        &self.0.address
    }

    /// Turns true when an operator takes the frontend out of service.
    pub(super) fn drained(&self) -> watch::Receiver<bool> {
        self.0.drained.subscribe()
    }

    /// True while the frontend does not answer when it is asked.
    pub(super) fn down(&self) -> watch::Receiver<bool> {
        self.0.down.subscribe()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection to a frontend that has greeted.
#[derive(Debug)]
pub(super) struct Greeted {
    pub(super) wire: Wire,
    pub(super) lease: Lease,
}

/// What a frontend shows of itself when it is asked once.
#[derive(Clone, Debug)]
pub struct Shown {
    /// How it greets.
    pub greeting: Bytes,
    /// When its certificate ends, in seconds since 1970.
    pub certificate_ends: Option<u64>,
}

/// Asks a frontend once, as the sessions would.
pub async fn visit(address: &str, config: &super::ImapConfig) -> Result<Shown, FrontendError> {
    let (tls, deadline) = (config.frontend_tls.clone(), config.connect_deadline);
    Frontends::new(&[], tls, config.announce_clients, deadline).probe(address).await
}

/// Every frontend that was not tried yet is down or refused.
#[derive(Debug, thiserror::Error)]
#[error("no frontend answers")]
pub(super) struct Nobody;

impl Frontends {
    pub(super) fn new(addresses: &[String], tls: ClientTls, announce: bool, deadline: Duration) -> Self {
        let all = Live::new(addresses.iter().map(|address| Frontend::new(address)).collect());
        Self { all, tls, announce, deadline }
    }

    /// From now on sessions go to these. Those that were there before go on as they are; sessions at others stay.
    pub(super) fn replace(&self, addresses: &[String]) {
        let old = self.all.get();
        let frontend = |address: &String| {
            let known = old.iter().find(|frontend| frontend.address == *address);
            known.cloned().unwrap_or_else(|| Frontend::new(address))
        };
        self.all.set(addresses.iter().map(frontend).collect());
    }

    pub(super) fn status(&self) -> Vec<FrontendStatus> {
        let status = |frontend: &Arc<Frontend>| FrontendStatus {
            address: frontend.address.clone(),
            health: frontend.health().clone(),
            drained: *frontend.drained.borrow(),
            sessions: frontend.sessions.load(Ordering::Relaxed),
        };
        self.all.get().iter().map(status).collect()
    }

    /// How the frontends greet: the greeting of one that is up.
    pub(super) fn greeting(&self) -> Option<Bytes> {
        self.all.get().iter().find_map(|frontend| match &*frontend.health() {
            Health::Up(greeting) => Some(greeting.clone()),
            _ => None,
        })
    }

    /// Takes a frontend out of service, or back into it; whether there is such a frontend.
    pub(super) fn drain(&self, address: &str, drained: bool) -> bool {
        let all = self.all.get();
        let found = all.iter().find(|frontend| frontend.address == address);
        if let Some(frontend) = found {
            tracing::warn!(frontend = address, drained, "an operator's order");
            frontend.drained.send_replace(drained);
        }
        found.is_some()
    }

    /// Connects to the frontend with the fewest sessions that is not among `tried`, which grows. One that is
    /// down is asked only when no other is left, one that is drained never.
    pub(super) async fn connect(
        &self,
        peer: std::net::SocketAddr,
        tried: &mut Vec<String>,
    ) -> Result<Greeted, Nobody> {
        loop {
            let all = self.all.get();
            let untried = all
                .iter()
                .filter(|frontend| !*frontend.drained.borrow() && !tried.contains(&frontend.address));
            let best = untried.min_by_key(|frontend| {
                let down = matches!(*frontend.health(), Health::Down(..));
                (down, frontend.sessions.load(Ordering::Relaxed), fastrand::u32(..))
            });
            let frontend = best.ok_or(Nobody)?.clone();
            tried.push(frontend.address.clone());
            frontend.sessions.fetch_add(1, Ordering::Relaxed);
            let lease = Lease(frontend.clone());
            match self.greeted(&frontend.address, Some(peer)).await {
                Ok((wire, greeting)) => {
                    frontend.is_up(greeting);
                    return Ok(Greeted { wire, lease });
                }
                Err(error) => frontend.is_down(error.to_string()),
            }
        }
    }

    /// A frontend failed in the middle of something; the next check will tell whether it is back.
    pub(super) fn suspect(&self, address: &str, why: &str) {
        if let Some(frontend) = self.all.get().iter().find(|frontend| frontend.address == address) {
            frontend.is_down(why.to_owned());
        }
    }

    /// Asks every frontend for its greeting and a NOOP, all at once.
    pub(super) async fn check(self: &Arc<Self>) {
        let mut checks = JoinSet::new();
        for frontend in self.all.get().iter() {
            let (all, frontend) = (self.clone(), frontend.clone());
            checks.spawn(async move {
                match all.probe(&frontend.address).await {
                    Ok(shown) => frontend.is_up(shown.greeting),
                    Err(error) => frontend.is_down(error.to_string()),
                }
            });
        }
        while checks.join_next().await.is_some() {}
    }

    /// Asks one frontend, and leaves it in order.
    async fn probe(&self, address: &str) -> Result<Shown, FrontendError> {
        let (mut wire, greeting) = self.greeted(address, None).await?;
        let certificate_ends = wire.shown_until();
        let exchange = async {
            wire.send(b"r1 NOOP\r\n").await?;
            while !wire.line().await?.starts_with(b"r1 OK") {}
            wire.send(b"r2 LOGOUT\r\n").await?;
            while !wire.line().await?.starts_with(b"r2 ") {}
            Ok::<(), WireError>(())
        };
        match tokio::time::timeout(self.deadline, exchange).await {
            Ok(answered) => answered?,
            Err(_) => return Err(FrontendError::Late(self.deadline)),
        }
        Ok(Shown { greeting, certificate_ends })
    }

    async fn greeted(
        &self,
        address: &str,
        peer: Option<std::net::SocketAddr>,
    ) -> Result<(Wire, Bytes), FrontendError> {
        match tokio::time::timeout(self.deadline, self.open(address, peer)).await {
            Ok(opened) => opened,
            Err(_) => Err(FrontendError::Late(self.deadline)),
        }
    }

    async fn open(
        &self,
        address: &str,
        peer: Option<std::net::SocketAddr>,
    ) -> Result<(Wire, Bytes), FrontendError> {
        let mut tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        probe(&tcp, PROBED_EVERY)?;
        if self.announce {
            let mut header = BytesMut::new();
            put_proxy_v2(&mut header, peer.unwrap_or(tcp.local_addr()?), tcp.peer_addr()?);
            tcp.write_all(&header).await?;
        }
        let name = || server_name(address).map_err(|error| FrontendError::StartTls(error.to_string()));
        match &self.tls {
            ClientTls::Off => greeting(Wire::new(Stream::Plain(tcp))).await,
            ClientTls::AtOnce(tls) => {
                let stream = TlsConnector::from(tls.clone()).connect(name()?, tcp).await?;
                greeting(Wire::new(Stream::Client(Box::new(stream)))).await
            }
            ClientTls::StartTls(tls) => {
                let (mut wire, _) = greeting(Wire::new(Stream::Plain(tcp))).await?;
                wire.send(b"r0 STARTTLS\r\n").await?;
                let said = wire.line().await?;
                let offered = said.starts_with(b"r0 OK");
                // Something behind the OK in clear could be anybody's.
                let (true, Some((Stream::Plain(tcp), behind))) = (offered, wire.into_parts()) else {
                    return Err(FrontendError::StartTls(String::from_utf8_lossy(&said).trim().to_owned()));
                };
                if !behind.is_empty() {
                    return Err(FrontendError::StartTls("more than its answer came in clear".into()));
                }
                let stream = TlsConnector::from(tls.clone()).connect(name()?, tcp).await?;
                let mut wire = Wire::new(Stream::Client(Box::new(stream)));
                let greeting = greeting_under_tls(&mut wire).await?;
                Ok((wire, greeting))
            }
        }
    }
}

/// What greeted in clear could be anybody, with fewer mechanisms than the frontend has; and Cyrus offers more under TLS
/// than before. So it is asked again (RFC 9051 §6.2.1), and nothing of the greeting is kept.
async fn greeting_under_tls(wire: &mut Wire) -> Result<Bytes, FrontendError> {
    const LIST: &[u8] = b"* CAPABILITY ";
    wire.send(b"r0 CAPABILITY\r\n").await?;
    let mut greeting = None;
    loop {
        let line = wire.line().await?;
        if let Some((_, list)) =
            line.split_at_checked(LIST.len()).filter(|(start, _)| start.eq_ignore_ascii_case(LIST))
        {
            greeting = Some([b"* OK [CAPABILITY ", list.trim_ascii(), b"] IMAP ready\r\n"].concat().into());
        } else if line.starts_with(b"r0 ") {
            let said = || String::from_utf8_lossy(&line).trim().to_owned();
            return greeting
                .ok_or_else(|| FrontendError::StartTls(format!("no capabilities under TLS: {}", said())));
        }
    }
}

async fn greeting(mut wire: Wire) -> Result<(Wire, Bytes), FrontendError> {
    let line = wire.line().await?.freeze();
    let mut input: &[u8] = &line;
    let head = ServerFramer::default().next(&mut input);
    let ok = matches!(
        head,
        Ok(Some(ServerEvent::Begin(ReplyHead::Status { tag: None, condition: Condition::Ok, .. })))
    );
    if ok {
        return Ok((wire, line));
    }
    let said: String = String::from_utf8_lossy(&line).trim().chars().take(200).collect();
    Err(FrontendError::Greeting(said))
}
