//! docs/recovery.md from real runs: a murder goes through everything that the page tells, and what a person then sees is
//! what the page shows.
//!
//! | file | what |
//! |---|---|
//! | `terminal` | a command as a person types it |
//! | `page` | the page's blocks |

mod page;
mod terminal;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::agreement::Agreement;
use crate::murder::Plan;
use crate::stage::{BACKENDS, Stage};
pub use page::{Scenes, difference, rewritten};
pub use terminal::typed;

const SOON: Duration = Duration::from_secs(60);

/// So small a murder needs a strict guard.
const GUARD: &str = "[guard]\nat_least = 2\n";

/// The page.
pub fn file() -> PathBuf {
    crate::monitors::repository().join("docs/recovery.md")
}

/// Writes the page's blocks anew.
pub async fn record() -> Result<()> {
    let scenes = run().await?;
    std::fs::write(file(), rewritten(&std::fs::read_to_string(file())?, &scenes)?)?;
    eprintln!("{} is written", file().display());
    Ok(())
}

struct Book {
    stage: Stage,
    scenes: Scenes,
}

impl Book {
    /// Types a command; the scene shows the lines that begin with `only`, or all of them.
    async fn scene(
        &mut self,
        name: &str,
        args: &[&str],
        answer: Option<&str>,
        exit: i32,
        only: &[&str],
    ) -> Result<()> {
        let (text, status) = typed(&self.stage.ravenry, args, answer).await?;
        ensure!(status == exit, "{name}: exit status {status}, not {exit}: {text}");
        let mut lines = vec![format!("$ ravenry {}", args.join(" "))];
        let mut left_out = false;
        for line in text.lines() {
            let wanted = only.is_empty() || only.iter().any(|start| line.starts_with(start));
            if left_out && wanted {
                lines.push("…".into());
            }
            left_out = !wanted;
            if wanted {
                lines.push(line.trim_end().to_owned());
            }
        }
        if left_out {
            lines.push("…".into());
        }
        let fe1 = &self.stage.murder.fe1;
        let text = format!("{}\n", lines.join("\n"))
            .replace(&fe1.mupdate_address().to_string(), &fe1.server())
            .replace(&self.stage.ravenry.home().display().to_string(), "/srv/backup");
        self.scenes.insert(name.to_owned(), text);
        Ok(())
    }

    async fn say(&mut self, name: &str, args: &[&str]) -> Result<()> {
        self.scene(name, args, None, 0, &[]).await
    }

    async fn state(&self, state: &str) -> Result<()> {
        self.stage.ravenry.wait_for_state(state, SOON).await.map(drop)
    }

    /// The master comes back with a list that was saved, or with none.
    async fn master_returns_with(&self, saved: Option<&str>) -> Result<()> {
        let mm = &self.stage.murder.mm;
        mm.stop_cyrus().await?;
        self.state("standing-in").await?;
        match saved {
            Some(label) => mm.restore_list(label).await?,
            None => mm.lose_list().await?,
        }
        mm.start_cyrus().await
    }
}

/// Goes through everything.
pub async fn run() -> Result<Scenes> {
    let stage = Stage::start(Plan::chosen()?, &format!("{GUARD}{BACKENDS}")).await?;
    let mut book = Book { stage, scenes: Scenes::new() };
    outage(&mut book).await.context("an outage")?;
    empty(&mut book).await.context("an empty master")?;
    older(&mut book).await.context("an older backup")?;
    others(&mut book).await.context("other masters, other servers")?;
    absent(&mut book).await.context("our own absence")?;
    let Book { stage, scenes } = book;
    // The retired one has no list any more that could be compared.
    Agreement::begin(&stage.murder).await?.reached_within(SOON).await?;
    stage.leave_apart("Ravenry has retired").await?;
    Ok(scenes)
}

async fn outage(book: &mut Book) -> Result<()> {
    let murder = &book.stage.murder;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.one").await?.ok()?;
    murder.mm.stop_cyrus().await?;
    book.state("standing-in").await?;
    alice.create("INBOX.two").await?.ok()?;
    let only = ["state", "reason", "list", "journal", "streams"];
    book.scene("standing-in", &["status"], None, 0, &only).await?;
    book.stage.murder.mm.start_cyrus().await?;
    book.state("following").await?;
    book.say("nothing", &["plan"]).await
}

async fn empty(book: &mut Book) -> Result<()> {
    book.master_returns_with(None).await?;
    book.state("holding").await?;
    let only = ["state", "reason", "list"];
    book.scene("holding", &["status"], None, 0, &only).await?;
    book.scene("plan-for-reseed", &["plan", "--for", "reseed"], None, 1, &[]).await?;
    book.scene("reseed", &["reseed"], Some("y"), 0, &[]).await?;
    book.state("following").await
}

async fn older(book: &mut Book) -> Result<()> {
    let mm = &book.stage.murder.mm;
    mm.stop_cyrus().await?;
    book.state("standing-in").await?;
    mm.save_list("old").await?;
    mm.start_cyrus().await?;
    book.state("following").await?;
    book.stage.murder.fe1.imap("alice").await?.create("INBOX.later").await?.ok()?;
    book.master_returns_with(Some("old")).await?;
    book.state("following").await?;
    book.say("conflicts-list", &["conflicts", "list"]).await?;
    let later = "user.alice.later";
    book.say("conflicts-show", &["conflicts", "show", later]).await?;
    let resolve = ["conflicts", "resolve", later, "--keep", "ours"];
    book.scene("conflicts-resolve", &resolve, Some("y"), 0, &[]).await?;
    let stage = &book.stage;
    stage
        .ravenry
        .wait_for(SOON, "nothing unconfirmed", |now| now.get("unconfirmed").is_some_and(|left| *left == 0))
        .await?;
    stage.agreement().await?.reached_within(SOON).await?;

    // And once more, with another name; but now a person takes the master's word.
    let lost = "user.alice.lost";
    book.stage.murder.fe1.imap("alice").await?.create("INBOX.lost").await?.ok()?;
    book.master_returns_with(Some("old")).await?;
    book.state("following").await?;
    book.scene("plan-for-accept", &["plan", "--for", "accept"], None, 1, &[]).await?;
    book.scene("accept", &["accept"], Some("1"), 0, &[]).await?;
    book.state("following").await?;
    // Its backend knows better.
    book.scene("audit", &["audit"], None, 1, &[]).await?;
    book.scene("audit-fix", &["audit", "--fix"], Some("y"), 0, &[]).await?;
    book.say("find", &["list", "find", lost]).await
}

async fn others(book: &mut Book) -> Result<()> {
    let stage = &book.stage;
    stage.to_master.retarget(stage.murder.fe2.mupdate_address());
    stage.to_master.cut_all();
    let told = |now: &serde_json::Value| {
        now.pointer("/master/last_error").is_some_and(|error| error.to_string().contains("a slave"))
    };
    stage.ravenry.wait_for(SOON, "the slave being told", told).await?;
    book.scene("slave", &["status"], None, 0, &["state", "master"]).await?;
    let stage = &book.stage;
    stage.to_master.retarget(stage.murder.mm.mupdate_address());
    stage.to_master.cut_all();
    book.state("following").await?;
    book.say("expect", &["expect", "--remove-server", "be3.murder.test"]).await
}

async fn absent(book: &mut Book) -> Result<()> {
    let copy = book.stage.ravenry.home().join("list.redb").display().to_string();
    book.say("backup", &["backup", &copy]).await?;
    book.stage.murder.mm.stop_cyrus().await?;
    book.state("standing-in").await?;
    book.stage.ravenry.terminate().await?;
    book.stage.ravenry.edit("state_dir", "max_unattended = \"1s\"\nstate_dir")?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    book.stage.ravenry.launch().await?;
    book.state("learning").await?;
    book.scene("learning", &["status"], None, 0, &["state", "reason"]).await?;
    let fe1 = book.stage.murder.fe1.mupdate_address().to_string();
    book.scene("learn", &["list", "learn", "--from", &fe1], Some("y"), 0, &[]).await?;
    book.state("standing-in").await?;
    book.stage.murder.mm.start_cyrus().await?;
    book.state("following").await?;
    book.stage.ravenry.terminate().await?;
    book.say("retire", &["retire"]).await
}
