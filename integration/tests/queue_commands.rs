//! `ravenry queue`, as an operator uses it while a backend is down.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::engine::Output;
use ravenry_integration::murder::Plan;
use ravenry_integration::post::{Post, arrived};
use ravenry_integration::ravenry::Ravenry;
use serde_json::Value;

/// Enough for one delivery on a busy machine.
const DELIVERED: Duration = Duration::from_secs(30);

async fn queue(ravenry: &Ravenry, args: &[&str]) -> Result<Output> {
    ravenry.cli(&[&["queue"], args].concat()).await
}

async fn listed(ravenry: &Ravenry) -> Result<Vec<Value>> {
    let listed = queue(ravenry, &["list", "--json"]).await?.success()?;
    listed.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_holds_moves_and_forgets_what_is_queued() -> Result<()> {
    let post = Post::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    ensure!(queue(ravenry, &["list"]).await?.success()?.stdout == "the queue is empty\n");
    murder.be1.stop_cyrus().await?;
    let mut lmtp = post.lmtp().await?;
    for id in ["first", "second", "third"] {
        ensure!(lmtp.deliver_one("alice", id).await?.verdict().is_ok(), "{id}");
    }

    // What is shown: the oldest first, for people and for programs.
    let all = listed(ravenry).await?;
    let ids: Vec<String> =
        all.iter().filter_map(|message| Some(message["id"].as_str()?.to_owned())).collect();
    let [first, second, third] = ids.as_slice() else { anyhow::bail!("{all:?}") };
    let shown = queue(ravenry, &["list"]).await?.success()?.stdout;
    let at = |text: &str| shown.find(text).with_context(|| format!("no {text:?} in\n{shown}"));
    ensure!(at(first)? < at(second)? && at(second)? < at(third)?, "{shown}");
    at("-- 3 messages")?;
    at("sender@example.org")?;
    at("alice at ")?;
    let shown = queue(ravenry, &["show", first]).await?.success()?.stdout;
    for part in [first, "sender    <sender@example.org>", "to        <alice>", ": waiting"] {
        ensure!(shown.contains(part), "no {part:?} in\n{shown}");
    }
    let text = queue(ravenry, &["cat", second]).await?.success()?.stdout;
    ensure!(text.starts_with("Received: ") && text.contains("\r\nSubject: second\r\n"), "{text}");
    ensure!(text.ends_with("\r\n\r\nHello.\r\n"), "{text}");
    for command in ["show", "cat", "hold", "release", "retry", "delete", "export"] {
        let unknown = queue(ravenry, &[command, "0000000000"]).await?;
        ensure!(unknown.exit != 0 && !unknown.stderr.is_empty(), "{command}: {unknown:?}");
    }

    // ALL stands alone, in capitals, and is not taken without a yes.
    for wrong in [&["delete"][..], &["delete", "all"], &["delete", "ALL"], &["delete", "ALL", first]] {
        let refused = queue(ravenry, wrong).await?;
        ensure!(refused.exit != 0, "{wrong:?}: {refused:?}");
    }
    ensure!(listed(ravenry).await?.len() == 3, "nothing was deleted");

    // A message leaves one queue and comes into the next.
    let directory = ravenry.home().join("exported");
    std::fs::create_dir(&directory)?;
    let into = directory.to_string_lossy().into_owned();
    queue(ravenry, &["export", second, "--directory", &into]).await?.success()?;
    let exported = directory.join(format!("{second}.eml"));
    ensure!(std::fs::read_to_string(&exported)? == text);
    ensure!(exported.metadata()?.permissions().mode() & 0o777 == 0o600, "mail is for its owner alone");
    ensure!(listed(ravenry).await?.len() == 3, "it stays queued");
    let again = queue(ravenry, &["export", second, "--directory", &into]).await?;
    ensure!(again.exit != 0, "files that exist are not overwritten: {again:?}");
    queue(ravenry, &["delete", second]).await?.success()?;
    let left: Vec<Value> =
        listed(ravenry).await?.into_iter().map(|mut message| message["id"].take()).collect();
    ensure!(left == [first.as_str(), third.as_str()], "{left:?}");
    let json = directory.join(format!("{second}.json"));
    let imported = queue(ravenry, &["import", &json.to_string_lossy()]).await?.success()?.stdout;
    ensure!(queue(ravenry, &["cat", imported.trim()]).await?.success()?.stdout == text);

    // What is held stays when everything else goes.
    queue(ravenry, &["hold", first]).await?.success()?;
    let shown = queue(ravenry, &["list"]).await?.success()?.stdout;
    ensure!(shown.contains(&format!("{first}!")), "{shown}");
    murder.be1.start_cyrus().await?;
    murder.be1.wait_until_up().await?;
    queue(ravenry, &["retry", "--all"]).await?.success()?;
    arrived(&murder.fe1, "alice", "INBOX", 2, DELIVERED).await?;
    ravenry.wait_for(DELIVERED, "one message", |status| status["queue"]["messages"] == 1).await?;
    queue(ravenry, &["retry", first]).await?.success()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let held = listed(ravenry).await?;
    ensure!(held.len() == 1 && held[0]["held"] == true, "retry does not release: {held:?}");
    queue(ravenry, &["release", first]).await?.success()?;
    arrived(&murder.fe1, "alice", "INBOX", 3, DELIVERED).await?;
    ravenry.wait_for(DELIVERED, "nothing queued", |status| status["queue"]["messages"] == 0).await?;

    // Everything is forgotten by who says ALL.
    murder.be1.stop_cyrus().await?;
    for id in ["fourth", "fifth"] {
        ensure!(lmtp.deliver_one("alice", id).await?.verdict().is_ok(), "{id}");
    }
    queue(ravenry, &["delete", "ALL", "--yes"]).await?.success()?;
    ensure!(listed(ravenry).await?.is_empty());
    murder.be1.start_cyrus().await?;
    murder.be1.wait_until_up().await?;
    ensure!(lmtp.deliver_one("alice", "sixth").await?.verdict().is_ok());
    arrived(&murder.fe1, "alice", "INBOX", 4, DELIVERED).await?;
    post.stop().await
}
