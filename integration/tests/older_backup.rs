//! The master comes back with the database of an hour ago.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(30);

/// The names that lines of JSON are about, in order; the summary has none.
fn names(lines: &str) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for line in lines.lines() {
        let value: serde_json::Value = serde_json::from_str(line)?;
        names.extend(value.get("name").and_then(|name| name.as_str()).map(str::to_owned));
    }
    names.sort();
    // What was deleted in delayed mode is there under another name, with a time in it.
    for name in &mut names {
        if let Some((deleted, _)) = name.rsplit_once('.').filter(|_| name.starts_with("DELETED.")) {
            *name = deleted.to_owned();
        }
    }
    Ok(names)
}

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
    let lost = ["DELETED.user.bob.doomed", "user.alice", "user.bob.doomed", "user.bob.new"];
    let plan = ravenry.cli(&["plan", "--json"]).await?;
    ensure!(names(&plan.stdout)? == lost, "the plan is not exactly the lost hour: {plan:?}");
    let disputed = ravenry.cli(&["conflicts", "list", "--json"]).await?.success()?;
    ensure!(names(&disputed.stdout)? == lost, "not exactly the lost hour is on record: {disputed:?}");
    // The second backend boots with `ctl_mboxlist -m` in its START: alice is still there.
    let push = r#"sed -i 's/^START {$/START {\n  push cmd="ctl_mboxlist -m"/' /etc/cyrus.conf && grep -q push /etc/cyrus.conf"#;
    murder.be2.configure(push).await?;
    murder.be2.imap("alice").await?.count("INBOX").await?;
    ensure!(
        find("user.alice").await?.success()?.stdout.contains("be2.murder.test"),
        "alice moved by the boot"
    );
    let pushed = murder.be2.mboxlist_push().await?;
    ensure!(!pushed.said().contains("Remove Local"), "{pushed:?}");

    ravenry.cli(&["reseed", "--yes"]).await?.success()?;
    ravenry.wait_for_state("following", SOON).await?;
    stage.agreement().await?.reached_within(SOON).await?;
    stage.stop().await
}
