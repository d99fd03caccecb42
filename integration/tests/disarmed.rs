//! `ctl_mboxlist -m`, which backends run at their start, destroys nothing (rule 4): neither their own mailboxes nor
//! the list. Following and standing in.

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::clients::Mupdate;
use ravenry_integration::murder::{Node, Plan};
use ravenry_integration::relay::{Action, Fault, Moment};
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(15);
const BACK: Duration = Duration::from_secs(30);
const MESSAGE: &str = "Subject: keep me\r\n\r\nHello.\r\n";
const ACL: &str = "alice\tlrswipkxtecda\t";

async fn stage() -> Result<Stage> {
    let plan = Plan { mboxlist_at_start: true, ..Plan::chosen()? };
    Stage::start(plan, "").await
}

/// A user at be1 with a message in the inbox.
async fn user_with_mail(stage: &Stage, user: &str) -> Result<()> {
    stage.murder.create_user(user, &stage.murder.be1).await?;
    stage.murder.fe1.imap(user).await?.append("INBOX", MESSAGE).await?.ok().map(drop)
}

/// The master goes away; Ravenry decides.
async fn lose_master(stage: &Stage) -> Result<()> {
    stage.murder.mm.stop_cyrus().await?;
    stage.ravenry.wait_for_state("standing-in", SOON).await.map(drop)
}

/// The master comes back, and everything agrees.
async fn all_is_well(stage: &Stage, agreement: &mut Agreement<'_>) -> Result<()> {
    if stage.murder.mm.mupdate_process().await?.is_none() {
        stage.murder.mm.start_cyrus().await?;
        stage.ravenry.wait_for_state("following", BACK).await?;
        agreement.master_was_restarted().await?;
    }
    agreement.reached_within(SOON).await.map(drop)
}

/// Boots a backend whose `ctl_mboxlist -m` fails at its start, so that it does not come up.
async fn boot_in_vain(backend: &Node) -> Result<()> {
    let failed = "can't run startup";
    let so_far = backend.logs().await?.matches(failed).count();
    backend.start_cyrus().await?;
    backend.wait_for_log(failed, so_far, SOON).await?;
    assert!(backend.imap("cyrus").await.is_err(), "{} must not be up", backend.name());
    // What is left of it, if anything, is in nobody's way.
    backend.stop_cyrus().await
}

/// A backend boots with the list of an hour ago, which has neither a rename, nor a new mailbox, nor an XFER.
async fn a_stale_list(
    stage: &Stage,
    agreement: &mut Agreement<'_>,
    away: bool,
    users: [&str; 2],
) -> Result<()> {
    let [stays, moves] = users;
    let (be1, be2, fe1) = (&stage.murder.be1, &stage.murder.be2, &stage.murder.fe1);
    user_with_mail(stage, stays).await?;
    user_with_mail(stage, moves).await?;
    let mut imap = fe1.imap(stays).await?;
    imap.create("INBOX.old").await?.ok()?;
    imap.append("INBOX.old", MESSAGE).await?.ok()?;
    be1.stop_cyrus().await?;
    be1.save_list("early").await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await?;
    let mut imap = fe1.imap(stays).await?;
    imap.rename("INBOX.old", "INBOX.kept").await?.ok()?;
    imap.create("INBOX.new").await?.ok()?;
    imap.append("INBOX.new", MESSAGE).await?.ok()?;
    be1.imap("cyrus").await?.xfer(&format!("user.{moves}"), &be2.server()).await?.ok()?;
    agreement.reached_within(SOON).await?;
    let before = stage.list().await?;

    if away {
        lose_master(stage).await?;
    }
    be1.stop_cyrus().await?;
    be1.save_list("late").await?;
    be1.restore_list("early").await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await?;
    let after = stage.list().await?;
    for (name, entry) in &before.0 {
        let now = after.get(name);
        // What it does not know any more is two names, which it may remove (the rule allows a hundred).
        let unknown = [format!("user.{stays}.kept"), format!("user.{stays}.new")].contains(name);
        assert!(now == Some(entry) || (unknown && now.is_none()), "{name}: {entry:?} became {now:?}");
    }
    assert_eq!(be1.imap(stays).await?.count("INBOX").await?, 1, "its own mail");
    assert_eq!(fe1.imap(moves).await?.count("INBOX").await?, 1, "the mail of who moved away");

    be1.stop_cyrus().await?;
    be1.restore_list("late").await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await?;
    // The old list brought a name back that the new one does not have: one more -m took it away again.
    all_is_well(stage, agreement).await?;
    let mut imap = fe1.imap(stays).await?;
    for mailbox in ["INBOX", "INBOX.kept", "INBOX.new"] {
        assert_eq!(imap.count(mailbox).await?, 1, "{mailbox}");
    }
    Ok(())
}

/// A backend boots without any list. It may not remove everything that it is listed with: it does not come up, and
/// what it removed is put back.
async fn an_empty_list(stage: &Stage, agreement: &mut Agreement<'_>, away: bool) -> Result<()> {
    let be1 = &stage.murder.be1;
    agreement.reached_within(SOON).await?;
    let before = stage.list().await?;
    if away {
        lose_master(stage).await?;
    }
    be1.stop_cyrus().await?;
    be1.save_list("whole").await?;
    be1.lose_list().await?;
    boot_in_vain(be1).await?;
    assert_eq!(stage.list().await?, before);
    assert!(stage.ravenry.log()?.contains("ravenry allow-removals"), "the log says what to do");
    be1.restore_list("whole").await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await?;
    all_is_well(stage, agreement).await
}

/// The list says that another backend holds the mailbox.
async fn a_mailbox_elsewhere(
    stage: &Stage,
    agreement: &mut Agreement<'_>,
    away: bool,
    user: &str,
) -> Result<()> {
    let (be1, be2) = (&stage.murder.be1, &stage.murder.be2);
    let name = format!("user.{user}");
    user_with_mail(stage, user).await?;
    agreement.reached_within(SOON).await?;
    if away {
        lose_master(stage).await?;
    }
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    let held = writer.find(&name).await?.and_then(|record| record.entry).context("not listed")?;
    writer.run("DEACTIVATE", &[&name, &held.location]).await?.ok()?;
    writer.activate(&name, &be2.location(), ACL).await?.ok()?;
    let before = stage.list().await?;

    be1.stop_cyrus().await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await.context("the refusals do not keep it from starting")?;
    let push = be1.mboxlist_push().await?.success()?;
    assert!(push.stderr.contains("update continuing"), "{push:?}");
    assert!(be1.mboxlist_preview().await?.stdout.contains(&format!("Force Activate: {name}")));
    assert_eq!(stage.list().await?, before, "nothing moved");
    assert_eq!(be1.imap(user).await?.count("INBOX").await?, 1, "nothing wiped");

    // The way out, when the list is wrong.
    writer.run("DEACTIVATE", &[&name, &be2.location()]).await?.ok()?;
    writer.activate(&name, &held.location, ACL).await?.ok()?;
    be1.mboxlist_push().await?.success()?;
    all_is_well(stage, agreement).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_boots_with_a_list_that_is_not_ours_loses_nothing() -> Result<()> {
    let stage = stage().await?;
    let mut agreement = stage.agreement().await?;
    a_stale_list(&stage, &mut agreement, false, ["alice", "bob"]).await.context("stale, following")?;
    a_stale_list(&stage, &mut agreement, true, ["carol", "dave"]).await.context("stale, standing in")?;
    for away in [false, true] {
        an_empty_list(&stage, &mut agreement, away).await.with_context(|| format!("empty, away: {away}"))?;
    }
    a_mailbox_elsewhere(&stage, &mut agreement, false, "u001").await.context("elsewhere, following")?;
    a_mailbox_elsewhere(&stage, &mut agreement, true, "u002").await.context("elsewhere, standing in")?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_in_the_middle_of_the_comparison_does_not_cost_the_mailbox() -> Result<()> {
    let stage = stage().await?;
    let agreement = stage.agreement().await?;
    let be1 = &stage.murder.be1;
    user_with_mail(&stage, "alice").await?;
    let mut alice = stage.murder.fe1.imap("alice").await?;
    alice.create("INBOX.a").await?.ok()?;
    alice.append("INBOX.a", MESSAGE).await?.ok()?;
    // From 3.6 a rename is announced without a partition. A FIND that shows that is an order to wipe.
    stage.from_backends.set([Fault::At(Moment::Reply("LIST"), Action::Delay(Duration::from_secs(2)))]);
    let (pushed, renamed) = tokio::join!(be1.mboxlist_push(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        alice.rename("INBOX.a", "INBOX.b").await?.ok()
    });
    stage.from_backends.heal();
    renamed?;
    pushed?.success()?;
    assert!(stage.from_backends.hits() > 0, "the list was not late");
    assert_eq!(alice.count("INBOX.b").await?, 1, "the message");
    agreement.reached_within(SOON).await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_removals_are_tidying_up_and_more_need_a_person() -> Result<()> {
    let stage = stage().await?;
    let agreement = stage.agreement().await?;
    let be2 = &stage.murder.be2;
    stage.murder.create_user("bob", be2).await?;
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    let ghosts = async |writer: &mut Mupdate, count: usize| {
        for number in 0..count {
            writer.activate(&format!("user.bob.ghost{number}"), &be2.location(), ACL).await?.ok()?;
        }
        anyhow::Ok(())
    };
    // Deleting leaves them with `delete_mode: immediate`.
    ghosts(&mut writer, 99).await?;
    be2.mboxlist_push().await?.success()?;
    agreement.reached_within(SOON).await?;

    ghosts(&mut writer, 120).await?;
    let before = stage.list().await?;
    let refused = be2.mboxlist_push().await?;
    assert_ne!(refused.exit, 0, "{refused:?}");
    assert_eq!(stage.list().await?, before, "put back");
    let preview = be2.mboxlist_preview().await?.success()?;
    let count = preview.stdout.lines().filter(|line| line.starts_with("Remove from MUPDATE")).count();
    assert_eq!(count, 120, "{preview:?}");
    let allow = ["allow-removals", "--server", &be2.server(), "--count", &count.to_string()];
    stage.ravenry.cli(&allow).await?.success()?;
    be2.mboxlist_push().await?.success()?;
    agreement.reached_within(SOON).await?;
    stage.stop().await
}
