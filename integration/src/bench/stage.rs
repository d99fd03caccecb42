//! The real master with a filled list, and two Ravenries beside it: one follows, one stands in.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::client::acl;
use super::ground::Ground;
use super::load::Names;
use super::model::name;
use super::report::Who;
use super::say;
use crate::clients::Mupdate;
use crate::deadline::eventually;
use crate::murder::{Murder, PLAIN_ROOT, Plan, Suite};
use crate::ravenry::{Ravenry, Settings, Site};

/// For filling a list of a million, for Cyrus's own check of it at its start, and for reading it.
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
        let murder =
            Murder::prepare(Plan { plain_root: Some(root.clone()), ..Plan::new(Suite::chosen()?) }).await?;
        say(format_args!("filling the master with {mailboxes} mailboxes"));
        murder.start_master().await?;
        fill(&murder, &root, mailboxes).await?;
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

    pub(super) fn standing_in(&self) -> &Ravenry {
        &self.standing_in
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

/// Writes the list as Cyrus from 3.6 keeps it; asking the master to take a million names would take an hour.
async fn fill(murder: &Murder, root: &Path, mailboxes: u64) -> Result<()> {
    murder.mm.stop_cyrus().await?;
    let script = root.join("tmp/fill");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&script)?);
    writeln!(file, "BEGIN")?;
    for nth in 0..mailboxes {
        let name = name(nth);
        let key = format!("N{}", name.replace('.', "\x1f"));
        let acl = acl(&name);
        let rights = acl.trim_end().replace('\t', " ");
        let value = format!("%(T er P default S be1.murder.test M 1700000000 A %({rights}))");
        write!(file, "SET {{{}+}}\r\n{key} {{{}+}}\r\n{value}\n", key.len(), value.len())?;
    }
    writeln!(file, "COMMIT")?;
    file.flush()?;
    let list = "/var/lib/cyrus/mailboxes.db";
    let command = format!("rm -f {list} && cyr_dbtool -n {list} twoskip batch < /tmp/fill");
    let chroot = ["chroot", "--userspec=cyrus:mail", PLAIN_ROOT, "sh", "-c", &command];
    murder.mm.exec_root_within(PATIENCE, &chroot).await?.success().context("filling the master's list")?;
    std::fs::remove_file(script)?;
    murder.mm.start_cyrus().await?;
    eventually(PATIENCE, "the filled master answering", async || {
        Mupdate::connect(murder.mm.mupdate_address()).await?;
        Ok(Some(()))
    })
    .await?;
    Ok(())
}
