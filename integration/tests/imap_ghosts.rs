//! With `delete_mode: immediate` Cyrus never tells the master of a DELETE. Ravenry sees the confirmation and takes the
//! ghost off the list, and nothing else.

use std::time::Duration;

use anyhow::Result;
use ravenry_integration::clients::{Completion, Imap};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::Plan;
use ravenry_integration::sight::Sight;
use ravenry_integration::stage::{BACKENDS, IMAP, Stage};

/// Promised: 1 s. Asserted with slack for a busy machine.
const GONE: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_secs(15);

async fn client(stage: &Stage, user: &str) -> Result<Imap> {
    let mut client = Imap::connect(stage.imap()).await?;
    client.login(user).await?;
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_deletes_without_a_word_is_off_every_list_and_nothing_else_is() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, &format!("{IMAP}{BACKENDS}")).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut agreement = stage.agreement().await?;
    let mut bob = client(&stage, "bob").await?;
    let mut sight = Sight::open(murder).await?;

    bob.create("INBOX.gone").await?.ok()?;
    sight.active("user.bob.gone", GONE).await?;
    bob.delete("INBOX.gone").await?.ok()?;
    let took = sight.gone("user.bob.gone", GONE).await?;
    println!("with a master: off both frontends' lists after {took:?}");
    agreement.reached_within(SOON).await?;

    // The client that did ask how names are written is not asked for again; it hears nothing of our question.
    let told = bob.run("NAMESPACE").await?.ok()?;
    assert_eq!(told.untagged.len(), 1, "{told:?}");
    assert!(!bob.list("*").await?.contains(&"INBOX.gone".to_owned()));

    // Deleted and made anew at once, over and over: the mailbox stays, wherever the look into the ghost comes to.
    for round in 0..25 {
        bob.create("INBOX.again").await?.ok()?;
        bob.delete("INBOX.again").await?.ok()?;
        let again = bob.create("INBOX.again").await?;
        assert_eq!(again.completion, Completion::Ok, "round {round}: {again:?}");
        if round < 24 {
            bob.delete("INBOX.again").await?.ok()?;
        }
    }
    eventually(SOON, "the suspicions being looked into", async || {
        Ok(agreement.differences().await?.is_empty().then_some(()))
    })
    .await?;
    bob.append("INBOX.again", "Subject: x\r\n\r\nstill here\r\n").await?.ok()?;
    assert_eq!(bob.count("INBOX.again").await?, 1);
    let told = ravenry.status().await?;
    let forgotten = told["imap"]["ghosts_forgotten"].as_u64();
    println!("{forgotten:?} ghosts forgotten");
    if !murder.plan().suite.tells_of_immediate_deletes() {
        assert!(forgotten >= Some(1), "{told}");
    }

    // Without a master as well; it is told afterwards.
    bob.create("INBOX.late").await?.ok()?;
    sight.active("user.bob.late", GONE).await?;
    murder.mm.stop_cyrus().await?;
    bob.delete("INBOX.late").await?.ok()?;
    let took = sight.gone("user.bob.late", GONE).await?;
    println!("without a master: off both frontends' lists after {took:?}");
    // A backend that keeps what was deleted says so itself: nothing to do for us.
    let mut alice = client(&stage, "alice").await?;
    alice.create("INBOX.kept").await?.ok()?;
    alice.delete("INBOX.kept").await?.ok()?;
    sight.gone("user.alice.kept", GONE).await?;
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", Duration::from_secs(25)).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SOON).await?;
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_bypasses_ravenry_shows_by_its_refusals() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, &format!("{IMAP}{BACKENDS}")).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = client(&stage, "alice").await?;
    alice.create("INBOX.x").await?.ok()?;
    // As if it still asked a master of its own that is gone.
    stage.from_backends.set([ravenry_integration::relay::Fault::Drop]);
    let refused = alice.create("INBOX.y").await?;
    assert_eq!(refused.completion, Completion::No);
    assert!(refused.text.starts_with("[UNAVAILABLE] The mail system"), "{refused:?}");
    eventually(SOON, "the refusal being counted", async || {
        let status = ravenry.status().await?;
        Ok((status["imap"]["without_master"]["be1.murder.test"].as_u64() == Some(1)).then_some(()))
    })
    .await?;
    stage.from_backends.heal();
    alice.create("INBOX.y").await?.ok()?;
    stage.agreement().await?.reached_within(SOON).await?;
    stage.stop().await
}
