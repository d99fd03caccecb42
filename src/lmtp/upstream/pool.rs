//! Lending connections out.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::UpstreamConfig;
use super::connection::{Connection, Trouble};
use crate::net::clock::unix;
use crate::net::live::Live;

/// What a connection is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// A message that an MTA is waiting with.
    Fresh,
    /// A message out of the queue: these share half of the connections, so that new mail never waits for old.
    Replay,
}

/// How a frontend does.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Health {
    Up,
    Down { since_unix: u64, why: String },
}

/// How a frontend does, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrontendStatus {
    /// `host:port`
    pub address: Arc<str>,
    /// Why it gets no mail, if it gets none.
    pub down: Option<String>,
    /// Since when: seconds since 1970.
    pub down_since_unix: Option<u64>,
    /// An operator wants it to get no mail.
    pub drained: bool,
    /// Connections that are in use.
    pub in_use: usize,
}

/// There is no frontend of this name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0} is none of the frontends in lmtp.frontends")]
pub struct UnknownFrontend(pub String);

pub(super) struct Frontend {
    pub(super) address: Arc<str>,
    slots: Arc<Semaphore>,
    replay_slots: Arc<Semaphore>,
    idle: Mutex<Vec<(Connection, Instant)>>,
    health: Mutex<Health>,
    drained: AtomicBool,
    in_use: AtomicUsize,
    /// The longest message it takes, as it last said; 0 for any.
    largest: AtomicU64,
    /// Wakes who tries it out.
    pub(super) suspected: Notify,
}

impl Frontend {
    fn new(address: &str, connections: usize) -> Self {
        Self {
            address: address.into(),
            slots: Arc::new(Semaphore::new(connections.max(1))),
            replay_slots: Arc::new(Semaphore::new((connections / 2).max(1))),
            idle: Mutex::default(),
            // Until the first try says otherwise: the first message should not wait for that.
            health: Mutex::new(Health::Up),
            drained: AtomicBool::new(false),
            in_use: AtomicUsize::new(0),
            largest: AtomicU64::new(0),
            suspected: Notify::new(),
        }
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_up(&self) -> bool {
        *self.health() == Health::Up
    }

    fn serves(&self) -> bool {
        self.is_up() && !self.drained.load(Ordering::Relaxed)
    }

    /// It gets no mail until a probe succeeds.
    pub(super) fn mark_down(&self, why: &str) {
        {
            let mut health = self.health();
            match &mut *health {
                Health::Down { why: known, .. } => {
                    *known = why.to_owned();
                    return;
                }
                Health::Up => *health = Health::Down { since_unix: unix(), why: why.to_owned() },
            }
        }
        tracing::warn!(frontend = %self.address, why, "a frontend is down: it gets no mail");
        self.idle().clear();
    }

    /// It failed with a message: it is down, and tried out at once.
    pub(super) fn blame(&self, why: &str) {
        self.mark_down(why);
        self.suspected.notify_one();
    }

    /// Whether it was down.
    pub(super) fn mark_up(&self) -> bool {
        let was = std::mem::replace(&mut *self.health(), Health::Up);
        match was {
            Health::Up => false,
            Health::Down { since_unix, .. } => {
                let seconds = unix().saturating_sub(since_unix);
                tracing::warn!(frontend = %self.address, seconds, "a frontend is back");
                true
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that have been idle for too long.
    pub(super) fn stale(&self, idle: Duration) -> Vec<Connection> {
        let mut all = self.idle();
        let (old, young) = std::mem::take(&mut *all).into_iter().partition(|(_, at)| at.elapsed() >= idle);
        *all = young;
        drop(all);
        let old: Vec<(Connection, Instant)> = old;
        old.into_iter().map(|(connection, _)| connection).collect()
    }

    fn status(&self) -> FrontendStatus {
        let (down, down_since_unix) = match &*self.health() {
            Health::Up => (None, None),
            Health::Down { since_unix, why } => (Some(why.clone()), Some(*since_unix)),
        };
        FrontendStatus {
            address: self.address.clone(),
            down,
            down_since_unix,
            drained: self.drained.load(Ordering::Relaxed),
            in_use: self.in_use.load(Ordering::Relaxed),
        }
    }
}

/// All frontends; clones are the same ones.
#[derive(Clone)]
pub struct Frontends {
    pub(super) config: Live<UpstreamConfig>,
    pub(super) all: Arc<watch::Sender<Arc<[Arc<Frontend>]>>>,
    /// Where to begin among those that are equally busy.
    turn: Arc<AtomicUsize>,
}

impl Frontends {
    /// The frontends at these addresses, `host:port`.
    pub fn new<'a>(addresses: impl IntoIterator<Item = &'a str>, config: UpstreamConfig) -> Self {
        let all = addresses.into_iter().map(|address| Arc::new(Frontend::new(address, config.connections)));
        let all = Arc::new(watch::Sender::new(all.collect()));
        Self { all, config: Live::new(config), turn: Arc::default() }
    }

    /// From now on frontends are spoken with as `change` makes it; connections that are open stay. How many there may be
    /// counts for frontends that are new.
    pub fn change(&self, change: impl FnOnce(UpstreamConfig) -> UpstreamConfig) {
        self.config.set(change(UpstreamConfig::clone(&self.config.get())));
    }

    /// From now on mail goes to these. Those that were there before go on as they are; what is under way at others ends
    /// as it would.
    pub fn replace(&self, addresses: &[String]) {
        let old = self.all();
        let frontend = |address: &String| {
            let known = old.iter().find(|frontend| *frontend.address == **address);
            known.cloned().unwrap_or_else(|| Arc::new(Frontend::new(address, self.config.get().connections)))
        };
        self.all.send_replace(addresses.iter().map(frontend).collect());
    }

    fn all(&self) -> Arc<[Arc<Frontend>]> {
        self.all.borrow().clone()
    }

    /// How each of them does.
    pub fn status(&self) -> Vec<FrontendStatus> {
        self.all().iter().map(|frontend| frontend.status()).collect()
    }

    /// The longest message that any frontend takes, in bytes, as far as they have said; `None` for any.
    pub fn largest_message(&self) -> Option<u64> {
        let all = self.all();
        let largest = all.iter().map(|frontend| match frontend.largest.load(Ordering::Relaxed) {
            0 => u64::MAX,
            bytes => bytes,
        });
        largest.max().filter(|bytes| *bytes < u64::MAX)
    }

    /// Lets a frontend have no more mail, or again. Messages that are under way end as they would.
    pub fn drain(&self, address: &str, drained: bool) -> Result<(), UnknownFrontend> {
        let all = self.all();
        let found = all.iter().find(|frontend| &*frontend.address == address);
        let frontend = found.ok_or_else(|| UnknownFrontend(address.to_owned()))?;
        frontend.drained.store(drained, Ordering::Relaxed);
        tracing::warn!(frontend = address, drained, "an operator's order");
        if drained {
            frontend.idle().clear();
        }
        Ok(())
    }

    /// A connection to the least busy frontend that serves and is not among `tried`; whichever it asked is added to
    /// those. `Err` when there is none left, with the last reason.
    pub(super) async fn lend(&self, purpose: Purpose, tried: &mut Vec<Arc<str>>) -> Result<Lease, String> {
        let mut why = "no frontend is up".to_owned();
        while let Some(frontend) = self.next(tried) {
            // It is the least busy one: if there is no room on it, there is none on any.
            let Some(permits) = self.permits(&frontend, purpose).await else {
                return Err(format!("{}: all its connections are in use", frontend.address));
            };
            while let Some((mut connection, since)) = { frontend.idle().pop() } {
                if since.elapsed() < self.config.get().idle && connection.is_quiet().await {
                    tried.push(frontend.address.clone());
                    return Ok(Lease::new(frontend, connection, true, permits));
                }
            }
            tried.push(frontend.address.clone());
            match self.open(&frontend).await {
                Ok(connection) => return Ok(Lease::new(frontend, connection, false, permits)),
                Err(trouble) => {
                    why = format!("{}: {trouble}", frontend.address);
                    frontend.blame(&trouble.to_string());
                }
            }
        }
        Err(why)
    }

    fn next(&self, tried: &[Arc<str>]) -> Option<Arc<Frontend>> {
        let all = self.all();
        let count = all.len().max(1);
        let from = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = (0..count).filter_map(|step| all.get(from.wrapping_add(step) % count));
        in_turn
            .filter(|frontend| !tried.contains(&frontend.address) && frontend.serves())
            .min_by_key(|frontend| frontend.in_use.load(Ordering::Relaxed))
            .cloned()
    }

    async fn permits(&self, frontend: &Frontend, purpose: Purpose) -> Option<Permits> {
        let patience = match purpose {
            Purpose::Fresh => self.config.get().reply_timeout,
            Purpose::Replay => self.config.get().delivery_timeout,
        };
        let acquired = tokio::time::timeout(patience, async {
            let replay = match purpose {
                Purpose::Fresh => None,
                Purpose::Replay => Some(frontend.replay_slots.clone().acquire_owned().await.ok()?),
            };
            Some((frontend.slots.clone().acquire_owned().await.ok()?, replay))
        });
        acquired.await.ok().flatten()
    }

    async fn open(&self, frontend: &Frontend) -> Result<Connection, Trouble> {
        let connection = Connection::open(&frontend.address, &self.config.get()).await?;
        frontend.largest.store(connection.offers.size.unwrap_or(0), Ordering::Relaxed);
        Ok(connection)
    }

    /// Opens a connection beyond all limits, to try a frontend out: MAIL with the null sender is what a frontend
    /// that wants a login, or is misconfigured, refuses first.
    pub(super) async fn try_out(&self, frontend: &Frontend) -> Result<(), Trouble> {
        let mut connection = self.open(frontend).await?;
        connection.ask("MAIL", &[b"MAIL FROM:<>"]).await?;
        connection.quit().await;
        Ok(())
    }
}

type Permits = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

/// A connection lent out. Dropped, it is closed; [`Lease::give_back`] keeps it for the next message.
pub(super) struct Lease {
    frontend: Arc<Frontend>,
    connection: Option<Connection>,
    /// It was idle before: the frontend may have closed it just now without being at fault.
    pub(super) reused: bool,
    _permits: Permits,
}

impl Lease {
    fn new(frontend: Arc<Frontend>, connection: Connection, reused: bool, permits: Permits) -> Self {
        frontend.in_use.fetch_add(1, Ordering::Relaxed);
        Self { frontend, connection: Some(connection), reused, _permits: permits }
    }

    pub(super) fn address(&self) -> &Arc<str> {
        &self.frontend.address
    }

    pub(super) fn frontend(&self) -> &Arc<Frontend> {
        &self.frontend
    }

    /// The connection, as long as it was not given back.
    pub(super) fn connection(&mut self) -> Result<&mut Connection, Trouble> {
        self.connection.as_mut().ok_or(Trouble::Closed)
    }

    /// No message is under way any more: another one may use the connection.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take()
            && self.frontend.serves()
        {
            self.frontend.idle().push((connection, Instant::now()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.frontend.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}
