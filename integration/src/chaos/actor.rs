//! Users at work: each with a session of its own, which does the steps one after the other and tries again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::mpsc;

use super::ledger::{Answer, Ledger};
use super::mailer::Mail;
use super::schedule::{Actor, DOORS, Deed, Door, Home, Step, Verb};
use crate::clients::{Completion, Imap, Response};
use crate::deadline::within;

/// How long a server may be silent. A backend waits 10 s for a master that hangs.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a door may take to let somebody in.
const KNOCK: Duration = Duration::from_secs(5);
/// How often a user tries what is refused.
const TRIES: u32 = 4;
/// How long before the second try; then twice as long, and so on.
const PAUSE: Duration = Duration::from_millis(300);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// The frontends' IMAP.
    pub frontends: [SocketAddr; 2],
    /// The backends' IMAP, for XFER.
    pub backends: [SocketAddr; 2],
    /// The backends' names.
    pub servers: [String; 2],
    /// Ravenry's IMAP.
    pub imap: SocketAddr,
    /// Ravenry's LMTP.
    pub lmtp: SocketAddr,
}

impl Places {
    fn of(&self, door: Door) -> SocketAddr {
        let [fe1, fe2] = self.frontends;
        match door {
            Door::Fe1 => fe1,
            Door::Fe2 => fe2,
            Door::Ravenry => self.imap,
        }
    }

    fn backend(&self, home: Home) -> (SocketAddr, &str) {
        let ([a, b], [name_a, name_b]) = (self.backends, &self.servers);
        match home {
            Home::Be1 => (a, name_a),
            Home::Be2 => (b, name_b),
        }
    }
}

/// The sessions that somebody has open.
type Sessions = BTreeMap<Door, Imap>;

/// Somebody at work.
#[derive(Debug)]
pub struct Worker {
    /// Who, and what is to be done.
    pub actor: Actor,
    /// Where.
    pub places: Places,
    /// What was promised.
    pub ledger: Ledger,
    /// The MTA.
    pub post: mpsc::UnboundedSender<Mail>,
    /// Nothing more is begun.
    pub over: Arc<AtomicBool>,
}

impl Worker {
    /// Does everything, and stops early when it is over.
    pub async fn work(self) -> Result<()> {
        let mut sessions = Sessions::new();
        let mut seen = 0;
        for step in &self.actor.steps {
            tokio::time::sleep(step.at.saturating_sub(self.ledger.now())).await;
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let verb = step.deed.verb();
            if !self.ledger.can(&self.actor.name, &step.deed) {
                self.ledger.count(verb, |count| count.left_out += 1);
                continue;
            }
            match &step.deed {
                Deed::Deliver(folder) => self.send(&self.actor.name, folder.clone()),
                Deed::Read => self.read(step, &mut sessions, &mut seen).await,
                Deed::Xfer(mover, to) => self.xfer(step, mover, *to).await,
                _ => self.change(step, &mut sessions).await,
            }
        }
        Ok(())
    }

    fn send(&self, user: &str, folder: Option<String>) {
        // It is gone only when the run was given up.
        let _ = self.post.send(Mail { user: user.to_owned(), folder });
    }

    /// Create, rename, delete, setacl, enrol.
    async fn change(&self, step: &Step, sessions: &mut Sessions) {
        let (deed, verb) = (&step.deed, step.deed.verb());
        let Some(command) = self.command(deed) else { return };
        let mut pause = PAUSE;
        for last in (1..=TRIES).map(|n| n == TRIES) {
            let begun = self.ledger.now();
            let Some((door, mut imap)) = self.session(step.door, sessions).await else {
                // Nothing was asked.
                self.ledger.count(verb, |count| if last { count.refused += 1 } else { count.again += 1 });
                tokio::time::sleep(pause).await;
                continue;
            };
            let answer = answer(imap.run(&command).await);
            self.ledger.answered(&self.actor.name, door, deed, begun, &answer);
            if !matches!(answer, Answer::Unknown(_)) {
                sessions.insert(door, imap);
            }
            match answer {
                Answer::Done => {
                    self.ledger.count(verb, |count| count.done += 1);
                    if let Deed::Enrol(new, _) = deed {
                        self.send(new, None);
                    }
                    return;
                }
                Answer::Unknown(_) => {
                    return self.ledger.count(verb, |count| count.unknown += 1);
                }
                Answer::Refused(_) => {
                    self.ledger.count(verb, |count| if last { count.refused += 1 } else { count.again += 1 });
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// At the backend that holds the user: a frontend would answer OK and move nothing.
    async fn xfer(&self, step: &Step, mover: &str, to: Home) {
        let from = if to == Home::Be1 { Home::Be2 } else { Home::Be1 };
        let (_, server) = self.places.backend(to);
        let begun = self.ledger.now();
        let Ok(mut imap) = open(self.places.backend(from).0, "cyrus").await else {
            return self.ledger.count(Verb::Xfer, |count| count.refused += 1);
        };
        let answer = answer(imap.xfer(&format!("user.{mover}"), server).await);
        self.ledger.answered(&self.actor.name, step.door, &step.deed, begun, &answer);
        self.ledger.count(Verb::Xfer, |count| match answer {
            Answer::Done => count.done += 1,
            Answer::Refused(_) => count.refused += 1,
            Answer::Unknown(_) => count.unknown += 1,
        });
    }

    /// The inbox never shrinks: nobody takes anything out of it.
    async fn read(&self, step: &Step, sessions: &mut Sessions, seen: &mut u32) {
        let Some((door, mut imap)) = self.session(step.door, sessions).await else {
            return self.ledger.count(Verb::Read, |count| count.refused += 1);
        };
        match imap.select("INBOX").await {
            Ok(response) if response.completion == Completion::Ok => {
                let exists = exists(&response).unwrap_or_default();
                let name = &self.actor.name;
                // Of a user whose XFER failed, a frontend that lags may show the other copy.
                let half_moved = self.ledger.book().half_moved().contains(name);
                if exists < *seen && !half_moved {
                    let what =
                        format!("{name} saw {seen} messages in the inbox, then {exists}, through {door:?}");
                    self.ledger.lost(&super::ledger::inbox(name), what);
                }
                *seen = exists.max(*seen);
                sessions.insert(door, imap);
                self.ledger.count(Verb::Read, |count| count.done += 1);
            }
            Ok(response) => {
                sessions.insert(door, imap);
                *self.ledger.book().refusals.entry(format!("read: {}", response.text)).or_default() += 1;
                self.ledger.count(Verb::Read, |count| count.refused += 1);
            }
            Err(_) => self.ledger.count(Verb::Read, |count| count.unknown += 1),
        }
    }

    /// A session through this door, or through another one when it is shut. It is put back if it is of use still.
    async fn session(&self, door: Door, sessions: &mut Sessions) -> Option<(Door, Imap)> {
        for door in [door].into_iter().chain(DOORS.into_iter().filter(|other| *other != door)) {
            // One that ended meanwhile must not be taken for one that ends in the middle of a command.
            if let Some(mut imap) = sessions.remove(&door)
                && within(KNOCK, "NOOP", imap.run("NOOP")).await.is_ok()
            {
                return Some((door, imap));
            }
            if let Ok(imap) = open(self.places.of(door), &self.actor.name).await {
                return Some((door, imap));
            }
        }
        None
    }

    fn command(&self, deed: &Deed) -> Option<String> {
        Some(match deed {
            Deed::Create(new) => format!("CREATE INBOX.{new}"),
            Deed::Rename(old, new) => format!("RENAME INBOX.{old} INBOX.{new}"),
            Deed::Delete(old) => format!("DELETE INBOX.{old}"),
            Deed::SetAcl(one, rights) => format!("SETACL INBOX.{one} anyone {rights}"),
            Deed::Enrol(new, home) => {
                // The partition must be named: without it, a frontend of Cyrus 3.6 crashes.
                format!("CREATE user.{new} {}!default", self.places.backend(*home).1)
            }
            Deed::Xfer(..) | Deed::Deliver(_) | Deed::Read => return None,
        })
    }
}

async fn open(address: SocketAddr, user: &str) -> Result<Imap> {
    within(KNOCK, "logging in", async {
        let mut imap = Imap::connect(address).await?;
        imap.set_patience(PATIENCE);
        imap.login(user).await?;
        Ok(imap)
    })
    .await
}

fn exists(response: &Response) -> Result<u32> {
    let line = response.untagged.iter().find_map(|line| line.strip_suffix(" EXISTS"));
    Ok(line.context("no EXISTS")?.parse()?)
}

/// A refusal that comes of a server being out of reach says nothing of what that server has done.
fn answer(response: Result<Response>) -> Answer {
    match response {
        Ok(response) if response.completion == Completion::Ok => Answer::Done,
        Ok(Response { text, .. }) => {
            let unreached = ["navailable", "timed out", "ost connection", "BYE"].iter();
            let connected = text.contains("no connection to server");
            if !connected && unreached.into_iter().any(|words| text.contains(words)) {
                Answer::Unknown(text)
            } else {
                Answer::Refused(text)
            }
        }
        Err(error) => Answer::Unknown(format!("{error:#}")),
    }
}
