//! The master is lost and comes back; the murder does not notice.

use std::time::Duration;

use anyhow::Result;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

/// Promised: 1 s on every connected stream. Asserted with slack for a busy machine.
const SHOWN: Duration = Duration::from_secs(5);
/// Promised: 5 s from the master's port opening.
const REPLAYED: Duration = Duration::from_secs(25);

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_master_is_stood_in_for_and_given_what_it_missed() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.old").await?.ok()?;
    alice.create("INBOX.doomed").await?.ok()?;
    let mut agreement = stage.agreement().await?;
    agreement.reached_within(SHOWN).await?;

    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.new").await?.ok()?;
    ravenry.wait_for_state("standing-in", Duration::from_secs(15)).await?;
    alice.rename("INBOX.old", "INBOX.renamed").await?.ok()?;
    alice.set_acl("INBOX.new", "bob", "lrsp").await?.ok()?;
    alice.delete("INBOX.doomed").await?.ok()?;
    murder.create_user("carol", &murder.be2).await?;
    for frontend in murder.frontends() {
        let delivery =
            frontend.lmtp().await?.deliver_one("carol", &format!("to-carol-{}", frontend.name())).await?;
        assert!(delivery.verdict().is_ok(), "{delivery:?}");
    }
    let mut admin = murder.be2.imap("cyrus").await?;
    admin.xfer("user.bob", &murder.be1.server()).await?.ok()?;
    let status = ravenry.status().await?;
    assert!(status["journal"].as_u64() > Some(4), "{status}");

    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", REPLAYED).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SHOWN).await?;
    for backend in murder.backends() {
        let preview = backend.mboxlist_preview().await?.success()?;
        let pushes: Vec<&str> =
            preview.stdout.lines().filter(|line| !line.contains("Force Activate")).collect();
        assert!(pushes.iter().all(|line| line.trim().is_empty()), "{}: {pushes:?}", backend.name());
    }
    let status = ravenry.status().await?;
    assert_eq!((status["journal"].as_u64(), status["conflicts"].as_u64()), (Some(0), Some(0)), "{status}");
    stage.stop().await
}
