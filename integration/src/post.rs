//! A murder whose mail comes through Ravenry.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::clients::Lmtp;
use crate::deadline::eventually;
use crate::murder::{Murder, Node, Plan};
use crate::ravenry::{Ravenry, Settings};
use crate::stage::Stage;

/// A stage, and where its Ravenry takes mail.
#[derive(Debug)]
pub struct Post {
    /// Everything else.
    pub stage: Stage,
    address: SocketAddr,
}

impl Post {
    /// Starts everything; mail goes through both frontends. `lmtp` are further lines of the section `[lmtp]`.
    pub async fn start(plan: Plan, lmtp: &str) -> Result<Self> {
        let murder = Murder::prepare(plan).await?;
        let frontends = murder.frontends().map(|node| node.lmtp_address());
        Self::start_in(murder, &frontends, lmtp).await
    }

    /// The same in a murder that is prepared, through these frontends.
    pub async fn start_in(murder: Murder, frontends: &[SocketAddr], lmtp: &str) -> Result<Self> {
        let address = SocketAddr::from((murder.gateway(), 2424));
        let frontends: Vec<String> = frontends.iter().map(|frontend| format!("\"{frontend}\"")).collect();
        let extra = format!(
            "[lmtp]\nlisten = [\"{address}\"]\nfrontends = [{}]\nservername = \"ravenry.murder.test\"\n{lmtp}\n",
            frontends.join(", ")
        );
        Ok(Self { stage: Stage::start_in(murder, &extra).await?, address })
    }

    /// Another Ravenry beside this one, which delivers elsewhere.
    pub async fn beside(post: &Self, to: &[SocketAddr]) -> Result<Beside> {
        let gateway = post.stage.murder.gateway();
        let address = SocketAddr::from((gateway, 2425));
        let to: Vec<String> = to.iter().map(|server| format!("\"{server}\"")).collect();
        let extra = format!("[lmtp]\nlisten = [\"{address}\"]\nfrontends = [{}]\n", to.join(", "));
        let settings = Settings {
            listen: SocketAddr::from((gateway, 3906)),
            master: post.stage.murder.mm.mupdate_address(),
            extra,
        };
        let ravenry = Ravenry::start(settings).await?;
        ravenry.wait_for_state("following", Duration::from_secs(30)).await?;
        Ok(Beside { ravenry, address })
    }

    /// Where Ravenry takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A session with Ravenry, greeted.
    pub async fn lmtp(&self) -> Result<Lmtp> {
        Lmtp::connect(self.address).await
    }

    /// The good end of a story: see [`Stage::stop`].
    pub async fn stop(self) -> Result<()> {
        self.stage.stop().await
    }
}

/// A Ravenry without a murder of its own.
#[derive(Debug)]
pub struct Beside {
    /// Ravenry itself.
    pub ravenry: Ravenry,
    address: SocketAddr,
}

impl Beside {
    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Waits until a mailbox of a user, as a frontend shows it, holds so many messages. Returns how long it took.
pub async fn arrived(
    frontend: &Node,
    user: &str,
    mailbox: &str,
    count: u32,
    limit: Duration,
) -> Result<Duration> {
    arrived_by(limit, &format!("{user}'s {mailbox}"), count, async || {
        frontend.imap(user).await?.count(mailbox).await
    })
    .await
}

/// [`arrived`], however it is found out how many there are.
pub async fn arrived_by(
    limit: Duration,
    place: &str,
    count: u32,
    counted: impl AsyncFn() -> Result<u32>,
) -> Result<Duration> {
    let mut seen = None;
    let waited = eventually(limit, format!("{count} messages in {place}"), async || {
        seen = Some(counted().await?);
        Ok((seen == Some(count)).then_some(()))
    });
    let result = waited.await;
    Ok(result.with_context(|| format!("there are {seen:?}"))?.1)
}
