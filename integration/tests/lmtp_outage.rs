//! Mail during an outage of the master: what happens without Ravenry, and with it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use ravenry_integration::clients::{Lmtp, LmtpReply};
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::post::{Post, arrived};

/// Enough for one delivery on a busy machine.
const DELIVERED: Duration = Duration::from_secs(20);

/// What became of the mail.
struct Mail {
    /// For a mailbox from before the outage, and for a folder in it.
    old: [LmtpReply; 2],
    /// For a mailbox, and a folder, that an administrator made during the outage.
    new: [LmtpReply; 2],
    /// For somebody who never existed.
    nobody: LmtpReply,
}

/// The script: the master stops, an administrator goes on working, an MTA goes on delivering.
async fn outage(murder: &Murder, mta: SocketAddr) -> Result<Mail> {
    murder.mm.stop_cyrus().await?;
    // Without Ravenry these two fail, and the mailboxes are not there.
    let created = murder.create_user("bob", &murder.be2).await;
    if created.is_ok() {
        let mut bob = murder.fe1.imap("bob").await?;
        bob.create("INBOX.new").await?.ok()?;
        bob.set_acl("INBOX.new", "anyone", "p").await?.ok()?;
    }
    let mut lmtp = Lmtp::connect(mta).await?;
    let mut deliver = async |to: &str| -> Result<LmtpReply> {
        Ok(lmtp.deliver_one(to, &format!("outage-{to}")).await?.verdict().clone())
    };
    Ok(Mail {
        old: [deliver("alice").await?, deliver("alice+work").await?],
        new: [deliver("bob").await?, deliver("bob+new").await?],
        nobody: deliver("nobody").await?,
    })
}

async fn alice(murder: &Murder) -> Result<()> {
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.work").await?.ok()?;
    alice.set_acl("INBOX.work", "anyone", "p").await?.ok()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ravenry_mail_for_whom_a_frontend_does_not_know_bounces() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?.retrying_after(2)).await?;
    alice(&murder).await?;
    let frontend = murder.fe1.lmtp_address();
    eventually(DELIVERED, "the frontend knowing alice", async || {
        let known = Lmtp::connect(frontend).await?.deliver_one("alice", "before").await?;
        Ok(known.verdict().is_ok().then_some(()))
    })
    .await?;
    let mail = outage(&murder, frontend).await?;
    assert!(mail.old.iter().all(LmtpReply::is_ok), "{:?}", mail.old);
    // Whoever was made a moment ago, or on a host that got there: a bounce.
    assert!(mail.new.iter().all(LmtpReply::is_permanent), "{:?}", mail.new);
    assert!(mail.nobody.is_permanent(), "{:?}", mail.nobody);
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ravenry_mail_for_old_and_new_mailboxes_is_delivered_and_nothing_bounces() -> Result<()> {
    let post = Post::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    alice(murder).await?;
    // While the list is current, a frontend's word about somebody who does not exist is passed on.
    let nobody = post.lmtp().await?.deliver_one("nobody", "before").await?;
    assert_eq!(nobody.rcpt.code, 550, "{nobody:?}");

    let mail = outage(murder, post.address()).await?;
    assert!(mail.old.iter().chain(&mail.new).all(LmtpReply::is_ok), "{:?} {:?}", mail.old, mail.new);
    assert_eq!(mail.nobody.code, 451, "{:?}", mail.nobody);
    for (user, folder) in [("alice", "INBOX.work"), ("bob", "INBOX.new")] {
        arrived(&murder.fe1, user, "INBOX", 1, DELIVERED).await?;
        arrived(&murder.fe1, user, folder, 1, DELIVERED).await?;
    }

    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", Duration::from_secs(25)).await?;
    let nobody = post.lmtp().await?.deliver_one("nobody", "after").await?;
    assert_eq!(nobody.rcpt.code, 550, "{nobody:?}");
    let status = ravenry.status().await?;
    assert!(status["lmtp"]["delivered"].as_u64() >= Some(4), "{status}");
    post.stop().await
}
