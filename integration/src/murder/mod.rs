//! A Cyrus Murder in containers: a master, two frontends, two backends, on a network of their own.
//!
//! Addresses are known before anything runs, so that a relay or Ravenry can be put on the bridge's gateway
//! address first and the nodes be told to look for their master there.

mod debian;
mod dump;
mod fill;
mod image;
mod names;
mod network;
mod node;
mod plan;
mod remains;
mod sweep;
mod turn;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

pub use debian::{Debian, PACKAGES};
pub use dump::{Acl, Dump, Entry, State};
pub use image::ensure_image;
use image::{MTA_IMAGE, ensure_mta_image};
pub use names::Names;
pub use network::Network;
pub use node::Node;
pub use plan::{Plan, Suite};
pub use sweep::sweep;

use crate::engine::Engine;
use crate::traces;
use remains::Remains;
use turn::Turn;

/// Where a node that runs from plain files has them.
pub const PLAIN_ROOT: &str = "/plain";

/// How long a frontend may take over its first list; one of a hundred thousand takes a minute on a busy machine.
const FIRST_LIST: Duration = Duration::from_secs(300);

/// A running murder. Dropping it removes everything, also when a story panics. Unless it came to
/// [`Murder::stop`], the story failed, and the nodes' logs are kept.
#[derive(Debug)]
pub struct Murder {
    /// The mupdate master.
    pub mm: Node,
    /// A frontend.
    pub fe1: Node,
    /// Another frontend.
    pub fe2: Node,
    /// A backend with delayed deletion, Cyrus's default.
    pub be1: Node,
    /// A backend with `delete_mode: immediate`.
    pub be2: Node,
    /// A real MTA; runs only where [`Murder::start_mta`] was called.
    pub mta: Node,
    engine: Engine,
    network: Network,
    plan: Plan,
    labels: HashMap<String, String>,
    keep_logs: bool,
    // Last, so that the next murder starts only when this one is gone.
    turn: Arc<Turn>,
}

impl Murder {
    /// Waits for our turn, clears away what dead runs left, and lays the network. No node runs yet.
    pub async fn prepare(plan: Plan) -> Result<Self> {
        let engine = Engine::connect().await?;
        let turn = Turn::take().await?;
        sweep(&engine).await.context("clearing away what earlier runs left")?;
        ensure_images(&plan).await?;
        Self::lay_out(plan, engine, Arc::new(turn)).await
    }

    /// Another murder in the same turn, to be compared with this one.
    pub async fn prepare_beside(&self, plan: Plan) -> Result<Self> {
        ensure_images(&plan).await?;
        Self::lay_out(plan, self.engine.clone(), Arc::clone(&self.turn)).await
    }

    async fn lay_out(plan: Plan, engine: Engine, turn: Arc<Turn>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let run = COUNT.fetch_add(1, Ordering::Relaxed);
        let labels = sweep::labels();
        let name = format!("ravenry-{}-{}-{run}", plan.suite, std::process::id());
        let network = Network::create(&engine, &name, &labels).await?;
        let node = |name, host| Node::new(&engine, &network, name, host);
        Ok(Self {
            mm: node("mm", 10),
            fe1: node("fe1", 21),
            fe2: node("fe2", 22),
            be1: node("be1", 31),
            be2: node("be2", 32),
            mta: node("mta", 41),
            engine,
            network,
            plan,
            labels,
            keep_logs: true,
            turn,
        })
    }

    /// The whole murder, every node asking the real master directly, frontends in step.
    pub async fn start(plan: Plan) -> Result<Self> {
        let murder = Self::prepare(plan).await?;
        murder.start_master().await?;
        murder.start_nodes(murder.mm.mupdate_address()).await?;
        Ok(murder)
    }

    /// Starts the master and waits until it answers.
    pub async fn start_master(&self) -> Result<()> {
        self.create(&self.mm, &[("ROLE", "master".to_owned())]).await?;
        self.mm.wait_until_up().await.map(drop)
    }

    /// Starts both backends, which will look for their mupdate master at `mupdate`, and waits until they answer.
    pub async fn start_backends(&self, mupdate: SocketAddr) -> Result<()> {
        let common = |mode: &str| {
            [
                ("ROLE", "backend".to_owned()),
                ("MUPDATE_SERVER", mupdate.to_string()),
                ("DELETE_MODE", mode.to_owned()),
                ("RUN_CTL_MBOXLIST_M", u8::from(self.plan.mboxlist_at_start).to_string()),
            ]
        };
        self.create(&self.be1, &common("delayed")).await?;
        self.create(&self.be2, &common("immediate")).await?;
        self.be1.wait_until_up().await?;
        self.be2.wait_until_up().await.map(drop)
    }

    /// Starts both frontends, which will look for their mupdate master at `mupdate`, and waits until they answer.
    pub async fn start_frontends(&self, mupdate: SocketAddr) -> Result<()> {
        for node in [&self.fe1, &self.fe2] {
            let environment = [
                ("ROLE", "frontend".to_owned()),
                ("MUPDATE_SERVER", mupdate.to_string()),
                ("SERVERLIST", format!("{} {}", self.be1.server(), self.be2.server())),
            ];
            self.create(node, &environment).await?;
        }
        self.fe1.wait_until_up().await?;
        self.fe2.wait_until_up().await.map(drop)
    }

    /// [`Murder::start_backends`] and [`Murder::start_frontends`] with the same master, which must be answering:
    /// waits until both frontends have their first list.
    pub async fn start_nodes(&self, mupdate: SocketAddr) -> Result<()> {
        self.start_backends(mupdate).await?;
        self.start_frontends(mupdate).await?;
        self.wait_for_frontends().await
    }

    /// Starts a Postfix that delivers mail for murder.test to an address by LMTP, and waits until it answers.
    pub async fn start_mta(&self, lmtp: SocketAddr) -> Result<()> {
        self.start_mta_with(lmtp, &[]).await
    }

    /// [`Murder::start_mta`], with directories of the host in it: `/here:/there`.
    pub async fn start_mta_with(&self, lmtp: SocketAddr, binds: &[String]) -> Result<()> {
        ensure_mta_image().await?;
        let environment = [("SERVERNAME", self.mta.server()), ("LMTP", lmtp.to_string())];
        self.mta.create(MTA_IMAGE, &self.labels, &[], &environment, binds).await?;
        self.mta.wait_for_log("daemon started", 0, FIRST_LIST).await.map(drop)
    }

    /// Waits until both frontends have their first list.
    pub async fn wait_for_frontends(&self) -> Result<()> {
        for frontend in self.frontends() {
            frontend.wait_for_log("synchronization complete", 0, FIRST_LIST).await?;
        }
        Ok(())
    }

    /// The host's address on the murder's network: where a relay or Ravenry listens.
    pub fn gateway(&self) -> Ipv4Addr {
        self.network.gateway()
    }

    /// The plan that this murder follows.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Both frontends.
    pub fn frontends(&self) -> [&Node; 2] {
        [&self.fe1, &self.fe2]
    }

    /// Both backends.
    pub fn backends(&self) -> [&Node; 2] {
        [&self.be1, &self.be2]
    }

    /// Every node, the master first.
    pub fn nodes(&self) -> [&Node; 5] {
        [&self.mm, &self.fe1, &self.fe2, &self.be1, &self.be2]
    }

    /// Creates a user's inbox on a backend, the way an administrator does: through a frontend.
    pub async fn create_user(&self, user: &str, backend: &Node) -> Result<()> {
        let mut admin = self.fe1.imap("cyrus").await?;
        let names = self.plan.names;
        let inbox = names.for_admin(&names.inbox(user));
        // The partition must be named: without it, a frontend of Cyrus 3.6 crashes.
        admin.run(&format!("CREATE {inbox} {}", backend.location())).await?.ok()?;
        Ok(())
    }

    /// The good end of a story: removes every container and the network, and tells what could not be removed.
    pub async fn stop(mut self) -> Result<()> {
        self.keep_logs = false;
        self.remains().clear(&self.engine).await
    }

    fn remains(&self) -> Remains {
        let [mm, fe1, fe2, be1, be2] = self.nodes().map(Clone::clone);
        Remains { nodes: [mm, fe1, fe2, be1, be2, self.mta.clone()], network: self.network.clone() }
    }

    async fn create(&self, node: &Node, role: &[(&str, String)]) -> Result<()> {
        let hosts: Vec<String> =
            self.nodes().iter().map(|node| format!("{}:{}", node.server(), node.ip())).collect();
        let mut environment = vec![
            ("SERVERNAME", node.server()),
            ("MUPDATE_RETRY_DELAY", self.plan.retry_delay.to_string()),
            ("SASL_MECHS", self.plan.mechanisms.clone()),
            ("EXTRA_CONF", self.plan.extra_conf.clone()),
            ("UNIXHIERARCHYSEP", switch(self.plan.names.unix_separator)),
            ("ALTNAMESPACE", switch(self.plan.names.alternate)),
            ("VIRTDOMAINS", if self.plan.names.domains { "userid" } else { "" }.to_owned()),
        ];
        environment.extend_from_slice(role);
        let plain = self.plan.plain_root.as_ref().filter(|_| node.name() == self.mm.name());
        let binds = plain.map(|directory| format!("{}:{PLAIN_ROOT}", directory.display()));
        if binds.is_some() {
            environment.push(("MURDER_ROOT", PLAIN_ROOT.to_owned()));
        }
        let binds: Vec<String> = binds.into_iter().collect();
        let image = self.plan.suite_of(node.name()).image();
        node.create(&image, &self.labels, &hosts, &environment, &binds).await
    }
}

async fn ensure_images(plan: &Plan) -> Result<()> {
    for suite in plan.suites() {
        ensure_image(suite).await?;
    }
    Ok(())
}

fn switch(on: bool) -> String {
    if on { "yes" } else { "no" }.to_owned()
}

impl Drop for Murder {
    fn drop(&mut self) {
        // After `stop` this finds nothing left to do.
        if let Err(error) = self.remains().clear_blocking(self.keep_logs && traces::are_wanted()) {
            eprintln!("the murder was not removed: {error:#}");
        }
    }
}
