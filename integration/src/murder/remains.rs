//! The end of a murder: its containers and its network go, its logs stay if a story failed.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::sweep::remove_container;
use super::{Network, Node};
use crate::engine::Engine;

/// What has to be cleared away.
pub(super) struct Remains {
    pub(super) nodes: [Node; 6],
    pub(super) network: Network,
}

impl Remains {
    /// Removes everything.
    pub(super) async fn clear(&self, engine: &Engine) -> Result<()> {
        for node in &self.nodes {
            remove_container(engine, node.container()).await?;
        }
        self.network.remove(engine).await
    }

    /// The same from a destructor, where nothing can be awaited: on a thread, a runtime and an engine connection
    /// of its own, since those that the story used may be the very ones that are being torn down.
    pub(super) fn clear_blocking(&self, keep_logs: bool) -> Result<()> {
        let work = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let engine = Engine::connect().await?;
                if keep_logs {
                    let directory = self.keep_logs(&engine).await?;
                    eprintln!("the nodes' logs are in {}", directory.display());
                }
                self.clear(&engine).await
            })
        };
        std::thread::scope(|scope| scope.spawn(work).join())
            .unwrap_or_else(|_| Err(anyhow::anyhow!("clearing away panicked")))
    }

    async fn keep_logs(&self, engine: &Engine) -> Result<PathBuf> {
        let directory = std::env::temp_dir().join(self.network.name());
        std::fs::create_dir_all(&directory)?;
        for node in &self.nodes {
            // A node that was never started has none.
            if let Ok(text) = node.over(engine).logs().await {
                let path = directory.join(format!("{}.log", node.name()));
                std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            }
        }
        Ok(directory)
    }
}
