//! Conversations cut at an exact point: between a backend and Ravenry, and between Ravenry and the master.
//!
//! A backend takes its own side of an operation back when it did not hear every reply, and tells the user NO. What
//! was said to the list before the cut must then be taken back too, or a name stays that nobody holds, or one
//! vanishes that somebody does.

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::agreement::{Agreement, Difference};
use ravenry_integration::clients::{Completion, Imap};
use ravenry_integration::murder::Plan;
use ravenry_integration::relay::{Action, Fault, Moment, Relay};
use ravenry_integration::sight::Sight;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(15);
const BACK: Duration = Duration::from_secs(30);

/// What a user does, by the step at which the conversation is cut.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Create,
    Rename,
    Delete,
    SetAcl,
}

use Deed::{Create, Delete, Rename, SetAcl};
use Moment::{Reply, Request};

/// Every step of what a backend says for one deed: before it arrives, and before its reply does.
const CUTS: [(Deed, Moment); 18] = [
    (Create, Request("RESERVE")),
    (Create, Reply("RESERVE")),
    (Create, Request("ACTIVATE")),
    (Create, Reply("ACTIVATE")),
    (Rename, Request("DELETE")),
    (Rename, Reply("DELETE")),
    (Rename, Request("RESERVE")),
    (Rename, Reply("RESERVE")),
    (Rename, Request("ACTIVATE")),
    (Rename, Reply("ACTIVATE")),
    (Delete, Request("DELETE")),
    (Delete, Reply("DELETE")),
    (Delete, Request("RESERVE")),
    (Delete, Reply("RESERVE")),
    (Delete, Request("ACTIVATE")),
    (Delete, Reply("ACTIVATE")),
    (SetAcl, Request("ACTIVATE")),
    (SetAcl, Reply("ACTIVATE")),
];

/// Does it, as user alice, to a mailbox of its own that is there already where the deed needs one.
async fn deed(alice: &mut Imap, deed: Deed, mailbox: &str) -> Result<Completion> {
    let response = match deed {
        Create => alice.create(mailbox).await?,
        Rename => alice.rename(mailbox, &format!("{mailbox}-renamed")).await?,
        Delete => alice.delete(mailbox).await?,
        SetAcl => alice.set_acl(mailbox, "bob", "lrs").await?,
    };
    Ok(response.completion)
}

/// The mailboxes that the deeds of a round are done to.
async fn prepare(alice: &mut Imap, round: &str) -> Result<Vec<String>> {
    let mut mailboxes = Vec::new();
    for (number, (deed, _)) in CUTS.iter().enumerate() {
        let mailbox = format!("INBOX.{round}{number}");
        if !matches!(deed, Create) {
            alice.create(&mailbox).await?.ok()?;
        }
        mailboxes.push(mailbox);
    }
    Ok(mailboxes)
}

/// Every deed, each cut once on this relay; right afterwards the user tries again.
async fn cut_and_retry(stage: &Stage, relay: &Relay, round: &str, cut_deed: Completion) -> Result<()> {
    let mut alice = stage.murder.fe1.imap("alice").await?;
    let mailboxes = prepare(&mut alice, round).await?;
    let mut sight = Sight::open(&stage.murder).await?;
    for ((what, moment), mailbox) in CUTS.iter().zip(&mailboxes) {
        let scene = || format!("{round}: {what:?} of {mailbox} cut at {moment:?}");
        let before = relay.hits();
        relay.set([Fault::At(moment.clone(), Action::Cut)]);
        let first = deed(&mut alice, *what, mailbox).await.with_context(scene)?;
        relay.heal();
        assert!(relay.hits() > before, "{}: never cut", scene());
        assert_eq!(first, cut_deed, "{}", scene());
        if first == Completion::No {
            // A user is not as quick as this program. (A frontend that is asked to rename what it does not
            // see yet would wait for ever for its own lock: Cyrus issue 5926.)
            let internal = format!("user.alice.{}", mailbox.trim_start_matches("INBOX."));
            match what {
                Create => sight.gone(&internal, SOON).await.with_context(scene)?,
                Rename | Delete | SetAcl => sight.active(&internal, SOON).await.with_context(scene)?,
            };
            let second = deed(&mut alice, *what, mailbox).await.with_context(scene)?;
            assert_eq!(second, Completion::Ok, "{}: the user's second try", scene());
        }
    }
    Ok(())
}

/// The same, but nobody tries again: what is left must be as if nothing had been asked.
async fn cut_and_leave(stage: &Stage, relay: &Relay, round: &str) -> Result<()> {
    let mut alice = stage.murder.fe1.imap("alice").await?;
    let mailboxes = prepare(&mut alice, round).await?;
    for ((what, moment), mailbox) in CUTS.iter().zip(&mailboxes) {
        relay.set([Fault::At(moment.clone(), Action::Cut)]);
        let answer = deed(&mut alice, *what, mailbox).await?;
        relay.heal();
        assert_eq!(answer, Completion::No, "{round}: {what:?} of {mailbox} cut at {moment:?}");
    }
    Ok(())
}

/// A SETACL whose ACTIVATE never arrived has been done at the backend all the same: that is Cyrus's way, and only
/// the backend can tell. Nothing else may differ. Returns how many such there were.
async fn heal_what_was_never_heard(stage: &Stage, agreement: &Agreement<'_>, round: &str) -> Result<usize> {
    let set_acl = CUTS.iter().position(|(deed, _)| matches!(deed, SetAcl)).context("no SETACL")?;
    let unheard = format!("user.alice.{round}{set_acl}");
    let only =
        |difference: &Difference| matches!(difference, Difference::Held { name, .. } if *name == unheard);
    agreement.reached_but_for(SOON, only).await?;
    let count = agreement.differences().await?.len();
    stage.murder.be1.mboxlist_push().await?.success()?;
    Ok(count)
}

async fn master_back(stage: &Stage, agreement: &mut Agreement<'_>) -> Result<()> {
    stage.murder.mm.start_cyrus().await?;
    stage.ravenry.wait_for_state("following", BACK).await?;
    agreement.master_was_restarted().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_between_backend_and_ravenry_leaves_no_trace() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let mut agreement = stage.agreement().await?;
    stage.murder.create_user("alice", &stage.murder.be1).await?;
    stage.murder.create_user("bob", &stage.murder.be2).await?;
    let relay = &stage.from_backends;

    cut_and_leave(&stage, relay, "left").await?;
    let unheard = heal_what_was_never_heard(&stage, &agreement, "left").await?;
    assert_eq!(unheard, 1);
    agreement.reached_within(SOON).await?;
    cut_and_retry(&stage, relay, "tried", Completion::No).await?;
    agreement.reached_within(SOON).await?;

    stage.murder.mm.stop_cyrus().await?;
    stage.ravenry.wait_for_state("standing-in", SOON).await?;
    cut_and_leave(&stage, relay, "outleft").await?;
    stage.murder.be1.mboxlist_push().await?.success()?;
    cut_and_retry(&stage, relay, "outtried", Completion::No).await?;
    master_back(&stage, &mut agreement).await?;
    agreement.reached_within(SOON).await?;
    let status = stage.ravenry.status().await?;
    assert_eq!((status["journal"].as_u64(), status["conflicts"].as_u64()), (Some(0), Some(0)), "{status}");
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_between_ravenry_and_the_master_is_not_noticed() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let agreement = stage.agreement().await?;
    stage.murder.create_user("alice", &stage.murder.be1).await?;
    stage.murder.create_user("bob", &stage.murder.be2).await?;
    let mut alice = stage.murder.fe1.imap("alice").await?;
    let mailboxes = prepare(&mut alice, "far").await?;
    for ((what, moment), mailbox) in CUTS.iter().zip(&mailboxes) {
        let scene = || format!("{what:?} of {mailbox} cut at {moment:?}");
        let before = stage.to_master.hits();
        stage.to_master.set([Fault::At(moment.clone(), Action::Cut)]);
        let answer = deed(&mut alice, *what, mailbox).await.with_context(scene)?;
        assert_eq!(answer, Completion::Ok, "{}", scene());
        assert!(stage.to_master.hits() > before, "{}: never cut", scene());
        stage.to_master.heal();
        stage.ravenry.wait_for_state("following", BACK).await.with_context(scene)?;
    }
    agreement.reached_within(SOON).await?;
    let status = stage.ravenry.status().await?;
    assert_eq!((status["journal"].as_u64(), status["conflicts"].as_u64()), (Some(0), Some(0)), "{status}");
    stage.stop().await
}
