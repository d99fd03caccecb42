//! Nothing is left behind: everything carries a label with the process it belongs to.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;
use bollard::errors::Error;
use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};

use crate::engine::Engine;

/// The label that holds the pid of the process that made a container or network.
const OWNER: &str = "ravenry.integration.pid";
/// The label that says among which processes that pid counts.
const AMONG: &str = "ravenry.integration.pids";

/// Our namespace of pids. Who works in a container, on the host's engine, does not see the host's processes, and must not
/// take them for dead.
fn among() -> String {
    std::fs::read_link("/proc/self/ns/pid").unwrap_or_default().to_string_lossy().into_owned()
}

/// The labels of everything that this process makes.
pub(super) fn labels() -> HashMap<String, String> {
    HashMap::from([(OWNER.to_owned(), std::process::id().to_string()), (AMONG.to_owned(), among())])
}

/// Removes what processes left that are no longer there. Returns how many things were removed.
pub async fn sweep(engine: &Engine) -> Result<usize> {
    remove_owned(engine, |pid| !Path::new(&format!("/proc/{pid}")).exists()).await
}

async fn remove_owned(engine: &Engine, doomed: impl Fn(&str) -> bool) -> Result<usize> {
    let docker = engine.docker();
    let filter = HashMap::from([("label", vec![OWNER])]);
    let among = among();
    let mine = |labels: &Option<HashMap<String, String>>| {
        let Some(labels) = labels else { return false };
        labels.get(AMONG) == Some(&among) && labels.get(OWNER).is_some_and(|pid| doomed(pid))
    };
    let mut removed = 0;
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filter).build();
    for container in docker.list_containers(Some(options)).await? {
        if let (true, Some(id)) = (mine(&container.labels), &container.id) {
            remove_container(engine, id).await?;
            removed += 1;
        }
    }
    let options = ListNetworksOptionsBuilder::new().filters(&filter).build();
    for network in docker.list_networks(Some(options)).await? {
        if let (true, Some(id)) = (mine(&network.labels), &network.id) {
            docker.remove_network(id).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Removes one container, running or not, with its anonymous volumes. A container that is gone is fine.
pub(super) async fn remove_container(engine: &Engine, name: &str) -> Result<()> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match engine.docker().remove_container(name, Some(options)).await {
        Err(Error::DockerResponseServerError { status_code: 404, .. }) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
