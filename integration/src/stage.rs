//! A murder with Ravenry in it, and a relay in every place where the way can fail.
//!
//! ```text
//!   frontends ──▶ relay ──┐
//!                         ├──▶ Ravenry ──▶ relay ──▶ master
//!   backends  ──▶ relay ──┘
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agreement::{Agreement, Difference, dump_of};
use crate::clients::Mupdate;
use crate::murder::{Dump, Murder, Plan};
use crate::ravenry::{Ravenry, Settings, Site};
use crate::relay::Relay;

/// How long Ravenry may take to learn a small list.
const LEARNING: Duration = Duration::from_secs(30);

/// How long a murder may take to come to rest: a frontend that was away may take its list anew.
const AT_REST: Duration = Duration::from_secs(60);

/// How long a murder may take until it agrees at a story's end: a hundred thousand names are read from everybody, on a busy machine.
const AGREED: Duration = Duration::from_secs(300);

/// A configuration for mail clients: Ravenry listens where [`Stage::imap`] says, in front of both frontends.
pub const IMAP: &str = "[imap]\nlisten = [\"{gateway}:1143\"]\nfrontends = [\"{fe1}:143\", \"{fe2}:143\"]\n\
                        allow_plaintext = true\ncheck_every = \"500ms\"\n";

/// Deliveries, in front of both frontends; behind [`IMAP`].
pub const LMTP: &str =
    "[lmtp]\nlisten = [\"{gateway}:2424\"]\nfrontends = [\"{fe1}:2003\", \"{fe2}:2003\"]\n";

/// How Ravenry asks the backends what they hold.
pub const BACKENDS: &str = "[backends]\nuser = \"cyrus\"\npassword_file = \"{home}/master-password\"\n\
                            [backends.addresses]\n\"be1.murder.test\" = \"{be1}:143\"\n\
                            \"be2.murder.test\" = \"{be2}:143\"\n";

fn placed(murder: &Murder, extra: &str) -> String {
    let places = [
        ("{gateway}", murder.gateway().to_string()),
        ("{fe1}", murder.fe1.ip().to_string()),
        ("{fe2}", murder.fe2.ip().to_string()),
        ("{be1}", murder.be1.ip().to_string()),
        ("{be2}", murder.be2.ip().to_string()),
    ];
    places.into_iter().fold(extra.to_owned(), |text, (mark, address)| text.replace(mark, &address))
}

/// Everything that a story with Ravenry needs. Without faults the relays only listen.
#[derive(Debug)]
pub struct Stage {
    // Dropped in this order: the containers last.
    /// Ravenry itself.
    pub ravenry: Ravenry,
    /// Between Ravenry and the master.
    pub to_master: Relay,
    /// Between the frontends and Ravenry.
    pub from_frontends: Relay,
    /// Between the backends and Ravenry.
    pub from_backends: Relay,
    /// The murder.
    pub murder: Murder,
}

impl Stage {
    /// Starts everything and waits until Ravenry follows the master and the frontends have their list. `extra`
    /// is added to Ravenry's configuration; in it, `{gateway}`, `{fe1}`, `{be2}` and so on stand for the addresses that
    /// are known only then.
    pub async fn start(plan: Plan, extra: &str) -> Result<Self> {
        Self::start_in(Murder::prepare(plan).await?, extra).await
    }

    /// [`Stage::start`] in a murder that is prepared.
    pub async fn start_in(murder: Murder, extra: &str) -> Result<Self> {
        murder.start_master().await?;
        Self::start_around(murder, extra).await
    }

    /// [`Stage::start`] in a murder whose master answers.
    pub async fn start_around(murder: Murder, extra: &str) -> Result<Self> {
        // A story's thread has a small stack, and an unoptimised future of this size is on it more than once.
        Box::pin(Self::start_around_at(murder, extra, Site::default())).await
    }

    /// [`Stage::start_around`], with Ravenry somewhere else.
    pub async fn start_around_at(murder: Murder, extra: &str, site: Site) -> Result<Self> {
        let at = |port: u16| SocketAddr::from((murder.gateway(), port));
        let to_master = Relay::start(at(0), murder.mm.mupdate_address()).await?;
        let settings =
            Settings { listen: at(3905), master: to_master.address(), extra: placed(&murder, extra) };
        let mut ravenry = Ravenry::prepare_at(settings, site).await?;
        ravenry.launch().await?;
        ravenry
            .wait_for_state("following", LEARNING)
            .await
            .with_context(|| ravenry.log().unwrap_or_default())?;
        let from_backends = Relay::start(at(0), ravenry.address()).await?;
        let from_frontends = Relay::start(at(0), ravenry.address()).await?;
        murder.start_backends(from_backends.address()).await?;
        murder.start_frontends(from_frontends.address()).await?;
        murder.wait_for_frontends().await?;
        Ok(Self { ravenry, to_master, from_frontends, from_backends, murder })
    }

    /// Points the frontends and backends at another mupdate server, as a change of `mupdate_server` does.
    pub fn point_murder_at(&self, mupdate: SocketAddr) {
        for relay in [&self.from_frontends, &self.from_backends] {
            relay.retarget(mupdate);
            relay.cut_all();
        }
    }

    /// The way out past a Ravenry that is gone: the master is started, the murder is pointed at it, and the backends push
    /// what it has not heard.
    pub async fn go_past_ravenry(&self) -> Result<()> {
        self.murder.mm.start_cyrus().await?;
        self.murder.mm.wait_until_up().await?;
        self.point_murder_at(self.murder.mm.mupdate_address());
        for backend in self.murder.backends() {
            backend.mboxlist_push().await?.success()?;
        }
        Ok(())
    }

    /// Where Ravenry's IMAP is, if [`IMAP`] was in its configuration.
    pub fn imap(&self) -> SocketAddr {
        (self.murder.gateway(), 1143).into()
    }

    /// The invariant, Ravenry's list included.
    pub async fn agreement(&self) -> Result<Agreement<'_>> {
        Ok(Agreement::begin(&self.murder).await?.with_ravenry(self.ravenry.address()))
    }

    /// Ravenry's list, as it answers LIST.
    pub async fn list(&self) -> Result<Dump> {
        Ok(dump_of(Mupdate::login(self.ravenry.address()).await?.list(None).await?))
    }

    /// The master comes back, and is given what it missed.
    pub async fn master_back(&self) -> Result<()> {
        self.murder.mm.start_cyrus().await?;
        self.ravenry.wait_for_state("following", AT_REST).await.map(drop)
    }

    /// The good end of a story: the invariant holds ([`Agreement`]), and nothing that we sent has crashed the master
    /// (rule 5).
    pub async fn stop(self) -> Result<()> {
        self.stop_but_for(|_| false).await
    }

    /// [`Stage::stop`] of a story at whose end something differs that it made so itself.
    pub async fn stop_but_for(self, expected: impl Fn(&Difference) -> bool) -> Result<()> {
        let agreement = self.agreement().await.context("the story ends without a master")?;
        agreement.reached_but_for(AGREED, expected).await.context("at the story's end")?;
        self.dismiss().await
    }

    /// The good end of a story that cannot wait for the invariant, and why. The master has not crashed all the same.
    pub async fn leave_apart(self, why: &str) -> Result<()> {
        println!("left apart: {why}");
        self.dismiss().await
    }

    /// The end of what is no story. The master has not crashed all the same: that is in its process master's log since it
    /// was started, whoever restarted it meanwhile.
    pub async fn dismiss(self) -> Result<()> {
        let crashes = self.murder.mm.crashes().await?;
        ensure!(crashes.is_empty(), "the master crashed: {crashes:?}");
        self.ravenry.stop().await?;
        self.murder.stop().await
    }
}
