//! The list, and what backends hold: one backend's names in memory at a time.
//!
//! | file | what |
//! |---|---|
//! | `compare` | the list beside what one backend told |
//! | `findings` | what is told of it, and put right meanwhile |

mod compare;
mod findings;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Desk, unix};
use crate::admin::server::Replies;
use crate::admin::{Audited, Fault, Finding};
use crate::authority::namespace::Namespace;
use crate::authority::task::Authority;
use crate::authority::write::{Origin, Outcome, Write};
use crate::backends::{Backends, Session};
use crate::list::{Entry, Held, Location, MailboxName, Text};
use crate::store::Ages;
use compare::{Compared, compare, servers};
use findings::{Findings, Remedy};

/// How many names are read between two signs of progress.
const TELL_EVERY: u64 = 1_000;

/// Sessions with every backend that answers.
type Sessions = BTreeMap<String, Session>;

struct Audit<'a> {
    desk: &'a Desk,
    asked: Arc<Backends>,
    fix: bool,
    findings: Findings<'a>,
    ages: Ages,
    /// An older reservation that nobody holds is removed.
    reservations: Duration,
    /// Every backend answers: only then is what nobody holds held by nobody.
    all: bool,
}

/// Asks every backend that the list or the configuration names.
pub(super) async fn attend(desk: &Desk, fix: bool, replies: &Replies) -> Result<Audited, String> {
    let _turn = desk.turns.take("an audit")?;
    desk.needs_list(replies).await?;
    let asking = desk.asking.clone().ok_or("there is no [backends] in the configuration")?;
    let (asked, reservations) = (asking.backends.get(), *asking.reservations.get());
    desk.authority.barrier().await;
    let list = desk.authority.snapshot().map_err(|error| error.to_string())?;
    let ages = list.ages().clone();
    let named = blocking(move || servers(&list)).await?;
    let findings = Findings::new(replies);
    let mut audit = Audit { desk, asked, fix, findings, ages, reservations, all: true };
    let ended = audit.run(named).await;
    // What is being put right is told even when a backend is lost in the middle.
    let audited = audit.findings.finish().await?;
    ended.map(|()| audited)
}

impl Audit<'_> {
    async fn run(&mut self, named: BTreeSet<String>) -> Result<(), String> {
        let mut sessions = Sessions::new();
        let configured = self.asked.addresses.keys().cloned();
        for server in named.into_iter().chain(configured).collect::<BTreeSet<_>>() {
            match self.asked.open(&server).await {
                Ok(session) => drop(sessions.insert(server, session)),
                Err(error) => {
                    self.all = false;
                    let finding = finding(Fault::Unreachable, Text::new(server.as_bytes()), None, None);
                    self.findings.add(finding, Remedy::Refused(error.to_string())).await?;
                }
            }
        }
        for server in sessions.keys().cloned().collect::<Vec<_>>() {
            self.backend(&server, &mut sessions).await?;
        }
        for (_, session) in sessions {
            session.close().await;
        }
        Ok(())
    }

    async fn backend(&mut self, server: &str, sessions: &mut Sessions) -> Result<(), String> {
        // The list first: what is deleted while the backend is asked has another version by then.
        let list = self.desk.authority.snapshot().map_err(|error| error.to_string())?;
        let mut there = HashSet::new();
        let Some(session) = sessions.get_mut(server) else { return Ok(()) };
        let (replies, held) = (self.findings.replies, self.findings.done.held);
        let tell = |more| replies.progress("mailboxes read from backends", held + more, None);
        let counted = session
            .mailboxes(|name| {
                there.insert(name);
                if (there.len() as u64).is_multiple_of(TELL_EVERY) {
                    tell(there.len() as u64);
                }
            })
            .await;
        let counted = counted.map_err(|error| error.to_string())?;
        tell(counted);
        self.findings.done.held += counted;
        self.findings.done.backends += 1;
        let here = server.to_owned();
        let Compared { missing, control, unlisted } = blocking(move || compare(&list, &here, there)).await?;
        for (name, entry, version) in missing {
            self.missing(server, sessions, (&name, &entry, version), control.as_ref()).await?;
        }
        for name in unlisted {
            self.unlisted(server, sessions, &name).await?;
        }
        Ok(())
    }

    /// The list places a name here, and LIST did not tell it.
    async fn missing(
        &mut self,
        server: &str,
        sessions: &mut Sessions,
        (name, entry, version): (&MailboxName, &Entry, u64),
        control: Option<&MailboxName>,
    ) -> Result<(), String> {
        if holds(sessions, server, name).await? {
            return Ok(()); // made meanwhile, or of a kind that LIST does not tell
        }
        if let Some(other) = elsewhere(sessions, server, name).await? {
            let finding = finding(Fault::WrongLocation, name.into(), Some(entry), Some(&other));
            return self.findings.add(finding, Remedy::Nothing).await;
        }
        let age = (!entry.is_active()).then(|| self.ages.at_least(version, unix()));
        let remedy = match (self.fix, self.objection(age), control) {
            (false, ..) => Remedy::Nothing,
            (true, Some(why), _) => Remedy::Refused(why.to_owned()),
            (true, None, None) => {
                Remedy::Refused("no other mailbox of its backend to compare with".to_owned())
            }
            (true, None, Some(control)) => {
                let begun = self.forget(server, sessions, (name, version), control).await;
                begun.unwrap_or_else(Remedy::Refused)
            }
        };
        let fault = if age.is_some() { Fault::Reservation } else { Fault::Ghost };
        self.findings.add(Finding { age, ..finding(fault, name.into(), Some(entry), None) }, remedy).await
    }

    /// Why a reservation is not to be removed, by its age.
    fn objection(&self, age: Option<u64>) -> Option<&'static str> {
        match age {
            None => None,
            Some(age) if age < self.reservations.as_secs() => {
                Some("it may be in use: see `backends.reservations`")
            }
            Some(_) if !self.all => Some("a backend does not answer: it may hold the name"),
            Some(_) => None,
        }
    }

    /// Rule 12: its backend has just denied the name, and on the same session has another; that nobody wrote it since the
    /// list was read is looked at when the write is decided. The error is why the name is kept.
    async fn forget(
        &self,
        server: &str,
        sessions: &mut Sessions,
        (name, version): (&MailboxName, u64),
        control: &MailboxName,
    ) -> Result<Remedy, String> {
        if self.desk.authority.is_in_doubt(name) {
            let why = "in doubt for a day: the master never answered a write of it, and may yet carry it out";
            return Err(why.to_owned());
        }
        if !holds(sessions, server, control).await? {
            return Err("what its backend says is not to be believed".to_owned());
        }
        Ok(self.remedy("forgotten", vec![Write::Forget { name: name.clone(), version }]))
    }

    /// A name is here, and the list does not place it here.
    async fn unlisted(
        &mut self,
        server: &str,
        sessions: &mut Sessions,
        name: &MailboxName,
    ) -> Result<(), String> {
        let listed = self.desk.authority.find(name).map_err(|error| error.to_string())?;
        let Some(entry) = listed else {
            let remedy = if self.fix { self.adopt(server, sessions, name).await? } else { Remedy::Nothing };
            return self.findings.add(finding(Fault::Orphan, name.into(), None, Some(server)), remedy).await;
        };
        let place = String::from_utf8_lossy(entry.location.server()).into_owned();
        // Listed meanwhile; or not held there either, and told when that backend is looked at, as a wrong location.
        if place == server || !holds(sessions, &place, name).await? {
            return Ok(());
        }
        let finding = finding(Fault::Duplicate, name.into(), Some(&entry), Some(server));
        self.findings.add(finding, Remedy::Nothing).await
    }

    /// Puts an orphan on the list whose name is free everywhere. The error is why it is not.
    async fn adopt(
        &self,
        server: &str,
        sessions: &mut Sessions,
        name: &MailboxName,
    ) -> Result<Remedy, String> {
        if !self.all {
            return Err("a backend does not answer: it may hold the name too".to_owned());
        }
        if let Some(other) = elsewhere(sessions, server, name).await? {
            return Err(format!("{other} holds it too"));
        }
        let session = sessions.get_mut(server).ok_or("its backend does not answer")?;
        let acl = session.acl(name).await.map_err(|error| error.to_string())?;
        let partition = session.partition(name).await.map_err(|error| error.to_string())?;
        let location =
            Location::new(format!("{server}!{partition}").as_bytes()).map_err(|error| error.to_string())?;
        let name = name.clone();
        // The reservation is what takes the name: it is refused where somebody else was faster.
        let reserve = Write::Reserve { name: name.clone(), location: location.clone() };
        Ok(self.remedy("put on the list", vec![reserve, Write::Activate { name, location, acl }]))
    }

    /// Begins to write, one after the other.
    fn remedy(&self, called: &'static str, writes: Vec<Write>) -> Remedy {
        let authority = self.desk.authority.clone();
        let writing = tokio::spawn(async move {
            for write in writes {
                carry_out(&authority, write).await?;
            }
            Ok(())
        });
        Remedy::UnderWay(writing, called)
    }
}

async fn carry_out(authority: &Authority, write: Write) -> Result<(), String> {
    match authority.write(Origin::own("audit"), write).await {
        Outcome::Done => Ok(()),
        Outcome::Refused(refusal) => Err(refusal.text().to_owned()),
        Outcome::Unavailable => Err("it was written meanwhile, or cannot be written now".into()),
    }
}

/// Whether a backend holds a name; one that does not answer does not.
async fn holds(sessions: &mut Sessions, server: &str, name: &MailboxName) -> Result<bool, String> {
    match sessions.get_mut(server) {
        Some(session) => session.holds(name).await.map_err(|error| error.to_string()),
        None => Ok(false),
    }
}

/// Another backend that holds a name.
async fn elsewhere(
    sessions: &mut Sessions,
    server: &str,
    name: &MailboxName,
) -> Result<Option<String>, String> {
    for (other, session) in sessions.iter_mut().filter(|(other, _)| *other != server) {
        if session.holds(name).await.map_err(|error| error.to_string())? {
            return Ok(Some(other.clone()));
        }
    }
    Ok(None)
}

fn finding(fault: Fault, name: Text, listed: Option<&Entry>, there: Option<&str>) -> Finding {
    let (listed, there) = (listed.map(Held::from), there.map(str::to_owned));
    Finding { fault, name, listed, age: None, there, note: None, fixed: false }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}
