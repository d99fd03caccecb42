//! One machine of the murder: what can be done to it, and what can be asked of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bollard::models::{ContainerCreateBody, HostConfig, NetworkingConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, KillContainerOptionsBuilder, LogsOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures_util::TryStreamExt;

use super::dump::Dump;
use super::network::Network;
use crate::clients::{Imap, Lmtp, Mupdate};
use crate::deadline::{eventually, within};
use crate::engine::{Engine, Output};
use crate::identity::Identity;

/// Enough for any one thing that a node is asked to do on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Volumes: what Cyrus writes lies outside the engine's layers, which are slow where each file goes by way of a process (fuse-overlayfs).
const STATE: [&str; 3] = ["/var/lib/cyrus", "/var/spool/cyrus", "/run/cyrus"];

/// Where the master's, a frontend's or a backend's list is kept.
const LIST: &str = "/var/lib/cyrus/mailboxes.db";

/// A node of the murder. It has a name and an address from the start; its container appears when it is started
/// for the first time.
#[derive(Clone, Debug)]
pub struct Node {
    engine: Engine,
    network: Network,
    name: &'static str,
    container: String,
    ip: Ipv4Addr,
}

impl Node {
    pub(super) fn new(engine: &Engine, network: &Network, name: &'static str, host: u8) -> Self {
        Self {
            engine: engine.clone(),
            network: network.clone(),
            name,
            container: format!("{}-{name}", network.name()),
            ip: network.host(host),
        }
    }

    /// The same node, over another connection to the engine.
    pub(super) fn over(&self, engine: &Engine) -> Self {
        Self { engine: engine.clone(), ..self.clone() }
    }

    /// Creates the container and starts it. Does not wait for Cyrus to answer.
    pub(super) async fn create(
        &self,
        image: &str,
        labels: &HashMap<String, String>,
        hosts: &[String],
        environment: &[(&str, String)],
        binds: &[String],
    ) -> Result<()> {
        let endpoint = (self.network.name().to_owned(), self.network.endpoint(self.ip));
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            hostname: Some(self.server()),
            env: Some(environment.iter().map(|(key, value)| format!("{key}={value}")).collect()),
            labels: Some(labels.clone()),
            volumes: Some(STATE.map(str::to_owned).to_vec()),
            host_config: Some(HostConfig {
                extra_hosts: Some(hosts.to_vec()),
                binds: Some(binds.to_vec()),
                // For faults that only a packet filter inside can stage.
                cap_add: Some(vec!["NET_ADMIN".to_owned()]),
                ..Default::default()
            }),
            networking_config: Some(NetworkingConfig { endpoints_config: Some(HashMap::from([endpoint])) }),
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&self.container).build();
        let created = self.engine.docker().create_container(Some(options), body).await;
        created.with_context(|| format!("creating {}", self.container))?;
        self.start().await
    }

    /// The short name: `mm`, `fe1`, `be2`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The name that Cyrus uses in locations: `be1.murder.test`.
    pub fn server(&self) -> String {
        format!("{}.murder.test", self.name)
    }

    /// A location on this node's default partition, as MUPDATE writes it.
    pub fn location(&self) -> String {
        format!("{}!default", self.server())
    }

    /// The container's name at the engine.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The node's address; it stays the same through restarts and cut cables.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Where MUPDATE is spoken.
    pub fn mupdate_address(&self) -> SocketAddr {
        (self.ip, 3905).into()
    }

    /// Where IMAP is spoken.
    pub fn imap_address(&self) -> SocketAddr {
        (self.ip, 143).into()
    }

    /// Where LMTP is spoken.
    pub fn lmtp_address(&self) -> SocketAddr {
        (self.ip, 2003).into()
    }

    /// An IMAP session of `user`, logged in.
    pub async fn imap(&self, user: &str) -> Result<Imap> {
        let mut imap = Imap::connect(self.imap_address()).await?;
        imap.login(user).await?;
        Ok(imap)
    }

    /// An LMTP session, greeted.
    pub async fn lmtp(&self) -> Result<Lmtp> {
        Lmtp::connect(self.lmtp_address()).await
    }

    /// A MUPDATE session, authenticated as an administrator.
    pub async fn mupdate(&self) -> Result<Mupdate> {
        Mupdate::login(self.mupdate_address()).await
    }

    /// Waits until the node's Cyrus greets: a frontend or backend over IMAP, the master over MUPDATE.
    pub async fn wait_until_up(&self) -> Result<Duration> {
        let what = format!("{} answering", self.name);
        let waited = eventually(PATIENCE, what, async || {
            if self.name.starts_with("mm") {
                Mupdate::connect(self.mupdate_address()).await?;
            } else {
                Imap::connect(self.imap_address()).await?;
            }
            Ok(Some(()))
        });
        Ok(waited.await?.1)
    }

    /// Waits for a line in the log that holds `text`, after `skip` earlier ones. Returns how long it took.
    pub async fn wait_for_log(&self, text: &str, skip: usize, limit: Duration) -> Result<Duration> {
        let what = format!("{}'s log saying {text:?}", self.name);
        let waited = eventually(limit, what, async || {
            let count = self.logs().await?.lines().filter(|line| line.contains(text)).count();
            Ok((count > skip).then_some(()))
        });
        Ok(waited.await?.1)
    }

    /// Starts a stopped container, and Cyrus in it.
    pub async fn start(&self) -> Result<()> {
        self.at_engine("starting", async |docker| docker.start_container(&self.container, None).await).await
    }

    /// Stops Cyrus in order, then the container. Towards its address, connects now time out.
    pub async fn stop(&self) -> Result<()> {
        let options = StopContainerOptionsBuilder::new().t(10).build();
        self.at_engine("stopping", async |docker| {
            docker.stop_container(&self.container, Some(options.clone())).await
        })
        .await
    }

    /// Stops and starts.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Power off: every process dies at once.
    pub async fn kill(&self) -> Result<()> {
        let options = KillContainerOptionsBuilder::new().signal("KILL").build();
        self.at_engine("killing", async |docker| {
            docker.kill_container(&self.container, Some(options.clone())).await
        })
        .await
    }

    /// Freezes every process: connections stay open and nothing answers.
    pub async fn pause(&self) -> Result<()> {
        // A busy container may not freeze at once, and the engine says so.
        let mut tries = 0..5;
        loop {
            let paused =
                self.at_engine("pausing", async |docker| docker.pause_container(&self.container).await);
            match paused.await {
                Err(_) if tries.next().is_some() => tokio::time::sleep(Duration::from_millis(200)).await,
                end => return end,
            }
        }
    }

    /// Ends [`Node::pause`].
    pub async fn unpause(&self) -> Result<()> {
        self.at_engine("unpausing", async |docker| docker.unpause_container(&self.container).await).await
    }

    /// Pulls the network cable.
    pub async fn unplug(&self) -> Result<()> {
        within(PATIENCE, "unplugging", self.network.disconnect(&self.container)).await
    }

    /// Plugs the network cable in again, with the same address.
    pub async fn plug(&self) -> Result<()> {
        within(PATIENCE, "plugging in", self.network.connect(&self.container, self.ip)).await
    }

    /// Stops Cyrus but not the container: connections are now refused.
    pub async fn stop_cyrus(&self) -> Result<()> {
        self.exec_root(&["service", "stop"]).await?.success().map(drop)
    }

    /// Kills every process of Cyrus but not the container: connections are now refused, nothing was tidied up.
    pub async fn kill_cyrus(&self) -> Result<()> {
        self.exec_root(&["service", "kill"]).await?.success().map(drop)
    }

    /// Starts Cyrus in a running container. Does not wait for it to answer.
    pub async fn start_cyrus(&self) -> Result<()> {
        self.exec_root(&["service", "start"]).await?.success().map(drop)
    }

    /// Sends a signal to the mupdate process alone: `STOP` makes it hang while the kernel still accepts for it.
    pub async fn signal_mupdate(&self, signal: &str) -> Result<()> {
        self.exec_root(&["pkill", &format!("-{signal}"), "-x", "mupdate"]).await?.success().map(drop)
    }

    /// The mupdate process, by pid and start time, so that not even a reused pid passes for the same one.
    /// `None` when there is none.
    pub async fn mupdate_process(&self) -> Result<Option<String>> {
        let script = "for p in $(pgrep -x mupdate); do cut -d' ' -f1,22 /proc/$p/stat; done";
        let text = self.exec_root(&["sh", "-c", script]).await?.success()?.stdout;
        Ok(text.lines().next().map(str::to_owned))
    }

    /// Runs a command as Cyrus's own user.
    pub async fn exec(&self, command: &[&str]) -> Result<Output> {
        self.engine.exec(&self.container, "cyrus", command, PATIENCE).await
    }

    /// The pid of the container's first process, as the host knows it.
    pub async fn pid(&self) -> Result<u32> {
        let inspected = within(PATIENCE, "inspecting a container", async {
            Ok(self.engine.docker().inspect_container(&self.container, None).await?)
        });
        let pid = inspected.await?.state.and_then(|state| state.pid).filter(|pid| *pid > 0);
        Ok(pid.context("the container does not run")?.try_into()?)
    }

    /// Runs a command as root, which may take long.
    pub async fn exec_root_within(&self, limit: Duration, command: &[&str]) -> Result<Output> {
        self.engine.exec(&self.container, "root", command, limit).await
    }

    /// [`Node::exec_root_within`] with something to read.
    pub(super) async fn feed_root_within(
        &self,
        limit: Duration,
        command: &[&str],
        bytes: &[u8],
    ) -> Result<Output> {
        self.engine.feed(&self.container, "root", command, bytes, limit).await
    }

    /// Runs a command as root.
    pub async fn exec_root(&self, command: &[&str]) -> Result<Output> {
        self.exec_root_within(PATIENCE, command).await
    }

    /// A file of the node.
    pub async fn read(&self, path: &str) -> Result<String> {
        Ok(self.exec_root(&["cat", path]).await?.success()?.stdout)
    }

    /// Writes a file of the node; its owner and mode stay as they are.
    pub async fn write(&self, path: &str, text: &str) -> Result<()> {
        let script = "printf %s \"$1\" | base64 -d > \"$2\"";
        let text = BASE64.encode(text);
        self.exec_root(&["sh", "-c", script, "sh", &text, path]).await?.success().map(drop)
    }

    /// The node's list, as `ctl_mboxlist -d` tells it.
    pub async fn dump(&self) -> Result<Dump> {
        let output = self.exec(&["ctl_mboxlist", "-d"]).await?.success()?;
        Dump::parse(&output.stdout).with_context(|| format!("{}'s list", self.name))
    }

    /// `ctl_mboxlist -m`: brings a backend's list and the master's together, in earnest.
    pub async fn mboxlist_push(&self) -> Result<Output> {
        self.mboxlist_push_within(PATIENCE).await
    }

    /// [`Node::mboxlist_push`] of a long list.
    pub async fn mboxlist_push_within(&self, limit: Duration) -> Result<Output> {
        self.engine.exec(&self.container, "cyrus", &["ctl_mboxlist", "-m"], limit).await
    }

    /// `ctl_mboxlist -mw`: only tells what `-m` would do.
    pub async fn mboxlist_preview(&self) -> Result<Output> {
        self.exec(&["ctl_mboxlist", "-mw"]).await
    }

    /// Loses the list, as a master does that was set up anew. Cyrus must be stopped.
    pub async fn lose_list(&self) -> Result<()> {
        self.exec_root(&["rm", "-f", LIST]).await?.success().map(drop)
    }

    /// Keeps a copy of the list under a name. Cyrus should be stopped.
    pub async fn save_list(&self, label: &str) -> Result<()> {
        self.exec_root(&["cp", "-p", LIST, &format!("{LIST}.{label}")]).await?.success().map(drop)
    }

    /// Puts a saved list back, as a restored backup does. Cyrus must be stopped.
    pub async fn restore_list(&self, label: &str) -> Result<()> {
        self.exec_root(&["cp", "-p", &format!("{LIST}.{label}"), LIST]).await?.success().map(drop)
    }

    /// Changes the node's configuration by a script, and starts its Cyrus again.
    pub async fn configure(&self, script: &str) -> Result<()> {
        self.stop_cyrus().await?;
        self.exec_root(&["sh", "-euc", script]).await?.success()?;
        self.start_cyrus().await?;
        self.wait_until_up().await.map(drop)
    }

    /// Gives the node an identity, for STARTTLS.
    pub async fn certify(&self, identity: &Identity) -> Result<()> {
        let file = |path: &Path| Ok::<_, std::io::Error>(BASE64.encode(std::fs::read(path)?));
        let (certificate, key) = (file(&identity.certificate)?, file(&identity.key)?);
        let script = format!(
            "echo {certificate} | base64 -d > /etc/cyrus-tls.crt; echo {key} | base64 -d > /etc/cyrus-tls.key; \
             chown cyrus /etc/cyrus-tls.key; \
             printf '%s\\n' 'tls_server_cert: /etc/cyrus-tls.crt' 'tls_server_key: /etc/cyrus-tls.key' \
             'allowstarttls: yes' >> /etc/imapd.conf"
        );
        self.configure(&script).await
    }

    /// What the node's process master says of processes that died of a signal which nobody sent them.
    pub async fn crashes(&self) -> Result<Vec<String>> {
        const DEATH: &str = "signaled to death by ";
        let sent = |line: &str| {
            ["9", "15"].iter().any(|signal| {
                let by = line.split(DEATH).nth(1).unwrap_or_default();
                by.trim_start_matches("signal ").split(|c: char| !c.is_ascii_digit()).next() == Some(signal)
            })
        };
        let log = self.logs().await?;
        Ok(log.lines().filter(|line| line.contains(DEATH) && !sent(line)).map(str::to_owned).collect())
    }

    /// Everything that the node has logged.
    pub async fn logs(&self) -> Result<String> {
        let options = LogsOptionsBuilder::new().stdout(true).stderr(true).build();
        within(PATIENCE, "reading a log", async {
            let pieces = self.engine.docker().logs(&self.container, Some(options));
            Ok(pieces.map_ok(|piece| piece.to_string()).try_collect().await?)
        })
        .await
    }

    async fn at_engine(
        &self,
        doing: &str,
        work: impl AsyncFn(&bollard::Docker) -> Result<(), bollard::errors::Error>,
    ) -> Result<()> {
        let what = format!("{doing} {}", self.container);
        within(PATIENCE, what, async { Ok(work(self.engine.docker()).await?) }).await
    }
}
