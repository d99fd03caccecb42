//! The harness proves itself on a murder without Ravenry: that it works in peace, and that an outage of the master
//! hurts in the ways that Ravenry is for.
//!
//! These and all stories start containers; `integration/test` runs them.
//! `MURDER_SUITE` chooses the release.

use std::time::Duration;

use anyhow::Result;
use ravenry_integration::agreement::{Agreement, Difference};
use ravenry_integration::clients::Completion;
use ravenry_integration::murder::{Murder, Plan, Suite};
use ravenry_integration::storm::{Storm, deadlock};

/// A frontend learns of a change within the master's 5 s tick; twice that is late.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn in_peace_everything_works_and_the_lists_agree() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?).await?;
    let agreement = Agreement::begin(&murder).await?;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    // A frontend of 3.2 that has not heard of a user denies what is asked for him; later ones ask.
    agreement.reached_within(SOON).await?;

    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.work").await?.ok()?;
    alice.create("INBOX.&AOk-t&AOk- x").await?.ok()?;
    alice.rename("INBOX.work", "INBOX.play").await?.ok()?;
    alice.set_acl("INBOX", "bob", "lrs").await?.ok()?;
    alice.append("INBOX.play", "Subject: x\r\n\r\nHello.\r\n").await?.ok()?;
    alice.select("INBOX.play").await?.ok()?;
    agreement.reached_within(SOON).await?;

    for frontend in murder.frontends() {
        for user in ["alice", "bob", "alice+play"] {
            let delivery =
                frontend.lmtp().await?.deliver_one(user, &format!("{user}-{}", frontend.name())).await?;
            assert!(delivery.verdict().is_ok(), "{delivery:?}");
        }
    }
    assert_eq!(alice.count("INBOX").await?, 4, "a subfolder without the p right is filed in the inbox");
    let mut names = murder.fe2.imap("alice").await?.list("*").await?;
    names.sort();
    assert_eq!(names, ["INBOX", "INBOX.&AOk-t&AOk- x", "INBOX.play"]);

    // At its backend: a frontend answers OK and moves nothing.
    let mut admin = murder.be1.imap("cyrus").await?;
    admin.xfer("user.alice", &murder.be2.server()).await?.ok()?;
    agreement.reached_within(SOON).await?;
    let dump = murder.mm.dump().await?;
    for (name, entry) in &dump.0 {
        assert_eq!(entry.server(), Some(murder.be2.server().as_str()), "{name} after XFER");
    }

    murder.create_user("carol", &murder.be1).await?;
    // Before that a frontend may choose a backend for what is new.
    agreement.reached_within(SOON).await?;
    let mut carol = murder.fe2.imap("carol").await?;
    carol.create("INBOX.gone").await?.ok()?;
    carol.delete("INBOX.gone").await?.ok()?;
    agreement.reached_within(SOON).await?;

    // Here the deletion is immediate, and Cyrus leaves a ghost in every list.
    let mut bob = murder.fe2.imap("bob").await?;
    bob.create("INBOX.gone").await?.ok()?;
    bob.delete("INBOX.gone").await?.ok()?;
    agreement.reached_but_for(SOON, Difference::is_ghost).await?;
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_refuses_changes_and_bounces_mail() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?.retrying_after(2)).await?;
    let mut agreement = Agreement::begin(&murder).await?;
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.work").await?.ok()?;
    agreement.reached_within(SOON).await?;

    murder.mm.stop_cyrus().await?;
    assert_eq!(alice.create("INBOX.new").await?.completion, Completion::No);
    assert_eq!(alice.rename("INBOX.work", "INBOX.play").await?.completion, Completion::No);
    let mut lmtp = murder.fe1.lmtp().await?;
    let known = lmtp.deliver_one("alice", "known").await?;
    assert!(known.verdict().is_ok(), "{known:?}");
    let unknown = lmtp.deliver_one("bob", "unknown").await?;
    assert!(unknown.verdict().is_permanent(), "{unknown:?}");

    murder.mm.start_cyrus().await?;
    murder.mm.wait_until_up().await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(Duration::from_secs(60)).await?;
    alice.create("INBOX.new").await?.ok()?;
    agreement.reached_within(SOON).await?;
    murder.stop().await
}

/// Here a change reaches the frontends by the master's tick, up to 5 s after its backend had the OK: an imapd that
/// does not find what was just created through the other frontend kicks its slave under the user's lock, and the
/// slave needs that lock for what it has to store first (Cyrus issue 5926). Users who stay at one frontend get
/// through, as they do in `renames.rs`: a frontend kicks its slave for what is created through itself. On 3.2 it was not seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_renames_across_frontends_deadlocks_one() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?).await?;
    let agreement = Agreement::begin(&murder).await?;
    let storm = Storm::new(true, Duration::from_secs(15));
    storm.prepare(&murder).await?;
    agreement.reached_within(SOON).await?;
    let aftermath = storm.blow(&murder, "storm").await?;
    let mut dead = Vec::new();
    for frontend in murder.frontends() {
        dead.extend(deadlock(frontend).await?.map(|pair| format!("{}: {pair}", frontend.name())));
    }
    println!("{aftermath}{dead:?}");
    if murder.plan().suite == Suite::Bullseye {
        assert!(aftermath.hung.is_empty() && dead.is_empty(), "{aftermath}{dead:?}");
        return murder.stop().await;
    }
    assert!(!aftermath.hung.is_empty() && !dead.is_empty(), "no frontend is dead: {aftermath}{dead:?}");

    // Nothing ends it: nobody does anything any more, and that frontend still lacks what the other nodes have.
    tokio::time::sleep(SOON).await;
    for frontend in murder.frontends() {
        let pair = deadlock(frontend).await?.map(|pair| format!("{}: {pair}", frontend.name()));
        dead.retain(|before| !before.starts_with(frontend.name()) || Some(before) == pair.as_ref());
    }
    assert!(!dead.is_empty(), "every deadlock ended by itself");
    murder.stop().await
}
