//! The murder's image, built on first use.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::Suite;
use crate::deadline::within;

/// Long enough for a base image made from packages on a slow line.
const BUILD: Duration = Duration::from_secs(15 * 60);

/// Builds the image for a suite, or finds that it is up to date (well under a second).
///
/// The script's progress goes to standard error: a first build takes a minute or two, and silence would look
/// like a hang.
pub async fn ensure_image(suite: Suite) -> Result<()> {
    build(suite.name()).await
}

/// The image of the MTA.
pub(super) const MTA_IMAGE: &str = "ravenry-mta:bookworm";

/// The same for the MTA's.
pub(super) async fn ensure_mta_image() -> Result<()> {
    build("mta").await
}

/// The image of a Debian host with systemd.
pub(super) const DEBIAN_IMAGE: &str = "ravenry-debian:bookworm";

/// The same for the Debian host's.
pub(super) async fn ensure_debian_image() -> Result<()> {
    build_by("debian/build-image", "bookworm").await
}

async fn build(what: &str) -> Result<()> {
    build_by("murder/build-image", what).await
}

async fn build_by(script: &str, what: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    within(BUILD, format!("building the image for {what}"), async {
        let status = Command::new(&script)
            .arg(what)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .with_context(|| format!("cannot run {}", script.display()))?;
        ensure!(status.success(), "{} failed: {status}", script.display());
        Ok(())
    })
    .await
}
