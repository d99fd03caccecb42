//! Pictures for the documentation: the status page and `ravenry top` in the midst of an outage.

use std::time::Duration;

use anyhow::Result;

use crate::browser::Browser;
use crate::monitors::repository;
use crate::murder::Plan;
use crate::stage::{IMAP, LMTP, Stage};

/// Takes `docs/status.png` and `docs/top.txt`.
pub async fn take() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?.retrying_after(2), &format!("{IMAP}{LMTP}")).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    for (user, backend) in [("alice", &murder.be1), ("bob", &murder.be2)] {
        murder.create_user(user, backend).await?;
    }
    let mut alice = murder.fe1.imap("alice").await?;
    murder.mm.stop_cyrus().await?;
    for folder in ["INBOX.Plans", "INBOX.Project", "INBOX.Archive"] {
        alice.create(folder).await?.ok()?;
    }
    ravenry.wait_for_state("standing-in", Duration::from_secs(15)).await?;
    let file = repository().join("docs/status.png");
    Browser::picture(ravenry.metrics(), &file).await?;
    eprintln!("{} is taken", file.display());
    let file = repository().join("docs/top.txt");
    tokio::fs::write(&file, ravenry.cli(&["top", "--once"]).await?.success()?.stdout).await?;
    eprintln!("{} is taken", file.display());
    stage.dismiss().await
}
