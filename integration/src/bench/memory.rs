//! What a long list costs: memory after everything was read once, and the time to serve after a crash.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::process::Command;

use super::client::{Client, find};
use super::ground::Ground;
use super::model::Model;
use super::report::{Aim, Row, Unit, Who};
use super::{Measure, Scale, load, say};
use crate::made_up::name;
use crate::ravenry::{Ravenry, Settings, Site};

/// For a list of ten million to arrive.
const LEARNING: Duration = Duration::from_secs(900);

/// For a start, which the aim puts at a second.
const START: Duration = Duration::from_secs(60);

/// The list from which on the aims hold.
const LARGE: u64 = 10_000_000;

pub(super) async fn measure(
    ground: &Ground,
    mailboxes: u64,
    scale: &Scale,
    wanted: Measure,
) -> Result<Vec<Row>> {
    let model = Model::start(mailboxes).await?;
    let listen = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let site =
        Site { within: Some(ground.directory("ravenry")?), binary: ground.binary.clone(), ..Site::default() };
    let settings = Settings { listen, master: model.address(), extra: String::new() };
    let mut ravenry = Ravenry::prepare_at(settings, site).await?;
    ravenry.launch().await?;
    let learned = ravenry.wait_for_state("following", LEARNING).await?;
    say(format_args!("{mailboxes} mailboxes learned in {learned:.1?}, {}", memory(&ravenry)?));
    let mut rows = Vec::new();
    if wanted.includes(Measure::Memory) {
        rows.extend(memory_used(&ravenry, mailboxes, scale).await?);
    }
    // Nobody else holds the list from now on: what is served at the start is what is on disk.
    drop(model);
    if wanted.includes(Measure::Start) {
        rows.push(starts(&mut ravenry, mailboxes, scale).await?);
    }
    ravenry.stop().await?;
    Ok(rows)
}

async fn memory_used(ravenry: &Ravenry, mailboxes: u64, scale: &Scale) -> Result<Vec<Row>> {
    let update = load::slaves(ravenry.address(), 1).await?;
    say(format_args!("UPDATE in {update:.1?}, {}", memory(ravenry)?));
    let began = Instant::now();
    let any = (0..scale.finds).map(|_| find(&name(fastrand::u64(..mailboxes))));
    let found = Client::open(ravenry.address()).await?.pipeline(any).await?;
    ensure!(found == scale.finds, "{found} of {} names found", scale.finds);
    let rate = found as f64 / began.elapsed().as_secs_f64();
    let used = memory(ravenry)?;
    say(format_args!("{found} random FINDs at {rate:.0}/s, {used}"));
    let list = format!("{mailboxes} mailboxes");
    let limit: &[Aim] = if mailboxes >= LARGE { &[Aim::AtMost(Who::Following, 512.0)] } else { &[] };
    let mut resident = Row::new(
        format!("memory (VmRSS) with {list}, after UPDATE and random FINDs"),
        Unit::Mebibytes,
        limit,
    );
    resident.add(Who::Following, used.resident);
    let mut peak = Row::new(format!("its peak (VmHWM), learning {list} included"), Unit::Mebibytes, &[]);
    peak.add(Who::Following, used.peak);
    let mut random = Row::new(format!("random FINDs among {list}, pipelined"), Unit::PerSecond, &[]);
    random.add(Who::Following, rate);
    Ok(vec![resident, peak, random])
}

async fn starts(ravenry: &mut Ravenry, mailboxes: u64, scale: &Scale) -> Result<Row> {
    let limit: &[Aim] = if mailboxes >= LARGE { &[Aim::AtMost(Who::StandingIn, 1.0)] } else { &[] };
    let what = format!("start after SIGKILL to the first FIND answered, {mailboxes} mailboxes");
    let mut row = Row::new(what, Unit::Seconds, limit).worst();
    for _ in 0..scale.long_rounds {
        ravenry.kill().await?;
        forget_pages(&ravenry.home().join("state/list/list.redb")).await?;
        let start = Instant::now();
        ravenry.launch().await?;
        first_answer(ravenry.address(), start + START).await?;
        let took = start.elapsed().as_secs_f64();
        say(format_args!("serving {took:.3} s after the start"));
        row.add(Who::StandingIn, took);
    }
    Ok(row)
}

/// In MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    resident: f64,
    pub(super) peak: f64,
}

impl std::fmt::Display for Used {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} MiB, at most {:.0} MiB", self.resident, self.peak)
    }
}

pub(super) fn memory(ravenry: &Ravenry) -> Result<Used> {
    Ok(Used { resident: ravenry.resident()? as f64 / 1024.0, peak: ravenry.peak()? as f64 / 1024.0 })
}

/// A start finds nothing of the file in memory, as after a power cut.
async fn forget_pages(file: &Path) -> Result<()> {
    let status = Command::new("dd")
        .arg(format!("if={}", file.display()))
        .args(["iflag=nocache", "count=0", "status=none"])
        .stdin(Stdio::null())
        .status()
        .await?;
    ensure!(status.success(), "dd: {status}");
    Ok(())
}

async fn first_answer(address: SocketAddr, until: Instant) -> Result<()> {
    loop {
        if let Ok(mut client) = Client::open(address).await {
            ensure!(client.call(&find(&name(0))).await? == 1, "the first name is not there");
            return Ok(());
        }
        if Instant::now() > until {
            bail!("not serving within {START:?}");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
