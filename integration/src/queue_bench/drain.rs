//! A backlog, and what stood in its way is back.
//!
//! Of real Cyrus: a client that delivers in parallel to the same frontends, for the same users, right before in each
//! round, shows what that Cyrus takes; the backlog and the new mail that is delivered beside it share the same. And once
//! more with a server that takes everything at once, which shows what the queue can give away.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::net::TcpStream;

use super::Scale;
use super::outage::{Outage, murder};
use crate::bench::ground::Ground;
use crate::deadline::within;
use crate::lmtp_bench::counter;
use crate::mail_load::{Answer, Dialect, Load, USERS, median, processor, quantile};
use crate::murder::Plan;
use crate::post::Post;
use crate::ravenry::Ravenry;

/// For a backlog to drain.
const DRAINED: Duration = Duration::from_secs(1200);
/// Sessions that bring a backlog, or deliver directly.
const SESSIONS: usize = 16;
/// The texts of a backlog, in bytes.
const SIZE: usize = 4 << 10;
/// Of so many backlogs one waits for a server that takes everything at once.
const MORE: usize = 4;

pub(super) async fn measure(ground: &Ground, scale: Scale, out: &mut String) -> Result<()> {
    cyrus(scale, out).await?;
    alone(ground, scale, out).await
}

/// Of each round that counts.
#[derive(Default)]
struct Figures {
    direct: Vec<f64>,
    backlog: Vec<f64>,
    /// The new mail beside it included.
    all: Vec<f64>,
    ratio: Vec<f64>,
    cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
}

async fn cyrus(scale: Scale, out: &mut String) -> Result<()> {
    let post = Post::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    for n in 0..USERS {
        murder.create_user(&format!("u{n:03}"), &murder.be1).await?;
    }
    let load = |address, share| Load {
        sessions: SESSIONS / share,
        messages: scale.backlog / share,
        size: SIZE,
        ..Load::new(address, Dialect::Lmtp)
    };
    let mut figures = Figures::default();
    for round in 0..=scale.rounds {
        let started = Instant::now();
        let [fe1, fe2] = murder.frontends().map(|frontend| load(frontend.lmtp_address(), 2).run());
        let (one, two) = tokio::try_join!(fe1, fe2)?;
        let directly = (one.len() + two.len()) as f64 / started.elapsed().as_secs_f64();
        murder.be1.stop_cyrus().await?;
        let queued = Load { answer: Answer::Queued, ..load(post.address(), 1) }.run().await?.len() as f64;
        murder.be1.start_cyrus().await?;
        murder.be1.wait_until_up().await?;
        let (started, before) = (Instant::now(), processor(ravenry.pid()?)?);
        let mut new = within(DRAINED, "draining", new_mail(&post)).await?;
        let seconds = started.elapsed().as_secs_f64();
        let (backlog, all) = (queued / seconds, (queued + new.len() as f64) / seconds);
        eprintln!("bench: {directly:.0}/s directly; {backlog:.0}/s of the backlog, {all:.0}/s with new mail");
        // The first round only warms up.
        if round == 0 {
            continue;
        }
        new.sort_by(f64::total_cmp);
        figures.direct.push(directly);
        figures.backlog.push(backlog);
        figures.all.push(all);
        figures.ratio.push(all / directly);
        figures.cpu.push((processor(ravenry.pid()?)? - before) * 1000.0 / queued);
        figures.p50.push(quantile(&new, 0.5));
        figures.p99.push(quantile(&new, 0.99));
    }
    writeln!(
        out,
        "\n{} messages for {USERS} users of a backend that comes back; {SESSIONS} sessions deliver directly:\n\n\
         | directly, messages/s | backlog | backlog and new mail | of direct | CPU s per 1,000 | new mail meanwhile, p50 ms | p99 ms |\n\
         |---:|---:|---:|---:|---:|---:|---:|\n\
         | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
        scale.backlog,
        median(&figures.direct),
        median(&figures.backlog),
        median(&figures.all),
        median(&figures.ratio),
        median(&figures.cpu),
        median(&figures.p50),
        median(&figures.p99),
    )?;
    post.stage.dismiss().await
}

/// Delivers new mail to the backend until the queue is empty: how long each took, in milliseconds.
async fn new_mail(post: &Post) -> Result<Vec<f64>> {
    let load = Load { size: SIZE, ..Load::new(post.address(), Dialect::Lmtp) };
    let mut times = Vec::new();
    loop {
        times.extend(load.run().await?);
        if is_empty(&post.stage.ravenry).await? {
            return Ok(times);
        }
        ensure!(times.len() < 1_000_000, "it does not drain");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn is_empty(ravenry: &Ravenry) -> Result<bool> {
    Ok(ravenry.scrape().await?.contains("\nravenry_queue_messages 0\n"))
}

/// The same with a server that takes everything at once, and nobody beside it.
async fn alone(ground: &Ground, scale: Scale, out: &mut String) -> Result<()> {
    let murder = murder().await?;
    let frontend = SocketAddr::from((murder.gateway(), 2003));
    let outage = Outage::start(murder, ground, None, frontend).await?;
    let [mut rates, mut cpu] = [const { Vec::new() }; 2];
    for round in 0..=scale.rounds {
        let load = Load {
            sessions: SESSIONS,
            messages: MORE * scale.backlog,
            size: SIZE,
            answer: Answer::Queued,
            ..Load::new(outage.address, Dialect::Lmtp)
        };
        let queued = load.run().await?.len() as f64;
        // What was just queued waits for a second.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let before = processor(outage.ravenry.pid()?)?;
        let counter = counter::start(frontend).await?;
        within(DRAINED, "the first delivery", async {
            while outage.queued().await? == Some(queued as u64) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        })
        .await?;
        let started = Instant::now();
        within(DRAINED, "draining", async {
            while !is_empty(&outage.ravenry).await? {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await?;
        let rate = queued / started.elapsed().as_secs_f64();
        eprintln!("bench: {rate:.0}/s to a server that only counts");
        if round > 0 {
            rates.push(rate);
            cpu.push((processor(outage.ravenry.pid()?)? - before) * 1000.0 / queued);
        }
        drop(counter);
        within(DRAINED, "the server gone", async {
            while TcpStream::connect(frontend).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
        .await?;
    }
    writeln!(
        out,
        "\n{} messages to a server that only counts: {:.0} a second, {:.2} s of processor time per 1,000.",
        MORE * scale.backlog,
        median(&rates),
        median(&cpu),
    )?;
    outage.stop().await
}
