//! The queue, measured: how fast it takes mail beside Debian's Postfix, how fast a backlog goes to a backend that is
//! back beside what its frontends take directly, and how much memory it needs.
//!
//! What is compared alternates, round by round, so that a busy machine disturbs all alike; a ratio is the median of
//! the ratios within each round. Postfix and Ravenry are reached in one container's network and share of the
//! processor, and keep their queues below one directory of the host, both with fsync. Postfix only takes the mail and
//! holds it (`HOLD`): it spends nothing on trying to deliver. Ravenry's frontends cannot be reached.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;

use crate::bench::ground::Ground;
use crate::clients::Mupdate;
use crate::deadline::{eventually, within};
use crate::mail_figures::Measured;
use crate::mail_load::{Answer, Dialect, Load, USERS, median, processor, quantile};
use crate::murder::{Murder, Plan};
use crate::post::Post;
use crate::ravenry::{Ravenry, Settings, Site};

const PATIENCE: Duration = Duration::from_secs(120);
/// For a backlog to drain.
const DRAINED: Duration = Duration::from_secs(1200);
/// Sessions that bring a backlog, or deliver directly.
const SESSIONS: usize = 16;
/// The texts of a backlog, and those of very many messages, in bytes.
const BACKLOG_SIZE: usize = 4 << 10;
const SMALL: usize = 500;

/// A second Postfix in the container, below `/bench`, that takes everything and holds it.
const POSTFIX: &str = "set -e
mkdir -p /bench/etc /bench/data /bench/queue
chown postfix /bench/data
cp /etc/postfix/master.cf /bench/etc/
cat > /bench/etc/main.cf <<CONFIG
compatibility_level = 3.6
queue_directory = /bench/queue
data_directory = /bench/data
myhostname = bench.test
mydestination =
inet_protocols = ipv4
mynetworks = 0.0.0.0/0
local_recipient_maps =
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access static:HOLD, permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 200
CONFIG
postconf -c /bench/etc -M# smtp/inet
postconf -c /bench/etc -M '2525/inet=2525 inet n - n - 200 smtpd'
postconf -c /bench/etc -F '*/*/chroot=n'
postfix -c /bench/etc start";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of each measure.
    pub rounds: usize,
    /// Messages of each round with 64 sessions.
    pub messages: usize,
    /// The same with one.
    pub alone: usize,
    /// Messages that wait for a backend.
    pub backlog: usize,
    /// Messages that are queued to see how much memory they take.
    pub very_many: usize,
}

/// Measures, and returns tables.
pub async fn run(scale: Scale) -> Result<String> {
    let ground = Ground::prepare(true).await?;
    let mut out = String::new();
    accept(&ground, scale, &mut out).await?;
    drain(scale, &mut out).await?;
    writeln!(out)?;
    for (what, is) in ground.describe().await? {
        writeln!(out, "- {what}: {is}")?;
    }
    Ok(out)
}

async fn accept(ground: &Ground, scale: Scale, out: &mut String) -> Result<()> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    murder.start_master().await?;
    let mut master = Mupdate::login(murder.mm.mupdate_address()).await?;
    for user in (0..USERS).map(|n| format!("u{n:03}")) {
        let acl = format!("{user}\tlrswipkxtecda\t");
        master.activate(&format!("user.{user}"), &murder.be1.location(), &acl).await?.ok()?;
    }
    let directory = ground.directory("postfix")?;
    let nowhere = SocketAddr::from((murder.gateway(), 1));
    murder.start_mta_with(nowhere, &[format!("{}:/bench", directory.canonicalize()?.display())]).await?;
    murder.mta.exec_root(&["sh", "-c", POSTFIX]).await?.success().context("a second Postfix")?;
    let at = |port| SocketAddr::from((murder.mta.ip(), port));
    let site = Site {
        within: Some(ground.directory("ravenry")?),
        beside: Some(murder.mta.pid().await?),
        binary: ground.binary.clone(),
        ..Site::default()
    };
    let settings = Settings {
        listen: at(3905),
        master: murder.mm.mupdate_address(),
        extra: format!(
            "[lmtp]\nlisten = [\"{}\"]\nfrontends = [\"127.0.0.1:1\"]\n[spool]\nmax_messages = 3000000\n",
            at(2424)
        ),
    };
    let mut ravenry = Ravenry::prepare_at(settings, site).await?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", PATIENCE).await?;
    for port in [2525, 2424] {
        eventually(PATIENCE, "both listening", async || Ok(TcpStream::connect(at(port)).await.ok())).await?;
    }
    let queue = |name, port, dialect, answer, pid| {
        Measured::new(name, Load { answer, ..Load::new(at(port), dialect) }, pid)
    };
    writeln!(
        out,
        "| queue | sessions | messages/s | of Postfix | p50 ms | p99 ms | CPU s per 1,000 |\n\
         |---|---:|---:|---:|---:|---:|---:|"
    )?;
    for (sessions, messages) in [(64, scale.messages), (1, scale.alone)] {
        let mut queues = [
            queue("Postfix", 2525, Dialect::Smtp, Answer::Taken, None),
            queue("Ravenry", 2424, Dialect::Lmtp, Answer::Queued, Some(ravenry.pid()?)),
        ];
        for round in 0..=scale.rounds {
            for turn in 0..queues.len() {
                let at = (round + turn) % queues.len();
                if let Some(queue) = queues.get_mut(at) {
                    queue.round(sessions, messages, round > 0).await?;
                }
            }
        }
        rows(out, sessions, &queues)?;
    }
    memory(&mut ravenry, at(2424), scale.very_many, out).await?;
    ravenry.stop().await?;
    murder.stop().await
}

fn rows(out: &mut String, sessions: usize, queues: &[Measured]) -> Result<()> {
    let Some(first) = queues.first() else { return Ok(()) };
    for queue in queues {
        writeln!(out, "| {} | {sessions} | {} |", queue.name, queue.cells(first))?;
    }
    Ok(())
}

/// What very many messages take, while they come and after a start.
async fn memory(ravenry: &mut Ravenry, address: SocketAddr, messages: usize, out: &mut String) -> Result<()> {
    writeln!(out, "\n| messages queued | Ravenry's memory (VmRSS), KiB |\n|---:|---:|")?;
    let queued = async |ravenry: &Ravenry| {
        let status = ravenry.status().await?;
        status.pointer("/queue/messages").and_then(serde_json::Value::as_u64).context("no queue")
    };
    writeln!(out, "| {} | {} |", queued(ravenry).await?, ravenry.resident()?)?;
    let parts = 10;
    for _ in 0..parts {
        let load = Load {
            sessions: 64,
            messages: messages / parts,
            size: SMALL,
            answer: Answer::Queued,
            ..Load::new(address, Dialect::Lmtp)
        };
        load.run().await?;
        writeln!(out, "| {} | {} |", queued(ravenry).await?, ravenry.resident()?)?;
        eprintln!("bench: {} queued, {} KiB", queued(ravenry).await?, ravenry.resident()?);
    }
    let expected = queued(ravenry).await?;
    ravenry.kill().await?;
    let started = Instant::now();
    ravenry.launch().await?;
    let is = |status: &serde_json::Value| {
        status.pointer("/queue/messages").and_then(serde_json::Value::as_u64) == Some(expected)
    };
    ravenry.wait_for(PATIENCE, "all messages", is).await?;
    let took = started.elapsed();
    writeln!(
        out,
        "\nKilled and started again, all {expected} messages are there after {:.1} s, with {} KiB.",
        took.as_secs_f64(),
        ravenry.resident()?
    )?;
    Ok(())
}

async fn drain(scale: Scale, out: &mut String) -> Result<()> {
    let post = Post::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    for n in 0..USERS {
        murder.create_user(&format!("u{n:03}"), &murder.be1).await?;
    }
    let load = |address, share| Load {
        sessions: SESSIONS / share,
        messages: scale.backlog / share,
        size: BACKLOG_SIZE,
        ..Load::new(address, Dialect::Lmtp)
    };
    let [mut direct, mut drained, mut ratios, mut p50, mut p99, mut cpu] = [const { Vec::new() }; 6];
    for round in 0..=scale.rounds {
        let started = Instant::now();
        let [fe1, fe2] = murder.frontends().map(|frontend| load(frontend.lmtp_address(), 2).run());
        let (one, two) = tokio::try_join!(fe1, fe2)?;
        let directly = (one.len() + two.len()) as f64 / started.elapsed().as_secs_f64();
        murder.be1.stop_cyrus().await?;
        Load { answer: Answer::Queued, ..load(post.address(), 1) }.run().await?;
        murder.be1.start_cyrus().await?;
        murder.be1.wait_until_up().await?;
        let (started, before) = (Instant::now(), processor(ravenry.pid()?)?);
        let mut new = within(DRAINED, "draining", new_mail(&post)).await?;
        let rate = scale.backlog as f64 / started.elapsed().as_secs_f64();
        eprintln!("bench: {directly:.0}/s directly, {rate:.0}/s out of the queue, {} new ones", new.len());
        // The first round only warms up.
        if round == 0 {
            continue;
        }
        new.sort_by(f64::total_cmp);
        direct.push(directly);
        drained.push(rate);
        ratios.push(rate / directly);
        p50.push(quantile(&new, 0.5));
        p99.push(quantile(&new, 0.99));
        cpu.push((processor(ravenry.pid()?)? - before) * 1000.0 / scale.backlog as f64);
    }
    writeln!(
        out,
        "\n{} messages for {USERS} users of a backend that comes back; {SESSIONS} sessions deliver directly:\n\n\
         | directly, messages/s | out of the queue, messages/s | of direct | CPU s per 1,000 | new mail meanwhile, p50 ms | p99 ms |\n\
         |---:|---:|---:|---:|---:|---:|\n\
         | {:.0} | {:.0} | {:.2} | {:.2} | {:.1} | {:.1} |",
        scale.backlog,
        median(&direct),
        median(&drained),
        median(&ratios),
        median(&cpu),
        median(&p50),
        median(&p99),
    )?;
    post.stop().await
}

/// Delivers new mail to the backend until the queue is empty: how long each took, in milliseconds.
async fn new_mail(post: &Post) -> Result<Vec<f64>> {
    let load = Load { size: BACKLOG_SIZE, ..Load::new(post.address(), Dialect::Lmtp) };
    let mut times = Vec::new();
    loop {
        times.extend(load.run().await?);
        let scraped = post.stage.ravenry.scrape().await?;
        if scraped.contains("\nravenry_queue_messages 0\n") {
            return Ok(times);
        }
        ensure!(times.len() < 1_000_000, "it does not drain");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
