//! A headless Chromium, for the status page.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::deadline::within;
use crate::monitors::tool;

/// A browser takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser that is started for one page and ends with it.
#[derive(Debug)]
pub struct Browser;

impl Browser {
    /// The page's document once its script has shown the status.
    pub async fn text(address: SocketAddr) -> Result<String> {
        let page = Self::run(address, &["--dump-dom"]).await?;
        ensure!(page.contains("data-ready=\"yes\""), "the page's script did not come to its end:\n{page}");
        Ok(page)
    }

    /// A picture of the page, as PNG.
    pub async fn picture(address: SocketAddr, file: &Path) -> Result<()> {
        let picture = format!("--screenshot={}", file.display());
        Self::run(address, &["--window-size=1000,900", "--hide-scrollbars", &picture]).await.map(drop)
    }

    async fn run(address: SocketAddr, args: &[&str]) -> Result<String> {
        let profile = TempDir::with_prefix("ravenry-browser-")?;
        let mut command = Command::new(tool("chromium")?);
        command
            // Its sandbox wants privileges that a container does not give; the only page it sees is ours.
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            // Time that passes only while the page waits for nothing: the script has run when it is over.
            .arg("--virtual-time-budget=4000")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(args)
            .arg(format!("http://{address}/"))
            .kill_on_drop(true);
        within(PATIENCE, "the browser", async {
            let output = command.output().await?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            ensure!(
                output.status.success(),
                "{}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
            Ok(text)
        })
        .await
        .context("chromium")
    }
}
