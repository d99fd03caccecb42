//! Deliveries through Ravenry, measured beside a frontend asked directly and beside HAProxy before it, in one run.
//!
//! Two servers stand behind: a real frontend with two real backends, and one that only counts, which shows what the
//! way itself costs.
//!
//! | file | what |
//! |---|---|
//! | `saturated` | as fast as it goes: rates |
//! | `steady` | below that: what a way adds to the time that a message takes |
//! | `counter` | the server that only counts |

pub(crate) mod counter;
mod saturated;
mod steady;

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;

use crate::clients::Lmtp;
use crate::mail_load::USERS;
use crate::murder::{Murder, Plan};
use crate::peers::{self, Peer};
use crate::post::{Beside, Post};
use counter::Counter;

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Part {
    /// All of it.
    All,
    /// As fast as it goes.
    Saturated,
    /// At a steady pace below that.
    Steady,
    /// Memory with one session and with a thousand.
    Memory,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of each measure.
    pub rounds: usize,
    /// Messages of each round through Cyrus.
    pub messages: usize,
    /// The same to the server that only counts.
    pub counted: usize,
    /// How long a steady pace is kept.
    pub steady: Duration,
}

impl Scale {
    /// For docs/benchmarks.md.
    pub fn full() -> Self {
        Self { rounds: 5, messages: 2_000, counted: 10_000, steady: Duration::from_secs(90) }
    }

    /// A few minutes.
    pub fn quick() -> Self {
        Self { rounds: 3, messages: 400, counted: 2_000, steady: Duration::from_secs(20) }
    }
}

/// Everything that is compared.
struct Stand {
    post: Post,
    /// Another Ravenry, before the counter.
    other: Beside,
    proxy: Peer,
    counter: Counter,
}

/// A way to a server: its name, where it begins, and the process whose time it takes.
type Way = (&'static str, SocketAddr, Option<u32>);

impl Stand {
    async fn build() -> Result<Self> {
        let counter = counter::start((Ipv4Addr::LOCALHOST, 0).into()).await?;
        let murder = Murder::prepare(Plan::chosen()?).await?;
        let frontend = murder.fe1.lmtp_address();
        let post = Post::start_in(murder, &[frontend], "").await?;
        let murder = &post.stage.murder;
        for (n, backend) in (0..USERS).zip(murder.backends().into_iter().cycle()) {
            murder.create_user(&format!("u{n:03}"), backend).await?;
        }
        let other = Post::beside(&post, &[counter.address]).await?;
        let at = |port| SocketAddr::from((murder.gateway(), port));
        let way_to = |from, to| peers::Way { from, to, identity: None };
        let proxy = Peer::haproxy(&[way_to(at(2501), frontend), way_to(at(2502), counter.address)]).await?;
        Ok(Self { post, other, proxy, counter })
    }

    fn proxied(&self, port: u16) -> Result<Way> {
        Ok(("HAProxy", (self.post.stage.murder.gateway(), port).into(), Some(self.proxy.pid()?)))
    }

    fn to_cyrus(&self) -> Result<[Way; 3]> {
        let direct = self.post.stage.murder.fe1.lmtp_address();
        let ours = ("Ravenry", self.post.address(), Some(self.post.stage.ravenry.pid()?));
        Ok([("direct", direct, None), self.proxied(2501)?, ours])
    }

    fn to_counter(&self) -> Result<[Way; 3]> {
        let ours = ("Ravenry", self.other.address(), Some(self.other.ravenry.pid()?));
        Ok([("direct", self.counter.address, None), self.proxied(2502)?, ours])
    }

    async fn memory(&self, out: &mut String) -> Result<()> {
        let address = self.post.address();
        let one = {
            let _one = Lmtp::connect(address).await?;
            self.post.stage.ravenry.resident()?
        };
        let mut many = Vec::new();
        for _ in 0..1000 {
            many.push(Lmtp::connect(address).await?);
        }
        let thousand = self.post.stage.ravenry.resident()?;
        writeln!(out, "\nRavenry's memory with one session: {one} KiB, with 1,000: {thousand} KiB.")?;
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.other.ravenry.stop().await?;
        self.post.stage.dismiss().await
    }
}

/// Measures, and returns tables.
pub async fn run(part: Part, scale: Scale) -> Result<String> {
    let stand = Stand::build().await?;
    let mut out = String::new();
    let wanted = |this| part == this || part == Part::All;
    if wanted(Part::Saturated) {
        saturated::measure(&stand, scale, &mut out).await?;
    }
    if wanted(Part::Steady) {
        steady::measure(&stand, scale, &mut out).await?;
    }
    if wanted(Part::Memory) {
        stand.memory(&mut out).await?;
    }
    stand.stop().await?;
    Ok(out)
}
