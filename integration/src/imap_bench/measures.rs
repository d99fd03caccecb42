//! A turn of each measure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ClientConfig;

use super::client::Client;
use super::ways::{Running, Way, spent};
use super::{Scale, added};
use crate::bench::apart::{HERE, apart};
use crate::imap_stub::MESSAGE;
use crate::mail_load::{median, quantile};

/// Sessions that carry messages at the same time.
const CARRIERS: usize = 4;

/// Logins at the same time.
const COMERS: usize = 16;

/// Idle sessions are looked at after so long: what their logins used is given back by then.
const REST: Duration = Duration::from_secs(3);

/// A way, and its figures of every round that counted.
pub(super) struct Figures {
    pub(super) way: Way,
    p50: Vec<f64>,
    p99: Vec<f64>,
    logins: Vec<f64>,
    login_cost: Vec<f64>,
    fetch: Carried,
    append: Carried,
}

/// Messages that were carried in one direction.
#[derive(Default)]
struct Carried {
    /// MiB per second.
    rates: Vec<f64>,
    /// Seconds of processor time per GB.
    costs: Vec<f64>,
}

impl Figures {
    pub(super) fn new(way: Way) -> Self {
        let [p50, p99, logins, login_cost] = [const { Vec::new() }; 4];
        let (fetch, append) = (Carried::default(), Carried::default());
        Self { way, p50, p99, logins, login_cost, fetch, append }
    }

    pub(super) async fn round(&mut self, scale: Scale, tls: &Arc<ClientConfig>, counts: bool) -> Result<()> {
        let way = &self.way;
        let mut times = apart(HERE, noops(way.clone(), tls.clone(), scale.noops))?.await?;
        let logins = used(way, apart(HERE, logins(way.clone(), tls.clone(), scale.logins))?).await?;
        let mut carry = [None, None];
        for (append, carried) in [false, true].into_iter().zip(&mut carry) {
            let messages = apart(HERE, carry_messages(way.clone(), tls.clone(), scale.messages, append))?;
            *carried = Some(used(way, messages).await?);
        }
        let [Some(fetch), Some(append)] = carry else { return Ok(()) };
        if !counts {
            return Ok(());
        }
        times.sort_by(f64::total_cmp);
        self.p50.push(quantile(&times, 0.5));
        self.p99.push(quantile(&times, 0.99));
        self.logins.push(scale.logins as f64 / logins.seconds);
        self.login_cost.extend(logins.processor.map(|used| used * 1e3 / scale.logins as f64));
        let bytes = (scale.messages * MESSAGE) as f64;
        for (carried, used) in [(&mut self.fetch, fetch), (&mut self.append, append)] {
            carried.rates.push(bytes / f64::from(1 << 20) / used.seconds);
            carried.costs.extend(used.processor.map(|used| used * 1e9 / bytes));
        }
        eprintln!("bench: {}: {}", self.way.name, self.cells(self));
        Ok(())
    }

    /// Its cells of the table.
    pub(super) fn cells(&self, direct: &Self) -> String {
        let cost = |costs: &[f64], digits| match costs {
            [] => "–".to_owned(),
            costs => format!("{:.digits$}", median(costs)),
        };
        format!(
            "{:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {} | {:.0} | {} | {:.0} | {}",
            median(&self.p50),
            median(&self.p99),
            added(&self.p50, &direct.p50),
            added(&self.p99, &direct.p99),
            median(&self.logins),
            cost(&self.login_cost, 3),
            median(&self.fetch.rates),
            cost(&self.fetch.costs, 3),
            median(&self.append.rates),
            cost(&self.append.costs, 3),
        )
    }
}

/// What something took.
struct Used {
    seconds: f64,
    /// Of the proxy, in seconds.
    processor: Option<f64>,
}

async fn used(way: &Way, work: impl Future<Output = Result<()>>) -> Result<Used> {
    let before = way.pid.map(spent).transpose()?;
    let began = Instant::now();
    work.await?;
    let seconds = began.elapsed().as_secs_f64();
    let after = way.pid.map(spent).transpose()?;
    Ok(Used { seconds, processor: before.zip(after).map(|(before, after)| after - before) })
}

async fn noops(way: Way, tls: Arc<ClientConfig>, count: usize) -> Result<Vec<f64>> {
    let mut client = Client::log_in(&way, &tls).await?;
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        times.push(client.exchange("a NOOP\r\n").await?);
    }
    client.log_out().await?;
    Ok(times)
}

async fn logins(way: Way, tls: Arc<ClientConfig>, count: usize) -> Result<()> {
    let mut all = JoinSet::new();
    for _ in 0..COMERS {
        let (way, tls) = (way.clone(), tls.clone());
        all.spawn(async move {
            for _ in 0..count / COMERS {
                Client::log_in(&way, &tls).await?.log_out().await?;
            }
            Ok(())
        });
    }
    finish(all).await
}

async fn carry_messages(way: Way, tls: Arc<ClientConfig>, count: usize, append: bool) -> Result<()> {
    let mut all = JoinSet::new();
    for _ in 0..CARRIERS {
        let (way, tls) = (way.clone(), tls.clone());
        all.spawn(async move {
            let mut client = Client::log_in(&way, &tls).await?;
            let mut chunk = vec![b'x'; if append { MESSAGE } else { 0 }];
            for _ in 0..count / CARRIERS {
                if append {
                    client.append(&chunk).await?;
                } else {
                    client.fetch(&mut chunk).await?;
                }
            }
            client.log_out().await
        });
    }
    finish(all).await
}

async fn finish(mut all: JoinSet<Result<()>>) -> Result<()> {
    while let Some(done) = all.join_next().await {
        done.context("a client")??;
    }
    Ok(())
}

/// What the proxy's memory is before and with so many sessions in which nothing happens, in KiB.
pub(super) async fn idle(
    proxy: &Running,
    way: &Way,
    tls: &Arc<ClientConfig>,
    count: usize,
) -> Result<(f64, f64)> {
    logins(way.clone(), tls.clone(), 10 * COMERS).await?;
    tokio::time::sleep(REST).await;
    let before = proxy.resident()?;
    let mut opening = JoinSet::new();
    for _ in 0..COMERS {
        let (way, tls) = (way.clone(), tls.clone());
        opening.spawn(async move {
            let mut clients = Vec::new();
            for _ in 0..count / COMERS {
                let mut client = Client::log_in(&way, &tls).await?;
                // As a client does before it waits.
                client.exchange("a SELECT INBOX\r\n").await?;
                clients.push(client);
            }
            anyhow::Ok(clients)
        });
    }
    let mut clients = Vec::new();
    while let Some(opened) = opening.join_next().await {
        clients.extend(opened??);
    }
    tokio::time::sleep(REST).await;
    let with = proxy.resident()?;
    // They are all still there.
    for client in &mut clients {
        client.exchange("a NOOP\r\n").await?;
    }
    Ok((before, with))
}
