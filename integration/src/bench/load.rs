//! What several clients do at once.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::apart::{ELSEWHERE, HERE, apart};
use super::client::{Client, activate, reserve};

/// Names that no other client makes.
#[derive(Clone, Debug)]
pub(super) struct Names(Arc<(String, AtomicU64)>);

impl Names {
    /// Names that begin with `user.PREFIX`.
    pub(super) fn new(prefix: &str) -> Self {
        Self(Arc::new((prefix.to_owned(), AtomicU64::new(0))))
    }

    pub(super) fn next(&self) -> String {
        format!("user.{}{:08}", self.0.0, self.0.1.fetch_add(1, Ordering::Relaxed))
    }
}

/// How often a client connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Connections {
    /// For each pair, as backends do.
    New,
    /// Once.
    Kept,
}

/// RESERVE and ACTIVATE of new names, one command after the other: pairs per second.
pub(super) async fn pairs(
    address: SocketAddr,
    clients: usize,
    connections: Connections,
    turn: Duration,
    names: &Names,
) -> Result<f64> {
    let start = Instant::now();
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let names = names.clone();
        all.spawn(async move {
            let mut pairs = 0_u64;
            let mut kept = None;
            while start.elapsed() < turn {
                let name = names.next();
                let mut client = match kept.take() {
                    Some(client) => client,
                    None => Client::open(address).await?,
                };
                client.call(&reserve(&name)).await?;
                client.call(&activate(&name)).await?;
                pairs += 1;
                match connections {
                    Connections::New => client.logout().await?,
                    Connections::Kept => kept = Some(client),
                }
            }
            if let Some(client) = kept {
                client.logout().await?;
            }
            anyhow::Ok(pairs)
        });
    }
    let mut pairs = 0;
    while let Some(done) = all.join_next().await {
        pairs += done??;
    }
    Ok(pairs as f64 / start.elapsed().as_secs_f64())
}

/// Writes without a pause on one connection, until told to stop.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    slowest: Pin<Box<dyn Future<Output = Result<Duration>> + Send>>,
}

impl Writer {
    pub(super) async fn start(address: SocketAddr, names: &Names) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (names, stopping) = (names.clone(), stop.clone());
        let (ready, connected) = oneshot::channel();
        let slowest = apart(HERE, async move {
            let mut client = Client::open(address).await?;
            let _ = ready.send(());
            let mut worst = Duration::ZERO;
            while !stopping.load(Ordering::Relaxed) {
                let name = names.next();
                for command in [reserve(&name), activate(&name)] {
                    let start = Instant::now();
                    client.call(&command).await?;
                    worst = worst.max(start.elapsed());
                }
            }
            client.logout().await?;
            Ok(worst)
        })?;
        // A client that cannot connect says why when it is stopped.
        let _ = connected.await;
        Ok(Self { stop, slowest: Box::pin(slowest) })
    }

    /// Ends it; returns how long the slowest write took.
    pub(super) async fn stop(self) -> Result<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        self.slowest.await
    }
}

/// So many slaves take the whole list at the same moment: how long the last of them took.
pub(super) async fn slaves(address: SocketAddr, count: usize) -> Result<Duration> {
    apart(ELSEWHERE, taking(address, count))?.await
}

async fn taking(address: SocketAddr, count: usize) -> Result<Duration> {
    let start = Arc::new(tokio::sync::Barrier::new(count));
    let mut all = JoinSet::new();
    for _ in 0..count {
        let start = start.clone();
        let mut client = Client::open(address).await?;
        all.spawn(async move {
            start.wait().await;
            let began = Instant::now();
            client.drain_list().await?;
            anyhow::Ok(began.elapsed())
        });
    }
    let mut last = Duration::ZERO;
    while let Some(took) = all.join_next().await {
        last = last.max(took??);
    }
    Ok(last)
}
