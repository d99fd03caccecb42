//! The master comes back with the database of an hour ago.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_older_list_takes_nothing_away_and_brings_nothing_back() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be1).await?;
    let mut bob = murder.fe1.imap("bob").await?;
    bob.create("INBOX.doomed").await?.ok()?;
    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    murder.mm.save_list("old").await?;
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SOON).await?;

    // The lost hour.
    murder.be1.imap("cyrus").await?.xfer("user.alice", &murder.be2.server()).await?.ok()?;
    bob.create("INBOX.new").await?.ok()?;
    bob.delete("INBOX.doomed").await?.ok()?;
    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    murder.mm.restore_list("old").await?;
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SOON).await?;

    let find = |name: &'static str| async move { ravenry.cli(&["list", "find", name]).await };
    ensure!(find("user.alice").await?.success()?.stdout.contains("be2.murder.test"), "alice moved back");
    find("user.bob.new").await?.success()?;
    ensure!(find("user.bob.doomed").await?.exit != 0, "what was deleted is back");
    let plan = ravenry.cli(&["plan"]).await?;
    for name in ["user.alice", "user.bob.new", "user.bob.doomed"] {
        ensure!(plan.stdout.contains(name), "{name} is not in the plan: {plan:?}");
    }
    // The second backend starts as it does with `ctl_mboxlist -m` in its START: alice is still there.
    let pushed = murder.be2.mboxlist_push().await?;
    ensure!(!pushed.stdout.contains("Remove Local"), "{pushed:?}");
    murder.be2.imap("alice").await?.count("INBOX").await?;

    ravenry.cli(&["reseed", "--yes"]).await?.success()?;
    ravenry.wait_for_state("following", SOON).await?;
    stage.agreement().await?.reached_within(SOON).await?;
    stage.stop().await
}
