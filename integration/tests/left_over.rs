//! Ravenry is killed in the middle of operations: what their backends took back is taken back on every list, and what
//! they did stands, without anybody's help.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::agreement::{Agreement, Difference};
use ravenry_integration::clients::{Completion, Imap};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::Plan;
use ravenry_integration::relay::{Action, Fault, Moment};
use ravenry_integration::stage::{BACKENDS, Stage};
use tokio::task::JoinSet;

/// Promised: half a minute after the start. Asserted with slack for a busy machine, and for frontends that come back.
const PUT_RIGHT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(30);

/// What the users do, each to a mailbox `INBOX.old` of his own, or from nothing.
const DEEDS: [(&str, &str); 3] =
    [("u001", "CREATE INBOX.new"), ("u002", "RENAME INBOX.old INBOX.new"), ("u003", "DELETE INBOX.old")];

/// Up to which step the backends are let come: its reply hangs, and Ravenry is killed then.
const STEPS: [Moment; 3] = [Moment::Reply("DELETE"), Moment::Reply("RESERVE"), Moment::Reply("ACTIVATE")];

async fn users(stage: &Stage) -> Result<()> {
    for (user, _) in DEEDS {
        stage.murder.create_user(user, &stage.murder.be1).await?;
    }
    // Somebody whose mailbox the backend must hold whatever happens.
    stage.murder.create_user("u004", &stage.murder.be1).await
}

/// A mailbox each where the deed needs one.
async fn prepare(stage: &Stage) -> Result<()> {
    for (user, deed) in DEEDS {
        if !deed.starts_with("CREATE") {
            stage.murder.fe1.imap(user).await?.create("INBOX.old").await?.ok()?;
        }
    }
    Ok(())
}

/// A delayed DELETE names its mailbox after the second: two of one name within it, and the second one is refused.
const NEXT_SECOND: Duration = Duration::from_millis(1100);

/// Everything that the deeds have left is gone.
async fn clear(stage: &Stage) -> Result<()> {
    tokio::time::sleep(NEXT_SECOND).await;
    for (user, _) in DEEDS {
        let mut imap = stage.murder.be1.imap(user).await?;
        for mailbox in imap.list("INBOX.*").await? {
            imap.delete(&mailbox).await?.ok()?;
        }
    }
    tokio::time::sleep(NEXT_SECOND).await;
    Ok(())
}

/// Begins the deeds, kills Ravenry when their conversations hang, and starts it again. What the users heard, by user;
/// only theirs whose deed comes to this step.
async fn cut_off(stage: &mut Stage, step: &Moment) -> Result<BTreeMap<&'static str, Completion>> {
    let relay = &stage.from_backends;
    let before = relay.hits();
    relay.set([Fault::At(step.clone(), Action::Hang)]);
    let mut deeds = JoinSet::new();
    let mut hanging = 0;
    for (user, deed) in DEEDS {
        if *step == Moment::Reply("DELETE") && deed.starts_with("CREATE") {
            continue;
        }
        hanging += 1;
        let mut imap: Imap = stage.murder.fe1.imap(user).await?;
        deeds.spawn(async move { Ok::<_, anyhow::Error>((user, imap.run(deed).await?.completion)) });
    }
    eventually(SOON, "the conversations hanging", async || {
        Ok((relay.hits() >= before + hanging).then_some(()))
    })
    .await?;
    stage.ravenry.kill().await?;
    relay.cut_all();
    // Whoever is healed before he is cut hears what was held back.
    eventually(SOON, "every conversation cut", async || Ok((relay.open() == 0).then_some(()))).await?;
    relay.heal();
    let mut heard = BTreeMap::new();
    while let Some(answer) = deeds.join_next().await {
        let (user, completion) = answer??;
        heard.insert(user, completion);
    }
    stage.ravenry.launch().await?;
    Ok(heard)
}

/// How many names a status says to be left over.
fn left_over(status: &serde_json::Value) -> Option<u64> {
    status.pointer("/left_over/count")?.as_u64()
}

fn nothing(status: &serde_json::Value) -> bool {
    left_over(status) == Some(0)
}

/// Every list shows what the backends hold, and nothing is left over. Nobody helps.
async fn put_right(stage: &Stage, agreement: &Agreement<'_>, scene: &str) -> Result<()> {
    let took = stage.ravenry.wait_for(PUT_RIGHT, scene, nothing).await?;
    agreement.reached_within(PUT_RIGHT).await.with_context(|| scene.to_owned())?;
    println!("{scene}: nothing left over after {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_cuts_off_is_put_right_by_what_the_backends_hold() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(2), BACKENDS).await?;
    users(&stage).await?;
    for step in &STEPS {
        let scene = format!("with a master, {step:?}");
        prepare(&stage).await?;
        let heard = cut_off(&mut stage, step).await?;
        assert!(heard.values().all(|answer| *answer == Completion::No), "{scene}: {heard:?}");
        let agreement = stage.agreement().await?;
        put_right(&stage, &agreement, &scene).await?;
        tried_again(&stage, &heard, &scene).await?;
        agreement.reached_within(SOON).await?;
        clear(&stage).await?;
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_without_a_master() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(2), BACKENDS).await?;
    users(&stage).await?;
    for step in &STEPS {
        let scene = format!("without a master, {step:?}");
        prepare(&stage).await?;
        stage.murder.mm.stop_cyrus().await?;
        stage.ravenry.wait_for_state("standing-in", SOON).await?;
        let heard = cut_off(&mut stage, step).await?;
        assert!(heard.values().all(|answer| *answer == Completion::No), "{scene}: {heard:?}");
        let took = stage.ravenry.wait_for(PUT_RIGHT, &scene, nothing).await?;
        println!("{scene}: nothing left over after {took:?}");
        let list = stage.list().await?;
        for (user, deed) in DEEDS {
            let there =
                |mailbox: &str| list.get(&format!("user.{user}.{mailbox}")).map(|entry| entry.is_active());
            if heard.contains_key(user) {
                let old = (!deed.starts_with("CREATE")).then_some(true);
                assert_eq!((there("old"), there("new")), (old, None), "{scene}: {deed}");
            }
        }
        stage.murder.mm.start_cyrus().await?;
        stage.ravenry.wait_for_state("following", PUT_RIGHT).await?;
        let agreement = stage.agreement().await?;
        agreement.reached_within(PUT_RIGHT).await.with_context(|| scene.clone())?;
        tried_again(&stage, &heard, &scene).await?;
        agreement.reached_within(SOON).await?;
        clear(&stage).await?;
        let status = stage.ravenry.status().await?;
        assert_eq!(
            (status["journal"].as_u64(), status["conflicts"].as_u64()),
            (Some(0), Some(0)),
            "{status}"
        );
    }
    stage.stop().await
}

/// The users try once more, and are served.
async fn tried_again(stage: &Stage, heard: &BTreeMap<&'static str, Completion>, scene: &str) -> Result<()> {
    for (user, deed) in DEEDS {
        if heard.contains_key(user) {
            let again = stage.murder.fe2.imap(user).await?.run(deed).await?;
            assert_eq!(again.completion, Completion::Ok, "{scene}: the second try of {deed}: {again:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_ok_a_moment_before_the_kill_stands() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(2), BACKENDS).await?;
    users(&stage).await?;
    for round in 0..3 {
        prepare(&stage).await?;
        for (user, deed) in DEEDS {
            stage.murder.fe1.imap(user).await?.run(deed).await?.ok()?;
        }
        stage.ravenry.crash_and_restart().await?;
        let agreement = stage.agreement().await?;
        put_right(&stage, &agreement, &format!("all answered OK, round {round}")).await?;
        let list = stage.list().await?;
        for (user, deed) in DEEDS {
            let there = |mailbox: &str| list.get(&format!("user.{user}.{mailbox}")).is_some();
            assert_eq!((there("old"), there("new")), (false, !deed.starts_with("DELETE")), "{deed}");
        }
        clear(&stage).await?;
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_backend_may_be_asked_it_is_in_sight_and_the_next_try_works() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(2), "").await?;
    users(&stage).await?;
    prepare(&stage).await?;
    let heard = cut_off(&mut stage, &Moment::Reply("RESERVE")).await?;
    assert!(heard.values().all(|answer| *answer == Completion::No), "{heard:?}");
    stage.ravenry.wait_for_state("following", SOON).await?;
    // One that was made, two that were renamed, one of them by a delayed DELETE.
    assert_eq!(left_over(&stage.ravenry.status().await?), Some(5));
    let said = stage.ravenry.cli(&["status"]).await?.success()?.stdout;
    for part in ["left over", "nobody asks the backends", "user.u002.old", "user.u003.old"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let log = stage.ravenry.log()?;
    assert!(log.contains("an operation was cut off with an earlier run") && log.contains("user.u002.old"));
    // No frontend knows the mailboxes; their backend does.
    tokio::time::sleep(NEXT_SECOND).await;
    for (user, deed) in DEEDS {
        stage.murder.be1.imap(user).await?.run(deed).await?.ok().with_context(|| deed.to_owned())?;
    }
    // A delayed DELETE takes another name at every try: of the first, a reservation stays until an audit.
    let reserved = stage.list().await?;
    let deleted = |name: &&String| name.starts_with("DELETED.");
    assert_eq!(reserved.0.keys().filter(deleted).count(), 2, "{reserved:?}");
    stage.ravenry.wait_for(SOON, "the rest", |status| left_over(status) == Some(1)).await?;
    // The reservation of the first DELETE stays until an audit.
    stage.stop_but_for(Difference::is_reservation).await
}

/// A DELETE that the master granted in the moment before Ravenry was killed: here it is on no record.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_master_deleted_and_ravenry_never_heard_of_goes_when_its_backend_denies_it() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(2), BACKENDS).await?;
    let murder = &stage.murder;
    murder.create_user("bob", &murder.be2).await?;
    for mailbox in ["INBOX.gone", "INBOX.held"] {
        murder.fe1.imap("bob").await?.create(mailbox).await?.ok()?;
    }
    stage.agreement().await?.reached_within(SOON).await?;
    stage.ravenry.kill().await?;
    // `delete_mode: immediate`: the backend tells nobody, so the master is told for it; one of 3.2 tells the master itself.
    stage.from_backends.retarget(murder.mm.mupdate_address());
    murder.be2.imap("bob").await?.delete("INBOX.gone").await?.ok()?;
    stage.from_backends.retarget(stage.ravenry.address());
    let mut master = murder.mm.mupdate().await?;
    for name in ["user.bob.gone", "user.bob.held"] {
        // A DELETE of what it does not hold would kill it.
        if master.find(name).await?.is_some() {
            master.delete(name).await?.ok().with_context(|| name.to_owned())?;
        }
    }
    stage.ravenry.launch().await?;
    let unconfirmed = |status: &serde_json::Value| status["unconfirmed"].as_u64();
    let took = stage.ravenry.wait_for(PUT_RIGHT, "one name left", |at| unconfirmed(at) == Some(1)).await?;
    println!("off the list after {took:?}");
    let list = stage.list().await?;
    assert!(list.get("user.bob.gone").is_none() && list.get("user.bob.held").is_some(), "{list:?}");
    // What its backend holds is for a person to decide.
    let resolve = ["conflicts", "resolve", "user.bob.held", "--keep", "ours", "--yes"];
    stage.ravenry.cli(&resolve).await?.success()?;
    stage.ravenry.wait_for(SOON, "nothing unconfirmed", |at| unconfirmed(at) == Some(0)).await?;
    stage.agreement().await?.reached_within(PUT_RIGHT).await?;
    stage.stop().await
}
