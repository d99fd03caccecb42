//! The master is lost and comes back; the murder does not notice.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ravenry_integration::clients::Mupdate;
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::sight::Sight;
use ravenry_integration::stage::Stage;

/// Promised: 1 s on every connected stream. Asserted with slack for a busy machine.
const SHOWN: Duration = Duration::from_secs(5);
/// Promised: 5 s from the master's port opening.
const REPLAYED: Duration = Duration::from_secs(25);
/// Lists are read one after the other, on a busy machine.
const AGREED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_master_is_stood_in_for_and_given_what_it_missed() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    for mailbox in ["old", "old.child", "doomed"] {
        alice.create(&format!("INBOX.{mailbox}")).await?.ok()?;
    }
    murder.fe2.imap("bob").await?.create("INBOX.taken along").await?.ok()?;
    let mut agreement = stage.agreement().await?;
    agreement.reached_within(AGREED).await?;

    murder.mm.stop_cyrus().await?;
    let mut sight = Sight::open(murder).await?;
    alice.create("INBOX.new").await?.ok().context("CREATE of a child")?;
    shown("CREATE of a child", sight.active("user.alice.new", SHOWN).await?);
    ravenry.wait_for_state("standing-in", Duration::from_secs(15)).await?;

    murder.create_user("carol", &murder.be2).await.context("CREATE at the top")?;
    shown("CREATE at the top", sight.active("user.carol", SHOWN).await?);

    alice.rename("INBOX.old", "INBOX.renamed").await?.ok().context("RENAME")?;
    for mailbox in ["", ".child"] {
        shown("RENAME, old name", sight.gone(&format!("user.alice.old{mailbox}"), SHOWN).await?);
        shown("RENAME, new name", sight.active(&format!("user.alice.renamed{mailbox}"), SHOWN).await?);
    }

    alice.set_acl("INBOX.new", "anyone", "p").await?.ok().context("SETACL")?;
    let acl = sight.of("user.alice.new", SHOWN, |entry| {
        entry.is_some_and(|entry| entry.is_active() && entry.acl.rights("anyone") == "p")
    });
    shown("SETACL", acl.await?);

    alice.delete("INBOX.doomed").await?.ok().context("DELETE, delayed")?;
    shown("DELETE, old name", sight.gone("user.alice.doomed", SHOWN).await?);
    shown("DELETE, kept name", sight.active(&kept(murder, "user.alice.doomed").await?, SHOWN).await?);

    let mut admin = murder.be2.imap("cyrus").await?;
    admin.xfer("user.bob", &murder.be1.server()).await?.ok().context("XFER")?;
    let be1 = murder.be1.server();
    for name in ["user.bob", "user.bob.taken along"] {
        let moved = sight.of(name, SHOWN, |entry| {
            entry.is_some_and(|entry| entry.is_active() && entry.server() == Some(&be1))
        });
        shown("XFER", moved.await?);
    }

    for frontend in murder.frontends() {
        for recipient in ["carol", "alice+new", "bob"] {
            let id = format!("{recipient}-{}", frontend.name());
            let delivery = frontend.lmtp().await?.deliver_one(recipient, &id).await?;
            assert!(delivery.verdict().is_ok(), "{delivery:?}");
        }
    }
    assert_eq!(alice.count("INBOX.new").await?, 2, "delivered into the new mailbox itself");
    for (user, frontend) in [("carol", &murder.fe1), ("bob", &murder.fe2)] {
        assert_eq!(frontend.imap(user).await?.count("INBOX").await?, 2, "{user}");
    }
    let status = ravenry.status().await?;
    assert!(status["journal"].as_u64() > Some(8), "{status}");

    murder.mm.start_cyrus().await?;
    let address = murder.mm.mupdate_address();
    eventually(AGREED, "the master's port", async || Ok(Mupdate::connect(address).await.ok())).await?;
    let open = Instant::now();
    ravenry.wait_for_state("following", REPLAYED).await?;
    println!("replay was done {:?} after the master's port had opened", open.elapsed());
    agreement.master_was_restarted().await?;
    agreement.reached_within(AGREED).await?;
    agreement.nothing_to_push().await?;
    let status = ravenry.status().await?;
    assert_eq!((status["journal"].as_u64(), status["conflicts"].as_u64()), (Some(0), Some(0)), "{status}");

    // In peace again: what was made in the outage is like any other mailbox.
    alice.rename("INBOX.new", "INBOX.newer").await?.ok()?;
    murder.fe2.imap("carol").await?.create("INBOX.child").await?.ok()?;
    agreement.reached_within(AGREED).await?;
    history_of_the_outage(&stage).await?;
    stage.stop().await
}

/// Who did what to a mailbox that was made in the outage and renamed after it.
async fn history_of_the_outage(stage: &Stage) -> Result<()> {
    let told = stage.ravenry.cli(&["history", "user.alice.new", "--json"]).await?.success()?.stdout;
    let past: Vec<serde_json::Value> =
        told.lines().map(serde_json::from_str).collect::<Result<_, _>>().context(told.clone())?;
    let by_the_backend = |change: &&serde_json::Value| {
        change["cause"] == "asked" && change["identity"] == "murder" && change["peer"].is_string()
    };
    assert_eq!(past.iter().filter(by_the_backend).count(), past.len(), "{told}");
    let states: Vec<_> = past.iter().filter_map(|change| change["state"].as_str()).collect();
    // RESERVE may have been the one that found the master lost, and SETACL came later; then the RENAME.
    assert_eq!((states.get(1), states.last()), (Some(&"standing-in"), Some(&"following")), "{told}");
    let (first, last) = (past.first().context("no history")?, past.last().context("no history")?);
    assert!(first["before"].is_null() && last["after"].is_null(), "{told}");
    for (earlier, later) in past.iter().zip(past.iter().skip(1)) {
        assert_eq!(earlier["after"], later["before"], "{told}");
    }
    let words = stage.ravenry.cli(&["history", "user.alice.new"]).await?.success()?.stdout;
    assert!(words.contains("asked for by murder from "), "{words}");
    Ok(())
}

/// Where a backend with delayed deletion keeps a deleted mailbox.
async fn kept(murder: &Murder, name: &str) -> Result<String> {
    let held = murder.be1.dump().await?;
    let prefix = format!("DELETED.{name}.");
    let kept = held.local().map(|(name, _)| name.clone()).find(|name| name.starts_with(&prefix));
    kept.with_context(|| format!("be1 keeps no {prefix}"))
}

fn shown(what: &str, time: Duration) {
    println!("{what}: shown by both frontends {time:?} after its OK");
}
