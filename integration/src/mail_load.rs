//! Sessions that deliver one message after the other as fast as they are answered, and what is made of their times.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;

use crate::clients::{Wire, message};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often a message is tried, and after which pause.
const PATIENT: usize = 100;
const PAUSE: Duration = Duration::from_millis(50);

/// Users that get the mail: u000 and so on.
pub(crate) const USERS: usize = 20;

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialect {
    Lmtp,
    Smtp,
}

/// How a message has to be answered in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// It is in the mailbox, or at an MTA, in its queue.
    Taken,
    /// Ravenry has queued it.
    Queued,
}

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) dialect: Dialect,
    pub(crate) sessions: usize,
    pub(crate) messages: usize,
    /// The length of a text, in bytes.
    pub(crate) size: usize,
    pub(crate) answer: Answer,
}

impl Load {
    /// One session, one message of a usual size.
    pub(crate) fn new(address: SocketAddr, dialect: Dialect) -> Self {
        Self { address, dialect, sessions: 1, messages: 1, size: 20 << 10, answer: Answer::Taken }
    }

    /// How long each message took, in milliseconds.
    pub(crate) async fn run(self) -> Result<Vec<f64>> {
        let mut all = JoinSet::new();
        for _ in 0..self.sessions {
            all.spawn(self.session());
        }
        let mut times = Vec::new();
        while let Some(done) = all.join_next().await {
            times.extend(done??);
        }
        Ok(times)
    }

    async fn session(self) -> Result<Vec<f64>> {
        let share = self.messages / self.sessions;
        let mut session = Session::open(self).await?;
        let mut times = Vec::with_capacity(share);
        for _ in 0..share {
            let started = Instant::now();
            session.deliver().await?;
            times.push(started.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(times)
    }
}

/// A session that is ready for messages.
#[derive(Debug)]
pub(crate) struct Session {
    wire: Wire,
    load: Load,
    body: String,
}

impl Session {
    pub(crate) async fn open(load: Load) -> Result<Self> {
        let mut wire = Wire::connect(load.address).await?;
        wire.set_patience(PATIENCE);
        wire.record_nothing();
        wire.expect_line().await?;
        let hello = match load.dialect {
            Dialect::Lmtp => "LHLO bench\r\n",
            Dialect::Smtp => "EHLO bench\r\n",
        };
        wire.send(hello.as_bytes()).await?;
        while wire.expect_line().await?.as_bytes().get(3) == Some(&b'-') {}
        let body = "A line of text that is neither short nor long, as lines are.\r\n";
        Ok(Self { wire, load, body: body.repeat(load.size / body.len()) })
    }

    /// One message to some user, as an MTA with a queue of its own: what is answered 4xx is tried again.
    pub(crate) async fn deliver(&mut self) -> Result<()> {
        for _ in 0..PATIENT {
            if self.attempt().await? {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        bail!("{PATIENT} times in a row 4xx")
    }

    /// MAIL to DATA in one segment, as Postfix does. Whether the message was taken.
    async fn attempt(&mut self) -> Result<bool> {
        let domain = if self.load.dialect == Dialect::Smtp { "@bench.test" } else { "" };
        let user = fastrand::usize(..USERS);
        let id = format!("bench-{:x}", fastrand::u128(..));
        let text = message(&id) + &self.body + ".\r\n";
        let commands = format!("MAIL FROM:<a@example.org>\r\nRCPT TO:<u{user:03}{domain}>\r\nDATA\r\n");
        self.wire.send(commands.as_bytes()).await?;
        for code in ["250", "250", "354"] {
            let line = self.wire.expect_line().await?;
            ensure!(line.starts_with(code), "{line}");
        }
        self.wire.send(text.as_bytes()).await?;
        let line = self.wire.expect_line().await?;
        if line.starts_with('4') {
            eprintln!("bench: {line}");
            return Ok(false);
        }
        let by_us = line.contains("Queued as");
        ensure!(line.starts_with("250") && by_us == (self.load.answer == Answer::Queued), "{line}");
        Ok(true)
    }
}

/// The middle one.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// The figure below which a share of the sorted figures lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// The seconds of processor time that a process has used.
pub(crate) fn processor(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no processor time");
    // A hundred ticks a second, on every Linux that we meet.
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
