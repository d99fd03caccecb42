//! The real master with a filled list, and two Ravenries beside it: one follows, one stands in.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ground::Ground;
use super::load::Names;
use super::report::Who;
use super::say;
use crate::clients::Mupdate;
use crate::murder::{Murder, Plan, Suite};
use crate::ravenry::{Ravenry, Settings, Site};

/// For reading a list of a million.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is compared.
#[derive(Debug)]
pub(super) struct Stage {
    following: Ravenry,
    standing_in: Ravenry,
    murder: Murder,
    mailboxes: u64,
    names: [Names; 3],
}

impl Stage {
    /// Starts everything, with so many mailboxes.
    pub(super) async fn start(ground: &Ground, mailboxes: u64) -> Result<Self> {
        let root = ground.directory(&format!("master-{mailboxes}"))?;
        let murder = Murder::prepare(Plan { plain_root: Some(root), ..Plan::new(Suite::chosen()?) }).await?;
        say(format_args!("filling the master with {mailboxes} mailboxes"));
        murder.start_master().await?;
        murder.fill_master(mailboxes).await?;
        let site = Site {
            within: Some(ground.directory("ravenry")?),
            beside: Some(murder.mm.pid().await?),
            binary: ground.binary.clone(),
            ..Site::default()
        };
        let following = beside(&murder, 3906, &site).await?;
        let standing_in = beside(&murder, 3907, &site).await?;
        standing_in.cli(&["stand-in"]).await?.success()?;
        standing_in.wait_for_state("standing-in", PATIENCE).await?;
        let names = ["c", "f", "s"].map(|who| Names::new(&format!("new{who}")));
        Ok(Self { following, standing_in, murder, mailboxes, names })
    }

    /// Cyrus's version.
    pub(super) async fn version(&self) -> Result<String> {
        Ok(Mupdate::connect(self.master()).await?.version())
    }

    pub(super) fn mailboxes(&self) -> u64 {
        self.mailboxes
    }

    pub(super) fn master(&self) -> SocketAddr {
        self.murder.mm.mupdate_address()
    }

    /// The master comes back with so many mailboxes, and nothing else.
    pub(super) async fn fill_master(&self, mailboxes: u64) -> Result<()> {
        self.murder.fill_master(mailboxes).await
    }

    pub(super) fn standing_in(&self) -> &Ravenry {
        &self.standing_in
    }

    pub(super) fn ravenries(&self) -> [&Ravenry; 2] {
        [&self.following, &self.standing_in]
    }

    /// Where each listens; every round another one begins.
    pub(super) fn in_turn(&self, round: usize) -> [(Who, SocketAddr); 3] {
        let mut all = [
            (Who::Cyrus, self.master()),
            (Who::Following, self.following.address()),
            (Who::StandingIn, self.standing_in.address()),
        ];
        let turns = all.len();
        all.rotate_left(round % turns);
        all
    }

    /// New names for one of them: what one makes the others do not have.
    pub(super) fn names(&self, who: Who) -> Names {
        let [cyrus, following, standing_in] = &self.names;
        match who {
            Who::Cyrus => cyrus,
            Who::Following => following,
            Who::StandingIn => standing_in,
        }
        .clone()
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.following.stop().await?;
        self.standing_in.stop().await?;
        self.murder.stop().await
    }
}

/// A Ravenry that has learned the master's list.
async fn beside(murder: &Murder, port: u16, site: &Site) -> Result<Ravenry> {
    let settings = Settings {
        listen: (murder.mm.ip(), port).into(),
        master: murder.mm.mupdate_address(),
        extra: String::new(),
    };
    let mut ravenry = Ravenry::prepare_at(settings, site.clone()).await?;
    ravenry.launch().await?;
    let waited = ravenry.wait_for_state("following", PATIENCE).await;
    let took = waited.with_context(|| ravenry.log().unwrap_or_default())?;
    say(format_args!("Ravenry learned the list in {took:.1?}"));
    Ok(ravenry)
}
