//! The master is never crashed, whatever goes through Ravenry: on each of these releases a DELETE of a name that it
//! does not know kills it (`master_facts.rs`).

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::clients::Mupdate;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(30);
const BACK: Duration = Duration::from_secs(60);
const ACL: &str = "anyone\tlrs\t";

/// Puts names into the list that nobody holds.
async fn ghosts(stage: &Stage, names: &[String]) -> Result<()> {
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    for name in names {
        writer.activate(name, &stage.murder.be1.location(), ACL).await?.ok()?;
    }
    Ok(())
}

/// Deletes each name over three connections at the same time.
async fn delete_at_once(stage: &Stage, names: &[String]) -> Result<()> {
    let mut sessions = Vec::new();
    for name in names {
        for _ in 0..3 {
            sessions.push((Mupdate::login(stage.ravenry.address()).await?, name.clone()));
        }
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (mut session, name) in sessions {
        tasks.spawn(async move { session.delete(&name).await?.ok().with_context(|| name) });
    }
    while let Some(reply) = tasks.join_next().await {
        reply??;
    }
    Ok(())
}

/// Every name that a backend or a user may ask to be removed although it is not there.
async fn unknown_names(stage: &Stage) -> Result<()> {
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    let place = stage.murder.be1.location();
    for name in ["user.unknown", "user.unknown.child", "DELETED.user.unknown.6B041D87"] {
        assert!(writer.delete(name).await?.is_ok(), "DELETE of {name}: a NO would fail a user's RENAME");
        let refused = writer.run("DEACTIVATE", &[name, &place]).await?;
        assert_eq!((refused.keyword.as_str(), refused.text.as_str()), ("NO", "mailbox doesn't exist"));
    }
    writer.reserve("user.reserved", &place).await?.ok()?;
    let refused = writer.run("DEACTIVATE", &["user.reserved", &place]).await?;
    assert_eq!((refused.keyword.as_str(), refused.text.as_str()), ("NO", "mailbox not currently active"));
    writer.delete("user.reserved").await?.ok()?;
    Ok(())
}

/// A user renames and deletes what the list has lost: the backend then asks for the old name to be removed.
async fn a_user_s_ghosts(stage: &Stage, round: &str) -> Result<()> {
    let mut alice = stage.murder.fe1.imap("alice").await?;
    let mailboxes = [format!("INBOX.{round}-renamed"), format!("INBOX.{round}-deleted")];
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    for mailbox in &mailboxes {
        alice.create(mailbox).await?.ok()?;
        writer.delete(&mailbox.replace("INBOX", "user.alice")).await?.ok()?;
    }
    // At the backend itself: the frontends do not see them any more.
    let mut alice = stage.murder.be1.imap("alice").await?;
    let [renamed, deleted] = &mailboxes;
    alice.rename(renamed, &format!("{renamed}-again")).await?.ok()?;
    alice.delete(deleted).await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_outlives_everything_that_is_asked_for() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let agreement = stage.agreement().await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let names = |round: &str| (0..10).map(|n| format!("user.{round}{n}")).collect::<Vec<_>>();

    unknown_names(&stage).await?;
    a_user_s_ghosts(&stage, "up").await?;
    ghosts(&stage, &names("up")).await?;
    delete_at_once(&stage, &names("up")).await?;
    agreement.reached_within(SOON).await?;

    // A master that hangs with our deletions in its hands carries them out when it wakes, while we compare lists
    // with it and would delete the same names again.
    for round in 0..4 {
        let names = names(&format!("hang{round}-"));
        ghosts(&stage, &names).await?;
        murder.mm.signal_mupdate("STOP").await?;
        delete_at_once(&stage, &names).await?;
        ravenry.wait_for_state("standing-in", SOON).await?;
        // Some of them come back, so that the late deletion is wrong.
        ghosts(&stage, &names[..5]).await?;
        delete_at_once(&stage, &names[..3]).await?;
        murder.mm.signal_mupdate("CONT").await?;
        ravenry.wait_for_state("following", BACK).await?;
        delete_at_once(&stage, &names).await?;
        agreement.reached_within(SOON).await.with_context(|| format!("hang {round}"))?;
    }

    // The same while standing in, replayed by a Ravenry that is killed in the midst of it, twice.
    let gone = names("gone");
    ghosts(&stage, &gone).await?;
    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    unknown_names(&stage).await?;
    a_user_s_ghosts(&stage, "down").await?;
    delete_at_once(&stage, &gone).await?;
    let Stage { mut ravenry, to_master, from_frontends, from_backends, murder } = stage;
    murder.mm.start_cyrus().await?;
    murder.mm.wait_until_up().await?;
    let process = murder.mm.mupdate_process().await?;
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        ravenry.crash_and_restart().await?;
    }
    ravenry.wait_for_state("following", BACK).await?;
    assert_eq!(murder.mm.mupdate_process().await?, process, "the master died");
    let stage = Stage { ravenry, to_master, from_frontends, from_backends, murder };
    stage.agreement().await?.reached_within(BACK).await?;
    stage.stop().await
}
