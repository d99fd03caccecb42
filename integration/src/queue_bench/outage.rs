//! A Ravenry that follows a real master and knows twenty users, and whose frontends cannot be reached.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use serde_json::Value;

use super::PATIENCE;
use crate::bench::ground::Ground;
use crate::clients::Mupdate;
use crate::mail_load::USERS;
use crate::murder::{Murder, Plan};
use crate::ravenry::{Ravenry, Settings, Site};

/// Runs until it is stopped.
pub(super) struct Outage {
    pub(super) murder: Murder,
    pub(super) ravenry: Ravenry,
    /// Where it takes mail.
    pub(super) address: SocketAddr,
}

/// A murder that has a master only, which lists the users on a backend.
pub(super) async fn murder() -> Result<Murder> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    murder.start_master().await?;
    let mut master = Mupdate::login(murder.mm.mupdate_address()).await?;
    for user in (0..USERS).map(|n| format!("u{n:03}")) {
        let acl = format!("{user}\tlrswipkxtecda\t");
        master.activate(&format!("user.{user}"), &murder.be1.location(), &acl).await?.ok()?;
    }
    Ok(murder)
}

impl Outage {
    /// In this murder; in the network, and the share of the processor, of a process, or else of the host. Its only
    /// frontend is to be at `frontend`.
    pub(super) async fn start(
        murder: Murder,
        ground: &Ground,
        beside: Option<(Ipv4Addr, u32)>,
        frontend: SocketAddr,
    ) -> Result<Self> {
        let (ip, pid) = beside.map_or((murder.gateway(), None), |(ip, pid)| (ip, Some(pid)));
        let address = SocketAddr::from((ip, 2424));
        let site = Site {
            within: Some(ground.directory("ravenry")?),
            beside: pid,
            binary: ground.binary.clone(),
            ..Site::default()
        };
        let settings = Settings {
            listen: SocketAddr::from((ip, 3905)),
            master: murder.mm.mupdate_address(),
            extra: format!(
                "[lmtp]\nlisten = [\"{address}\"]\nfrontends = [\"{frontend}\"]\n[spool]\nmax_messages = 3000000\n"
            ),
        };
        let mut ravenry = Ravenry::prepare_at(settings, site).await?;
        ravenry.launch().await?;
        ravenry.wait_for_state("following", PATIENCE).await?;
        Ok(Self { murder, ravenry, address })
    }

    /// How many messages are queued.
    pub(super) async fn queued(&self) -> Result<Option<u64>> {
        Ok(self.ravenry.status().await?.pointer("/queue/messages").and_then(Value::as_u64))
    }

    pub(super) async fn stop(self) -> Result<()> {
        self.ravenry.stop().await?;
        self.murder.stop().await
    }
}
