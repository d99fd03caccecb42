//! Machines that start while the master is away.

use std::time::Duration;

use anyhow::Result;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(15);
const BACK: Duration = Duration::from_secs(30);

/// Without Ravenry a backend that begins with `ctl_mboxlist -m` does not come up.
#[tokio::test(flavor = "multi_thread")]
async fn backends_and_frontends_start_while_the_master_is_away() -> Result<()> {
    // Backends compare their list with the master's before they start.
    let plan = Plan { mboxlist_at_start: true, ..Plan::chosen()? };
    let stage = Stage::start(plan, "").await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let mut agreement = stage.agreement().await?;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    agreement.reached_within(SOON).await?;

    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    murder.create_user("carol", &murder.be2).await?;
    murder.fe1.imap("alice").await?.create("INBOX.during").await?.ok()?;

    // Whole machines, not only Cyrus: nothing is left of what they knew but their disks.
    for backend in murder.backends() {
        backend.kill().await?;
        backend.start().await?;
        backend.wait_until_up().await?;
    }
    // While one is down there are changes that it has to catch up with.
    murder.fe2.kill().await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.missed").await?.ok()?;
    alice.rename("INBOX.during", "INBOX.moved").await?.ok()?;
    let synchronized = murder.fe2.logs().await?.matches("synchronization complete").count();
    murder.fe2.start().await?;
    murder.fe2.wait_for_log("synchronization complete", synchronized, BACK).await?;
    murder.fe2.wait_until_up().await?;

    let list = stage.list().await?;
    for frontend in murder.frontends() {
        assert_eq!(frontend.dump().await?, list, "{} name by name", frontend.name());
    }
    for user in ["alice", "bob", "carol", "alice+missed"] {
        let delivery = murder.fe2.lmtp().await?.deliver_one(user, user).await?;
        assert!(delivery.verdict().is_ok(), "{delivery:?}");
    }
    let nobody = murder.fe2.lmtp().await?.deliver_one("nobody", "nobody").await?;
    assert!(nobody.verdict().is_permanent(), "{nobody:?}");
    let mut alice = murder.fe2.imap("alice").await?;
    let mut names = alice.list("*").await?;
    names.sort();
    assert_eq!(names, ["INBOX", "INBOX.missed", "INBOX.moved"]);
    assert_eq!(alice.count("INBOX").await?, 2, "a subfolder without the p right is filed in the inbox");
    alice.create("INBOX.after").await?.ok()?;

    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", BACK).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SOON).await?;
    stage.stop().await
}
