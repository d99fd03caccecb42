//! The queue on a disk that is full, and on one that fails, under the real process: as root, on a file system in memory
//! and under strace. No 250 without durability, nothing lost, and it is said.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::{Lmtp, LmtpReply, message};
use ravenry_integration::deadline::eventually;
use ravenry_integration::faulty_disk::{Injection, SmallDisk, Syncs, limit_open_files};
use ravenry_integration::murder::Plan;
use ravenry_integration::post::{Post, arrived};

/// Enough for one delivery on a busy machine.
const DELIVERED: Duration = Duration::from_secs(30);
/// What the small disk holds, in KiB.
const SMALL: u32 = 2048;
/// The tables of strace for what the queue calls.
const WRITES: &str = "pwrite64,write";
const SYNCS: &str = "fdatasync,fsync";

/// A murder whose first backend is down, a queue on a small disk, and which messages for alice had their 250.
struct Story {
    post: Post,
    disk: SmallDisk,
    accepted: Vec<String>,
}

fn queued(status: &serde_json::Value) -> Option<u64> {
    status.pointer("/queue/messages")?.as_u64()
}

/// A message of some 45 KB, or of so many times as much.
fn long(id: &str, times: usize) -> String {
    let line = format!("{}\r\n", "x".repeat(76));
    message(id) + &line.repeat(600 * times)
}

/// As long as all is well nothing waits for the disk: neither short messages, nor those that are too long to be kept
/// in memory, in case the frontend defers them. What is queued does.
async fn healthy(post: &Post) -> Result<()> {
    let (ravenry, be1) = (&post.stage.ravenry, &post.stage.murder.be1);
    let spool = ravenry.home().join("state/spool");
    let syncs = Syncs::begin(ravenry.pid()?).await?;
    let mut lmtp = post.lmtp().await?;
    for n in 0..10 {
        let id = format!("healthy-{n}");
        let text = long(&id, if n % 2 == 0 { 1 } else { 50 });
        let delivery = lmtp.deliver(&["alice"], &text).await?;
        ensure!(delivery.iter().all(|reply| reply.verdict().is_ok()), "{delivery:?}");
    }
    ensure!(syncs.end(&spool).await? == 0, "a delivery to a frontend that is well waited for the disk");
    arrived(be1, "alice", "INBOX", 10, DELIVERED).await?;
    be1.stop_cyrus().await?;
    let syncs = Syncs::begin(ravenry.pid()?).await?;
    let queued = post.lmtp().await?.deliver_one("alice", "queued").await?;
    ensure!(queued.verdict().is_ok(), "{queued:?}");
    ensure!(syncs.end(&spool).await? > 0, "a queued message was not made durable, or nobody saw it");
    be1.start_cyrus().await?;
    be1.wait_until_up().await?;
    ravenry.wait_for(DELIVERED, "an empty queue", |status| self::queued(status) == Some(0)).await.map(drop)
}

impl Story {
    async fn begin() -> Result<Self> {
        let mut post =
            Post::start(Plan::chosen()?, "[spool]\nmin_free = \"1KiB\"\nmin_free_inodes = 1\n").await?;
        let murder = &post.stage.murder;
        murder.create_user("alice", &murder.be1).await?;
        murder.create_user("bob", &murder.be2).await?;
        healthy(&post).await.context("the healthy path")?;
        post.stage.murder.be1.stop_cyrus().await?;
        post.stage.ravenry.terminate().await?;
        let disk = SmallDisk::over(&post.stage.ravenry.home().join("state/spool"), SMALL).await?;
        post.stage.ravenry.launch().await?;
        post.stage.ravenry.wait_for_state("following", DELIVERED).await?;
        Ok(Self { post, disk, accepted: Vec::new() })
    }

    /// Delivers for alice in this session; what had its 250 is remembered, and whatever else it had is temporary.
    async fn deliver(&mut self, lmtp: &mut Lmtp, id: &str, text: &str) -> Result<LmtpReply> {
        let delivery = lmtp.deliver(&["alice"], text).await?;
        let verdict = delivery.first().context("no delivery")?.verdict().clone();
        match verdict.code {
            250 => self.accepted.push(id.to_owned()),
            _ => ensure!(verdict.is_temporary(), "{id}: {verdict:?}"),
        }
        Ok(verdict)
    }

    async fn deliver_anew(&mut self, id: &str) -> Result<LmtpReply> {
        let mut lmtp = self.post.lmtp().await?;
        self.deliver(&mut lmtp, id, &message(id)).await
    }

    async fn gauge(&self, name: &str, value: u32) -> Result<()> {
        let wanted = format!("\n{name} {value}\n");
        let ravenry = &self.post.stage.ravenry;
        let shown = eventually(DELIVERED, &wanted, async || {
            Ok(ravenry.scrape().await?.contains(&wanted).then_some(()))
        });
        shown.await.map(drop)
    }

    async fn restart(&mut self) -> Result<()> {
        self.post.stage.ravenry.crash_and_restart().await?;
        self.post.stage.ravenry.wait_for_state("following", DELIVERED).await.map(drop)
    }

    fn log_says(&self, what: &str) -> Result<()> {
        ensure!(self.post.stage.ravenry.log()?.contains(what), "the log does not say {what:?}");
        Ok(())
    }

    /// The backend comes back for a moment: everything that had a 250 is in alice's mailbox, once.
    async fn all_arrive(&self) -> Result<()> {
        let (murder, ravenry) = (&self.post.stage.murder, &self.post.stage.ravenry);
        murder.be1.start_cyrus().await?;
        murder.be1.wait_until_up().await?;
        ravenry.wait_for(DELIVERED, "an empty queue", |status| queued(status) == Some(0)).await?;
        let mut alice = murder.be1.imap("alice").await?;
        alice.select("INBOX").await?.ok()?;
        let fetched = alice.run("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").await?.untagged.concat();
        let mut stored: BTreeMap<&str, usize> = BTreeMap::new();
        for subject in fetched.split("Subject: ").skip(1) {
            *stored.entry(subject.lines().next().unwrap_or_default().trim()).or_default() += 1;
        }
        for id in &self.accepted {
            ensure!(
                stored.get(id.as_str()) == Some(&1),
                "{id} had its 250 and is there {:?} times",
                stored.get(id.as_str())
            );
        }
        drop(alice);
        murder.be1.stop_cyrus().await
    }

    /// The newest segment of the queue.
    fn segment(&self) -> Result<PathBuf> {
        let segments = std::fs::read_dir(self.post.stage.ravenry.home().join("state/spool/segments"))?;
        let newest = segments.filter_map(|entry| Some(entry.ok()?.path())).max();
        newest.context("no segment")
    }

    /// The disk is filled to the brim.
    async fn full(&mut self) -> Result<()> {
        let mut lmtp = self.post.lmtp().await?;
        let mut refused = 0;
        for n in 0..60 {
            let id = format!("full-{n}");
            refused += usize::from(self.deliver(&mut lmtp, &id, &long(&id, 1)).await?.code != 250);
        }
        let taken = self.accepted.len();
        ensure!(taken > 5 && refused > 5, "{taken} accepted, {refused} refused");
        // Whether it was a look at the disk that told, or a write that failed, is a matter of the moment.
        self.gauge("ravenry_queue_accepting", 0).await?;
        self.gauge("ravenry_queue_poisoned", 0).await?;
        // What needs no queue goes on.
        let bob = self.post.lmtp().await?.deliver_one("bob", "meanwhile").await?;
        ensure!(bob.verdict().is_ok(), "{bob:?}");
        // What had its 250 is there after the power failed, on a disk that is still full.
        self.restart().await?;
        let is = |status: &serde_json::Value| queued(status) == Some(taken as u64);
        self.post.stage.ravenry.wait_for(DELIVERED, &format!("{taken} queued messages"), is).await?;
        self.all_arrive().await?;
        self.gauge("ravenry_queue_accepting", 1).await
    }

    /// The disk is full at the very write, though it seemed to have room.
    async fn full_at_the_write(&mut self) -> Result<()> {
        ensure!(self.deliver_anew("before-the-full-write").await?.is_ok());
        let pid = self.post.stage.ravenry.pid()?;
        let injection = Injection::begin(pid, WRITES, "ENOSPC", &self.segment()?).await?;
        let reply = self.deliver_anew("full-write").await?;
        ensure!(reply.is_temporary(), "{reply:?}");
        ensure!(injection.end().await? > 0, "no call has failed");
        self.log_says("No space left on device")?;
        self.gauge("ravenry_queue_accepting", 0).await?;
        self.gauge("ravenry_queue_poisoned", 0).await?;
        self.disk.resize(2 * SMALL).await?;
        self.gauge("ravenry_queue_accepting", 1).await?;
        ensure!(self.deliver_anew("after-the-full-write").await?.is_ok());
        self.disk.resize(SMALL).await?;
        self.all_arrive().await
    }

    /// The disk has fewer bytes free than `min_free`.
    async fn short_of_bytes(&mut self) -> Result<()> {
        let (little, more) = ("min_free = \"1KiB\"", "min_free = \"4MiB\"");
        self.short_of_room(little, more, async |disk| disk.resize(4 * SMALL).await).await
    }

    /// The disk has room for fewer files than `min_free_inodes`.
    async fn short_of_files(&mut self) -> Result<()> {
        self.disk.limit_files(50).await?;
        let (little, more) = ("min_free_inodes = 1\n", "min_free_inodes = 100\n");
        self.short_of_room(little, more, async |disk| disk.limit_files(1000).await).await
    }

    /// Less is free than the configuration asks for: nothing is queued, and the rest goes on.
    async fn short_of_room(
        &mut self,
        little: &str,
        more: &str,
        make_room: impl AsyncFn(&SmallDisk) -> Result<()>,
    ) -> Result<()> {
        self.post.stage.ravenry.edit(little, more)?;
        self.restart().await?;
        self.gauge("ravenry_queue_accepting", 0).await?;
        let (murder, ravenry) = (&self.post.stage.murder, &self.post.stage.ravenry);
        let frontends = murder.frontends().map(|node| node.lmtp_address().to_string());
        let bob = self.post.lmtp().await?.deliver_one("bob", &format!("short of {}", more.trim())).await?;
        ensure!(bob.verdict().is_ok(), "{bob:?}");
        for frontend in &frontends {
            ravenry.cli(&["frontend", "drain", frontend]).await?.success()?;
        }
        let reply = self.post.lmtp().await?.deliver_one("alice", "no-room").await?.rcpt;
        ensure!(reply.code == 452 && reply.lines.concat().starts_with("4.3.1 "), "{reply:?}");
        for frontend in &frontends {
            ravenry.cli(&["frontend", "resume", frontend]).await?.success()?;
        }
        // There is room again: no restart is needed.
        make_room(&self.disk).await?;
        self.gauge("ravenry_queue_accepting", 1).await?;
        ensure!(self.deliver_anew(&format!("more than {}", more.trim())).await?.is_ok());
        self.post.stage.ravenry.edit(more, little)?;
        self.restart().await?;
        self.all_arrive().await
    }

    /// The process may open no more files.
    async fn out_of_descriptors(&mut self) -> Result<()> {
        let mut lmtp = self.post.lmtp().await?;
        ensure!(self.deliver(&mut lmtp, "descriptors", &long("descriptors", 1)).await?.is_ok());
        let pid = self.post.stage.ravenry.pid()?;
        // Those numbers are taken since the process began.
        limit_open_files(pid, 8).await?;
        // Two megabytes need a file of their own.
        for n in 0..3 {
            let id = format!("no-descriptor-{n}");
            let reply = self.deliver(&mut lmtp, &id, &long(&id, 50)).await?;
            ensure!(reply.code == 451, "{reply:?}");
        }
        self.log_says("Too many open files")?;
        limit_open_files(pid, 1024).await?;
        let text = long("descriptors-again", 50);
        ensure!(self.deliver(&mut lmtp, "descriptors-again", &text).await?.is_ok());
        self.gauge("ravenry_queue_accepting", 1).await?;
        self.gauge("ravenry_queue_poisoned", 0).await?;
        self.all_arrive().await
    }

    /// Writes, or fsyncs, of the queue fail from now on: nothing is acknowledged until a restart.
    async fn failing(&mut self, calls: &str, error: &str, said: &str) -> Result<()> {
        ensure!(self.deliver_anew(&format!("before-{calls}-{error}")).await?.is_ok());
        let pid = self.post.stage.ravenry.pid()?;
        let injection = Injection::begin(pid, calls, error, &self.segment()?).await?;
        for n in 0..3 {
            let reply = self.deliver_anew(&format!("failing-{calls}-{error}-{n}")).await?;
            ensure!(reply.code == 451, "{reply:?}");
        }
        let injected = injection.end().await?;
        ensure!(injected > 0, "no call has failed");
        ensure!(calls != SYNCS || injected == 1, "a failed fsync was tried again: {injected}");
        self.gauge("ravenry_queue_poisoned", 1).await?;
        self.gauge("ravenry_queue_accepting", 0).await?;
        self.log_says("the queue's disk failed: no delivery is accepted until a restart")?;
        self.log_says(said)?;
        let shown = self.post.stage.ravenry.cli(&["status"]).await?.success()?.stdout;
        ensure!(shown.contains("FAILED, accepts nothing until a restart"), "{shown}");
        // The disk works again; what it holds is in doubt until a restart.
        let reply = self.deliver_anew("mended").await?;
        ensure!(reply.code == 451, "{reply:?}");
        let bob = self.post.lmtp().await?.deliver_one("bob", &format!("{calls}-{error}")).await?;
        ensure!(bob.verdict().is_ok(), "{bob:?}");
        self.restart().await?;
        self.gauge("ravenry_queue_poisoned", 0).await?;
        self.gauge("ravenry_queue_accepting", 1).await?;
        ensure!(self.deliver_anew(&format!("after-{calls}-{error}")).await?.is_ok());
        self.all_arrive().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_failing_disk_is_never_answered_with_a_250_that_does_not_hold() -> Result<()> {
    let mut story = Story::begin().await?;
    story.full().await.context("ENOSPC")?;
    story.full_at_the_write().await.context("ENOSPC at the write")?;
    story.short_of_bytes().await.context("min_free")?;
    story.short_of_files().await.context("min_free_inodes")?;
    story.out_of_descriptors().await.context("EMFILE")?;
    story.failing(SYNCS, "EIO", "an fsync of the queue failed: Input/output error").await.context("fsync")?;
    story.failing(WRITES, "EIO", "writing the queue: Input/output error").await.context("write")?;
    story.failing(WRITES, "EROFS", "writing the queue: Read-only file system").await.context("EROFS")?;
    let Story { mut post, disk, accepted } = story;
    println!("{} messages with a 250, each of them there once", accepted.len());
    arrived(&post.stage.murder.fe1, "bob", "INBOX", 6, DELIVERED).await?;
    post.stage.agreement().await?.reached_within(DELIVERED).await?;
    post.stage.ravenry.terminate().await?;
    drop(disk);
    post.stage.leave_apart("Ravenry's disk is gone").await
}
