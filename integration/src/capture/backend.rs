//! What backends say to their master, as a relay between them sees it.

use std::time::Duration;

use anyhow::Result;

use super::Book;
use crate::agreement::Agreement;
use crate::murder::{Murder, Plan, Suite};
use crate::relay::Relay;
use crate::transcript::Transcript;

/// Frontends learn of changes within the master's 5 s tick.
const SOON: Duration = Duration::from_secs(15);

/// A murder whose backends talk through a relay.
struct Stage {
    murder: Murder,
    relay: Relay,
}

pub(super) async fn capture(suite: Suite, book: &Book) -> Result<()> {
    let murder = Murder::prepare(Plan::new(suite)).await?;
    murder.start_master().await?;
    let relay = Relay::start((murder.gateway(), 3905).into(), murder.mm.mupdate_address()).await?;
    murder.start_backends(relay.address()).await?;
    murder.start_frontends(murder.mm.mupdate_address()).await?;
    let stage = Stage { murder, relay };
    stage.everyday(book).await?;
    stage.deletion(book).await?;
    stage.transfer(book).await?;
    stage.mboxlist(book).await?;
    stage.murder.stop().await
}

impl Stage {
    async fn everyday(&self, book: &Book) -> Result<()> {
        let murder = &self.murder;
        self.scene(book, "create-user", async || murder.create_user("alice", &murder.be1).await).await?;
        murder.create_user("bob", &murder.be2).await?;
        let mut alice = murder.fe1.imap("alice").await?;
        self.scene(book, "create", async || alice.create("INBOX.a.b c").await?.ok().map(drop)).await?;
        alice.create("INBOX.work").await?.ok()?;
        alice.create("INBOX.work.deep").await?.ok()?;
        self.settled().await?;
        self.scene(book, "setacl", async || alice.set_acl("INBOX.work", "bob", "lrs").await?.ok().map(drop))
            .await?;
        self.settled().await?;
        self.scene(book, "rename", async || alice.rename("INBOX.work", "INBOX.play").await?.ok().map(drop))
            .await?;
        self.settled().await
    }

    async fn deletion(&self, book: &Book) -> Result<()> {
        let murder = &self.murder;
        let mut alice = murder.fe1.imap("alice").await?;
        let mut bob = murder.fe1.imap("bob").await?;
        self.scene(book, "delete-delayed", async || alice.delete("INBOX.play.deep").await?.ok().map(drop))
            .await?;
        bob.create("INBOX.gone").await?.ok()?;
        self.settled().await?;
        self.scene(book, "delete-immediate", async || bob.delete("INBOX.gone").await?.ok().map(drop)).await?;
        for user in ["carol", "dave"] {
            let backend = if user == "carol" { &murder.be1 } else { &murder.be2 };
            murder.create_user(user, backend).await?;
            murder.fe1.imap(user).await?.create("INBOX.sub").await?.ok()?;
        }
        self.settled().await?;
        let mut admin = murder.fe1.imap("cyrus").await?;
        for (scene, user) in [("delete-user-delayed", "user.carol"), ("delete-user-immediate", "user.dave")] {
            admin.set_acl(user, "cyrus", "lrswipkxtecda").await?.ok()?;
            self.settled().await?;
            self.scene(book, scene, async || admin.delete(user).await?.ok().map(drop)).await?;
        }
        Ok(())
    }

    async fn transfer(&self, book: &Book) -> Result<()> {
        let murder = &self.murder;
        murder.create_user("erin", &murder.be1).await?;
        murder.fe1.imap("erin").await?.create("INBOX.sub").await?.ok()?;
        self.settled().await?;
        self.scene(book, "xfer", async || {
            // The connections last as long as the session.
            let mut admin = murder.be1.imap("cyrus").await?;
            admin.xfer("user.erin", &murder.be2.server()).await?.ok()?;
            admin.run("LOGOUT").await.map(drop)
        })
        .await?;
        self.settled().await
    }

    async fn mboxlist(&self, book: &Book) -> Result<()> {
        let murder = &self.murder;
        self.scene(book, "ctl_mboxlist-m-in-step", async || murder.be1.mboxlist_push().await.map(drop))
            .await?;
        let mut writer = murder.mm.mupdate().await?;
        // The master forgot one, has another ACL for the next, and lists one that the backend does not have.
        writer.delete("user.alice").await?.ok()?;
        writer.activate("user.alice.play", &murder.be1.location(), "alice\tlrs\t").await?.ok()?;
        writer.activate("user.alice.ghost", &murder.be1.location(), "alice\tlrs\t").await?.ok()?;
        let mut output = String::new();
        let preview = async || {
            output = murder.be1.mboxlist_preview().await?.stdout;
            Ok(())
        };
        let mut transcript = self.record(preview).await?;
        output.lines().for_each(|line| transcript.remark(format!("it prints: {line}")));
        book.write("ctl_mboxlist-mw", &transcript)?;
        let push = async || {
            output = murder.be1.mboxlist_push().await?.stdout;
            Ok(())
        };
        let mut transcript = self.record(push).await?;
        output.lines().for_each(|line| transcript.remark(format!("it prints: {line}")));
        book.write("ctl_mboxlist-m", &transcript)
    }

    /// Does something and files what went over the relay meanwhile.
    async fn scene(&self, book: &Book, scene: &str, work: impl AsyncFnOnce() -> Result<()>) -> Result<()> {
        let mut transcript = self.record(work).await?;
        if transcript.is_empty() {
            transcript.remark("nothing was said to the master");
        }
        book.write(scene, &transcript)
    }

    async fn record(&self, work: impl AsyncFnOnce() -> Result<()>) -> Result<Transcript> {
        self.relay.forget_transcripts();
        work().await?;
        // The farewell may still be under way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut all = Transcript::default();
        for (count, transcript) in self.relay.transcripts().iter().enumerate() {
            all.remark(format!("connection {}", count + 1));
            all.append(transcript);
        }
        Ok(all)
    }

    /// Waits until the frontends know: their next step depends on it.
    async fn settled(&self) -> Result<()> {
        let agreement = Agreement::begin(&self.murder).await?;
        agreement.reached_but_for(SOON, |difference| difference.is_ghost()).await.map(drop)
    }
}
