//! The master comes back with the database of an hour ago.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::answers::at;
use ravenry_integration::clients::Mupdate;
use ravenry_integration::murder::Plan;
use ravenry_integration::ravenry::NOT_CONFIRMED;
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

/// A name in dispute is decided, as a script does it.
async fn resolve(stage: &Stage, name: &str, keep: &str) -> Result<()> {
    let side = if keep == "master" { "/theirs" } else { "/ours" };
    let shown = stage.ravenry.cli(&["conflicts", "show", name, "--json"]).await?.success()?;
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout)?;
    let kept = at(&shown, side);
    ensure!(at(&shown, "/dispute") == "unconfirmed" && at(kept, "/location").is_string(), "{shown}");
    let decide = ["conflicts", "resolve", name, "--keep", keep, "--json"];
    let unsure = stage.ravenry.cli(&decide).await?;
    ensure!(unsure.exit == NOT_CONFIRMED && unsure.stdout.is_empty(), "{unsure:?}");
    let done = stage.ravenry.cli(&[decide.as_slice(), &["--yes"]].concat()).await?.success()?;
    let told: serde_json::Value = serde_json::from_str(&done.stdout)?;
    ensure!(at(&told, "/name") == name && at(&told, "/kept") == kept, "{told} of {shown}");
    Ok(())
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

    // A person decides about one of them on each side's behalf, and the rest goes to the master.
    resolve(&stage, "user.bob.new", "ours").await?;
    resolve(&stage, "user.bob.doomed", "master").await?;
    let disputed = ravenry.cli(&["conflicts", "list", "--json"]).await?.success()?;
    ensure!(names(&disputed.stdout)? == ["DELETED.user.bob.doomed", "user.alice"], "{disputed:?}");
    ensure!(murder.mm.dump().await?.get("user.bob.new").is_some(), "ours did not go to the master");
    find("user.bob.doomed").await?.success()?;
    // Which its backend does not have any more, so that it was the wrong word, and goes again.
    Mupdate::login(ravenry.address()).await?.delete("user.bob.doomed").await?.ok()?;
    ravenry.cli(&["reseed", "--yes"]).await?.success()?;
    ravenry.wait_for_state("following", SOON).await?;
    stage.agreement().await?.reached_within(SOON).await?;
    stage.stop().await
}
