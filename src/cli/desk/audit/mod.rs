//! The list, and what backends hold: one backend's names in memory at a time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Desk, unix};
use crate::admin::server::Replies;
use crate::admin::{Audited, Fault, Finding};
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Write};
use crate::backends::{Backends, Session};
use crate::list::{Entry, Held, Location, MailboxName, Text};
use crate::store::{Ages, Snapshot};

const CHUNK: usize = 256 << 10;

/// How many names are read between two signs of progress.
const TELL_EVERY: u64 = 1_000;

/// Sessions with every backend that answers.
type Sessions = BTreeMap<String, Session>;

struct Audit<'a> {
    desk: &'a Desk,
    asked: Arc<Backends>,
    replies: &'a Replies,
    fix: bool,
    done: Audited,
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
    let mut audit =
        Audit { desk, asked, replies, fix, done: Audited::default(), ages, reservations, all: true };
    let mut sessions = Sessions::new();
    let configured = audit.asked.addresses.keys().cloned();
    for server in named.into_iter().chain(configured).collect::<BTreeSet<_>>() {
        match audit.asked.open(&server).await {
            Ok(session) => drop(sessions.insert(server, session)),
            Err(error) => {
                audit.all = false;
                let name = Text::new(server.as_bytes());
                audit.tell(Fault::Unreachable, name, None, None, Err(error.to_string())).await?;
            }
        }
    }
    for server in sessions.keys().cloned().collect::<Vec<_>>() {
        audit.backend(&server, &mut sessions).await?;
    }
    for (_, session) in sessions {
        session.close().await;
    }
    Ok(audit.done)
}

impl Audit<'_> {
    async fn backend(&mut self, server: &str, sessions: &mut Sessions) -> Result<(), String> {
        // The list first: what is deleted while the backend is asked has another version by then.
        let list = self.desk.authority.snapshot().map_err(|error| error.to_string())?;
        let mut there = HashSet::new();
        let Some(session) = sessions.get_mut(server) else { return Ok(()) };
        let (replies, held) = (self.replies, self.done.held);
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
        self.done.held += counted;
        self.done.backends += 1;
        let here = server.to_owned();
        let (missing, control, unlisted) = blocking(move || compare(&list, &here, there)).await?;
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
        for (other, session) in sessions.iter_mut() {
            if session.holds(name).await.map_err(|error| error.to_string())? {
                if other == server {
                    return Ok(()); // made meanwhile, or of a kind that LIST does not tell
                }
                let fault = Fault::WrongLocation;
                return self.tell(fault, name.into(), Some(entry), Some(other), Ok(None)).await;
            }
        }
        let age = (!entry.is_active()).then(|| self.ages.at_least(version, unix()));
        let outcome = match (self.fix, self.objection(age), control) {
            (false, ..) => Ok(None),
            (true, Some(why), _) => Err(why.to_owned()),
            (true, None, None) => Err("no other mailbox of its backend to compare with".to_owned()),
            (true, None, Some(control)) => {
                self.forget(server, sessions, (name, version), control).await.map(|()| Some("forgotten"))
            }
        };
        let fault = if age.is_some() { Fault::Reservation } else { Fault::Ghost };
        self.tell_of(Finding { age, ..finding(fault, name.into(), Some(entry), None) }, outcome).await
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

    async fn tell(
        &mut self,
        fault: Fault,
        name: Text,
        listed: Option<&Entry>,
        there: Option<&str>,
        outcome: Result<Option<&'static str>, String>,
    ) -> Result<(), String> {
        self.tell_of(finding(fault, name, listed, there), outcome).await
    }

    async fn tell_of(
        &mut self,
        finding: Finding,
        outcome: Result<Option<&'static str>, String>,
    ) -> Result<(), String> {
        let fixed = matches!(outcome, Ok(Some(_)));
        self.done.found += 1;
        self.done.fixed += u64::from(fixed);
        let note = outcome.map_or_else(Some, |done| done.map(str::to_owned));
        self.replies.item(&Finding { note, fixed, ..finding }).await
    }

    /// Rule 12: the backend denies the name, and on the same session has another; nobody wrote it meanwhile.
    async fn forget(
        &self,
        server: &str,
        sessions: &mut Sessions,
        (name, version): (&MailboxName, u64),
        control: &MailboxName,
    ) -> Result<(), String> {
        if self.desk.authority.is_in_doubt(name) {
            return Err(
                "in doubt for a day: the master never answered a write of it, and may yet carry it out"
                    .into(),
            );
        }
        let session = sessions.get_mut(server).ok_or("its backend does not answer")?;
        let denied = !session.holds(name).await.map_err(|error| error.to_string())?;
        if !denied || !session.holds(control).await.map_err(|error| error.to_string())? {
            return Err("what its backend says is not to be believed".into());
        }
        self.write(Write::Forget { name: name.clone(), version }).await
    }

    /// A name is here, and the list does not place it here.
    async fn unlisted(
        &mut self,
        server: &str,
        sessions: &mut Sessions,
        name: &MailboxName,
    ) -> Result<(), String> {
        let listed = self.desk.authority.find(name).map_err(|error| error.to_string())?;
        if let Some(entry) = &listed {
            let place = String::from_utf8_lossy(entry.location.server()).into_owned();
            if place == server {
                return Ok(()); // listed meanwhile
            }
            let Some(session) = sessions.get_mut(&place) else { return Ok(()) };
            // Not held there either: told when that backend is looked at, as a wrong location.
            return match session.holds(name).await.map_err(|error| error.to_string())? {
                true => self.tell(Fault::Duplicate, name.into(), Some(entry), Some(server), Ok(None)).await,
                false => Ok(()),
            };
        }
        let outcome = if self.fix {
            self.adopt(server, sessions, name).await.map(|()| Some("put on the list"))
        } else {
            Ok(None)
        };
        self.tell(Fault::Orphan, name.into(), None, Some(server), outcome).await
    }

    /// Puts an orphan on the list whose name is free everywhere.
    async fn adopt(&self, server: &str, sessions: &mut Sessions, name: &MailboxName) -> Result<(), String> {
        if !self.all {
            return Err("a backend does not answer: it may hold the name too".into());
        }
        for (other, session) in sessions.iter_mut().filter(|(other, _)| *other != server) {
            if session.holds(name).await.map_err(|error| error.to_string())? {
                return Err(format!("{other} holds it too"));
            }
        }
        let session = sessions.get_mut(server).ok_or("its backend does not answer")?;
        let acl = session.acl(name).await.map_err(|error| error.to_string())?;
        let partition = session.partition(name).await.map_err(|error| error.to_string())?;
        let location =
            Location::new(format!("{server}!{partition}").as_bytes()).map_err(|e| e.to_string())?;
        // The reservation is what takes the name: it is refused where somebody else was faster.
        self.write(Write::Reserve { name: name.clone(), location: location.clone() }).await?;
        self.write(Write::Activate { name: name.clone(), location, acl }).await
    }

    async fn write(&self, write: Write) -> Result<(), String> {
        match self.desk.authority.write(Origin::own("audit"), write).await {
            Outcome::Done => Ok(()),
            Outcome::Refused(refusal) => Err(refusal.text().to_owned()),
            Outcome::Unavailable => Err("it was written meanwhile, or cannot be written now".into()),
        }
    }
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

/// Shows each entry of the list.
fn each(
    list: &Snapshot,
    mut show: impl FnMut(MailboxName, Entry) -> Result<(), String>,
) -> Result<(), String> {
    let mut last = None;
    loop {
        let part = list.chunk(last.as_ref(), CHUNK).map_err(|error| error.to_string())?;
        let Some((name, _)) = part.last() else { return Ok(()) };
        last = Some(name.clone());
        for (name, entry) in part {
            show(name, entry)?;
        }
    }
}

fn servers(list: &Snapshot) -> Result<BTreeSet<String>, String> {
    let mut servers: HashSet<Vec<u8>> = HashSet::new();
    each(list, |_, entry| {
        if !servers.contains(entry.location.server()) {
            servers.insert(entry.location.server().to_vec());
        }
        Ok(())
    })?;
    Ok(servers.into_iter().map(|server| String::from_utf8_lossy(&server).into_owned()).collect())
}

type Compared = (Vec<(MailboxName, Entry, u64)>, Option<MailboxName>, Vec<MailboxName>);

/// What the list has here and the backend not, a mailbox that both have, and what only the backend has.
fn compare(list: &Snapshot, server: &str, mut there: HashSet<MailboxName>) -> Result<Compared, String> {
    let (mut missing, mut control) = (Vec::new(), None);
    each(list, |name, entry| {
        if entry.location.server() != server.as_bytes() {
            return Ok(());
        }
        if there.remove(&name) {
            if entry.is_active() {
                control.get_or_insert(name);
            }
        } else if let Some((entry, version)) = list.versioned(&name).map_err(|error| error.to_string())? {
            missing.push((name, entry, version));
        }
        Ok(())
    })?;
    let mut unlisted: Vec<_> = there.into_iter().collect();
    unlisted.sort_by(|a, b| list.order().compare(a, b));
    Ok((missing, control, unlisted))
}
