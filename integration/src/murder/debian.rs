//! A Debian host with systemd, as clean as it gets, for the package.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, NetworkingConfig};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::image::{DEBIAN_IMAGE, ensure_debian_image};
use super::sweep::{labels, remove_container, sweep};
use super::{Murder, Network};
use crate::deadline::{eventually, within};
use crate::engine::{Engine, Output};

/// Enough for any one thing on a busy machine; `systemctl start` waits until Ravenry may serve.
const PATIENCE: Duration = Duration::from_secs(120);

/// For the packaged service to be in another state.
const SERVICE: Duration = Duration::from_secs(60);

/// Where the directory of packages is found inside.
pub const PACKAGES: &str = "/packages";

/// A host that runs. Dropping it removes it.
#[derive(Debug)]
pub struct Debian {
    engine: Engine,
    container: String,
    ip: Ipv4Addr,
    removed: bool,
}

impl Debian {
    /// A host of its own, with a directory of packages at [`PACKAGES`].
    pub async fn start(packages: &Path) -> Result<Self> {
        let engine = Engine::connect().await?;
        sweep(&engine).await.context("clearing away what earlier runs left")?;
        Self::run(engine, "alone", packages, None, &[]).await
    }

    /// A host on a murder's network that knows the nodes by name. It has to be stopped before the murder.
    pub async fn start_in(murder: &Murder, packages: &Path) -> Result<Self> {
        let hosts: Vec<String> =
            murder.nodes().iter().map(|node| format!("{}:{}", node.server(), node.ip())).collect();
        let network = murder.network.clone();
        Self::run(murder.engine.clone(), network.name(), packages, Some(&network), &hosts).await
    }

    async fn run(
        engine: Engine,
        name: &str,
        packages: &Path,
        network: Option<&Network>,
        hosts: &[String],
    ) -> Result<Self> {
        ensure_debian_image().await?;
        let container = format!("ravenry-debian-{name}-{}", std::process::id());
        let place = network.map(|network| {
            let ip = network.host(51);
            (
                ip,
                NetworkingConfig {
                    endpoints_config: Some(HashMap::from([(
                        network.name().to_owned(),
                        network.endpoint(ip),
                    )])),
                },
            )
        });
        let (ip, networking_config) = place.map_or((None, None), |(ip, config)| (Some(ip), Some(config)));
        let tmpfs = ["/run", "/run/lock", "/tmp"].map(|at| (at.to_owned(), String::new()));
        let body = ContainerCreateBody {
            image: Some(DEBIAN_IMAGE.to_owned()),
            hostname: Some("ravenry".to_owned()),
            labels: Some(labels()),
            host_config: Some(HostConfig {
                extra_hosts: Some(hosts.to_vec()),
                binds: Some(vec![format!("{}:{PACKAGES}:ro", packages.display())]),
                tmpfs: Some(tmpfs.into()),
                // What systemd needs as the first process, to make name spaces for its services among it.
                cap_add: Some(vec!["SYS_ADMIN".to_owned()]),
                security_opt: Some(vec!["seccomp=unconfined".to_owned(), "apparmor=unconfined".to_owned()]),
                cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
                ..Default::default()
            }),
            networking_config,
            ..Default::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&container).build();
        let made = engine.docker().create_container(Some(options), body).await;
        made.with_context(|| format!("creating {container}"))?;
        let mut host = Self { engine, container, ip: ip.unwrap_or(Ipv4Addr::UNSPECIFIED), removed: false };
        within(PATIENCE, "starting a Debian host", async {
            Ok(host.engine.docker().start_container(&host.container, None).await?)
        })
        .await?;
        if ip.is_none() {
            host.ip = host.address().await?;
        }
        eventually(PATIENCE, "systemd running", async || {
            let state = host.sh("systemctl is-system-running").await?;
            Ok((state.stdout.trim() == "running").then_some(()))
        })
        .await?;
        Ok(host)
    }

    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Runs a script as root.
    pub async fn sh(&self, script: &str) -> Result<Output> {
        self.engine.exec(&self.container, "root", &["sh", "-c", script], PATIENCE).await
    }

    /// Waits until the packaged service is `active`, or whatever else systemd calls a state; tells its log otherwise.
    pub async fn service_becomes(&self, state: &str) -> Result<()> {
        let asked = eventually(SERVICE, format!("ravenry.service being {state}"), async || {
            Ok((self.sh("systemctl is-active ravenry").await?.stdout.trim() == state).then_some(()))
        });
        match asked.await {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(error.context(self.sh("journalctl -u ravenry --no-pager | tail -50").await?.said()))
            }
        }
    }

    /// Runs a script as root that has to succeed; what it said.
    pub async fn must(&self, script: &str) -> Result<String> {
        let done = self.sh(script).await?.success().with_context(|| script.to_owned())?;
        Ok(done.said())
    }

    /// Removes it.
    pub async fn stop(mut self) -> Result<()> {
        self.removed = true;
        remove_container(&self.engine, &self.container).await
    }

    async fn address(&self) -> Result<Ipv4Addr> {
        let inspected = self.engine.docker().inspect_container(&self.container, None).await?;
        let networks = inspected.network_settings.and_then(|settings| settings.networks);
        let address = networks
            .into_iter()
            .flatten()
            .find_map(|(_, endpoint)| endpoint.ip_address.filter(|address| !address.is_empty()));
        match address.context("it has no address")?.parse()? {
            IpAddr::V4(address) => Ok(address),
            IpAddr::V6(address) => anyhow::bail!("{address} is no IPv4 address"),
        }
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        if self.removed {
            return;
        }
        let container = self.container.clone();
        // As in `Remains`: nothing can be awaited here, and the story's own engine may be torn down.
        let work = move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async { remove_container(&Engine::connect().await?, &container).await })
        };
        if let Ok(Err(error)) = std::thread::spawn(work).join() {
            eprintln!("the Debian host was not removed: {error:#}");
        }
    }
}
