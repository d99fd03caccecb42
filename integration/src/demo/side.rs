//! One murder as its users see it.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};

use super::screen::Told;
use crate::clients::{Completion, Imap, Response};
use crate::deadline::eventually;
use crate::murder::{Dump, Murder, Node};
use crate::ravenry::Ravenry;

/// Longer than a frontend may need to see a change: the master of a murder without Ravenry tells it every 5 s.
const NEWS: Duration = Duration::from_secs(20);
/// Longer than a frontend sleeps after it lost its master: 20 to 29 s.
const RETURN: Duration = Duration::from_secs(60);

/// One of the two murders, with alice logged in at its first frontend.
#[derive(Debug)]
pub(super) struct Side<'a> {
    pub(super) murder: &'a Murder,
    pub(super) ravenry: Option<&'a Ravenry>,
    alice: Imap,
    /// Messages that went back to their senders for good.
    pub(super) bounced: usize,
}

impl<'a> Side<'a> {
    /// Makes alice and bob, and the folders that the walk begins with.
    pub(super) async fn begin(murder: &'a Murder, ravenry: Option<&'a Ravenry>) -> Result<Self> {
        murder.create_user("alice", &murder.be1).await?;
        murder.create_user("bob", &murder.be2).await?;
        let mut alice = murder.fe1.imap("alice").await?;
        for folder in ["INBOX.Draft", "INBOX.Junk"] {
            alice.create(folder).await?.ok()?;
        }
        Ok(Self { murder, ravenry, alice, bounced: 0 })
    }

    pub(super) async fn create(&mut self, folder: &str) -> Told {
        told(self.alice.create(folder).await)
    }

    pub(super) async fn rename(&mut self, from: &str, to: &str) -> Told {
        told(self.alice.rename(from, to).await)
    }

    pub(super) async fn delete(&mut self, folder: &str) -> Told {
        told(self.alice.delete(folder).await)
    }

    /// Lets bob read. Without its master a backend says NO and has done it all the same: so it is asked.
    pub(super) async fn share(&mut self, folder: &str) -> Told {
        let mut answer = told(self.alice.set_acl(folder, "bob", "lrs").await);
        if answer.good == Some(false) {
            let acl = async { self.murder.be1.imap("alice").await?.run(&format!("GETACL {folder}")).await };
            if acl.await.is_ok_and(|acl| acl.untagged.iter().any(|line| line.contains("bob lrs"))) {
                answer.text.push_str(" (yet its backend has done it)");
            }
        }
        answer
    }

    /// An administrator makes a new user's inbox.
    pub(super) async fn new_user(&mut self, user: &str) -> Told {
        let command = format!("CREATE user.{user} {}", self.murder.be2.location());
        told(async { self.murder.fe1.imap("cyrus").await?.run(&command).await }.await)
    }

    /// A message for a user arrives at a frontend.
    pub(super) async fn mail(&mut self, user: &str, frontend: &Node) -> Told {
        match deliver(user, frontend).await {
            Ok(reply) if reply.starts_with('2') => Told::good(reply),
            Ok(reply) if reply.starts_with('5') => {
                self.bounced += 1;
                Told::bad(format!("{reply}: it bounces"))
            }
            Ok(reply) => Told::bad(reply),
            Err(error) => Told::bad(format!("{error:#}")),
        }
    }

    /// A sender tries again every second until the message is taken.
    pub(super) async fn mail_until_taken(&mut self, user: &str) -> Told {
        let mut refused = 0;
        let mut last = String::new();
        let taken = eventually(RETURN, "mail for a new user", async || {
            last = deliver(user, &self.murder.fe1).await?;
            if last.starts_with('2') {
                return Ok(Some(()));
            }
            refused += 1;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(None)
        })
        .await;
        self.bounced += refused;
        match taken {
            Ok(_) if refused == 0 => Told::good(last),
            Ok((_, time)) => {
                Told::bad(format!("{refused} bounce, until fe1 is back after {:.0} s", time.as_secs_f64()))
            }
            Err(error) => Told::bad(format!("{last} {error:#}")),
        }
    }

    /// How long the second frontend's users wait for a folder that alice made.
    pub(super) async fn seen_elsewhere(&mut self, folder: &str) -> Result<(Told, Duration)> {
        let mut there = self.murder.fe2.imap("alice").await?;
        let ((), time) = eventually(NEWS, format!("{folder} at fe2"), async || {
            Ok(there.list("*").await?.iter().any(|name| name == folder).then_some(()))
        })
        .await?;
        Ok((Told::plain(format!("after {:.1} s", time.as_secs_f64())), time))
    }

    /// Alice's folders, as her other computer sees them through the second frontend.
    pub(super) async fn folders(&mut self) -> Result<BTreeSet<String>> {
        let names = self.murder.fe2.imap("alice").await?.list("*").await?;
        Ok(names.into_iter().filter_map(|name| name.strip_prefix("INBOX.").map(str::to_owned)).collect())
    }

    /// How many messages a user has.
    pub(super) async fn messages(&self, user: &str) -> Result<u32> {
        self.murder.fe1.imap(user).await?.count("INBOX").await
    }

    /// What `ctl_mboxlist -mw` on a backend wants to change, and of that what Cyrus itself left unsaid: a RENAME
    /// announces a mailbox without its partition, and `-mw` wants to fill that in, with and without an outage.
    pub(super) async fn pushes(&self, backend: &Node, master: &Dump) -> Result<Pushes> {
        let output = backend.mboxlist_preview().await?.success()?;
        let mut pushes = Pushes::default();
        for line in output.stdout.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let renamed = line.strip_prefix("Force Activate:").map(str::trim).is_some_and(|name| {
                let name = name.split_whitespace().next().unwrap_or_default();
                master.get(name).is_some_and(|entry| entry.location.ends_with('!'))
            });
            if renamed { &mut pushes.unsaid } else { &mut pushes.missed }.push(line.to_owned());
        }
        Ok(pushes)
    }
}

/// What a backend would give the master.
#[derive(Debug, Default)]
pub(super) struct Pushes {
    /// What the master does not know.
    pub(super) missed: Vec<String>,
    /// What it knows but for the partition.
    pub(super) unsaid: Vec<String>,
}

async fn deliver(user: &str, frontend: &Node) -> Result<String> {
    let id = format!("{user}-{}", fastrand::u64(..));
    let delivery = frontend.lmtp().await?.deliver_one(user, &id).await?;
    let verdict = delivery.verdict();
    // The last line holds the status code; a session's number after it is of no interest here.
    let line = verdict.lines.last().context("an empty reply")?;
    Ok(format!("{} {}", verdict.code, line.split(" SESSIONID").next().unwrap_or(line)))
}

fn told(answer: Result<Response>) -> Told {
    let answer =
        answer.map(|response| Response { text: without_code(&response.text).to_owned(), ..response });
    match answer {
        Ok(Response { completion: Completion::Ok, text, .. }) => Told::good(format!("OK {text}")),
        Ok(Response { completion: Completion::No, text, .. }) => Told::bad(format!("NO {text}")),
        Ok(Response { completion: Completion::Bad, text, .. }) => Told::bad(format!("BAD {text}")),
        Err(error) => Told::bad(format!("{error:#}")),
    }
}

/// Without a response code such as `[MAILBOXID (…)]`, which no user sees.
fn without_code(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(text, |(_, text)| text)
}
