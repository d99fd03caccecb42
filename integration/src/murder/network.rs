//! A bridge network of a murder's own, so that every address is known before any node runs.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use bollard::errors::Error;
use bollard::models::{
    EndpointIpamConfig, EndpointSettings, Ipam, IpamConfig, NetworkConnectRequest, NetworkCreateRequest,
    NetworkDisconnectRequest,
};

use crate::engine::Engine;

/// How many subnets are tried before giving up; another murder or the host may hold some.
const TRIES: usize = 20;

/// A bridge network with a /24 of its own.
#[derive(Clone, Debug)]
pub struct Network {
    engine: Engine,
    name: String,
    prefix: [u8; 3],
}

impl Network {
    /// Creates the network on a subnet that nobody uses.
    pub(super) async fn create(
        engine: &Engine,
        name: &str,
        labels: &HashMap<String, String>,
    ) -> Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            let prefix = [10, 213, fastrand::u8(..)];
            let network = Self { engine: engine.clone(), name: name.to_owned(), prefix };
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".to_owned()),
                ipam: Some(Ipam {
                    config: Some(vec![IpamConfig {
                        subnet: Some(format!("{}/24", network.host(0))),
                        gateway: Some(network.gateway().to_string()),
                        ..Default::default()
                    }]),
                    ..Default::default()
                }),
                labels: Some(labels.clone()),
                ..Default::default()
            };
            match engine.docker().create_network(request).await {
                Ok(_) => return Ok(network),
                Err(error) => last = Some(error),
            }
        }
        let error = last.context("no subnet was tried")?;
        Err(error).with_context(|| format!("no free subnet for the network {name}"))
    }

    /// The network's name at the engine.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The host's own address on the bridge: where a process outside the containers can be reached.
    pub fn gateway(&self) -> Ipv4Addr {
        self.host(1)
    }

    /// The address with this last byte.
    pub fn host(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.prefix;
        Ipv4Addr::new(a, b, c, last)
    }

    /// An endpoint with a fixed address.
    pub(super) fn endpoint(&self, ip: Ipv4Addr) -> EndpointSettings {
        EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(ip.to_string()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// Plugs a container in, with a fixed address.
    pub(super) async fn connect(&self, container: &str, ip: Ipv4Addr) -> Result<()> {
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            endpoint_config: Some(self.endpoint(ip)),
        };
        let docker = self.engine.docker();
        docker.connect_network(&self.name, request).await.with_context(|| format!("plugging {container} in"))
    }

    /// Pulls a container's plug: packets vanish, as with a cut cable.
    pub(super) async fn disconnect(&self, container: &str) -> Result<()> {
        let request = NetworkDisconnectRequest { container: container.to_owned(), force: Some(true) };
        let docker = self.engine.docker();
        docker
            .disconnect_network(&self.name, request)
            .await
            .with_context(|| format!("unplugging {container}"))
    }

    /// Removes the network; it must be empty. A network that is gone is fine.
    pub(super) async fn remove(&self, engine: &Engine) -> Result<()> {
        match engine.docker().remove_network(&self.name).await {
            Err(Error::DockerResponseServerError { status_code: 404, .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
