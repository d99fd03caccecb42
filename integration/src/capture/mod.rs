//! Capturing fixtures: conversations with, and lists from, a real master of each release.

mod backend;
pub mod dumps;
mod frontend;
mod master;
pub mod order;
pub mod pictures;
mod sasl;
mod script;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::murder::Suite;
use crate::transcript::Transcript;

/// Captures every conversation for one release into `fixtures/mupdate/VERSION`.
pub async fn conversations(suite: Suite) -> Result<()> {
    let book = Book::open("mupdate", suite)?;
    master::capture(suite, &book).await.context("the master alone")?;
    backend::capture(suite, &book).await.context("backends")?;
    frontend::capture(suite, &book).await.context("frontends")?;
    sasl::capture(suite, &book).await.context("SASL")
}

/// Where the fixtures of one release go.
struct Book {
    directory: PathBuf,
}

impl Book {
    fn open(kind: &str, suite: Suite) -> Result<Self> {
        let directory = fixtures().join(kind).join(suite.cyrus());
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// Writes one conversation.
    fn write(&self, scene: &str, transcript: &Transcript) -> Result<()> {
        let path = self.directory.join(format!("{scene}.txt"));
        std::fs::write(&path, transcript.to_string())
            .with_context(|| format!("writing {}", path.display()))?;
        eprintln!("{}", path.display());
        Ok(())
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}
