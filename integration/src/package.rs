//! The Debian package, built from the binary that the stories run.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use crate::deadline::within;
use crate::monitors::repository;
use crate::ravenry::binary;

const BUILD: Duration = Duration::from_secs(600);

/// A directory that holds the package and nothing else.
#[derive(Debug)]
pub struct Package {
    directory: TempDir,
    file: PathBuf,
}

impl Package {
    /// Builds it. The binary must run on Debian 12.
    pub async fn build() -> Result<Self> {
        let directory = TempDir::with_prefix("ravenry-package-")?;
        let mut command = Command::new(repository().join("packaging/deb/build"));
        command.arg(binary()?.canonicalize()?).arg(directory.path()).env("COMPRESSION_LEVEL", "1");
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let output = within(BUILD, "building the package", async { Ok(command.output().await?) }).await?;
        ensure!(output.status.success(), "packaging/deb/build: {}", output.status);
        let file = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        ensure!(file.is_file(), "{}", file.display());
        Ok(Self { directory, file })
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The package itself.
    pub fn file(&self) -> &Path {
        &self.file
    }
}
