//! One look at one user's reservations: what the list and the backends say.

use std::collections::BTreeSet;
use std::time::Duration;

use super::judge::{Answer, Seen};
use crate::authority::facts::Unreadable;
use crate::authority::namespace::Namespace;
use crate::authority::write::Refusal;
use crate::backends::{BackendError, Backends, Round};
use crate::control::{Unproved, proved};
use crate::list::{Location, MailboxName};
use crate::net::clock::unix;

/// Why reservations stay as they are.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsure {
    #[error("they may be in use")]
    Undecided,
    #[error("in conflict: a person decides")]
    Conflict,
    #[error("{}", .0.text())]
    Refused(Refusal),
    #[error("that cannot be written now")]
    Unavailable,
    #[error(transparent)]
    Unproved(#[from] Unproved),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// Whom a look asks, and what it goes by.
pub(super) struct Look<'a> {
    pub(super) namespace: &'a dyn Namespace,
    pub(super) backends: &'a Backends,
    pub(super) round: &'a mut Round,
    /// All backends that are known.
    pub(super) servers: &'a BTreeSet<String>,
    /// How old a reservation is that a person would take off.
    pub(super) nobodys: Duration,
}

impl Look<'_> {
    pub(super) async fn at(&mut self, names: Vec<MailboxName>) -> Result<Vec<Seen>, Unsure> {
        // What backends told the master so far is in the list after this.
        self.namespace.barrier().await;
        let mut all = Vec::with_capacity(names.len());
        for name in names {
            all.extend(self.at_one(name).await?);
        }
        Ok(all)
    }

    /// `None`: it is no reservation any more.
    async fn at_one(&mut self, name: MailboxName) -> Result<Option<Seen>, Unsure> {
        let reserved = self.namespace.versioned(&name)?.filter(|(entry, _)| !entry.is_active());
        let Some((entry, version)) = reserved else { return Ok(None) };
        if self.namespace.snapshot()?.conflict(&name).map_err(Unreadable::from)?.is_some() {
            return Err(Unsure::Conflict);
        }
        let server = String::from_utf8_lossy(entry.location.server()).into_owned();
        let home = self.ask(&server, &name).await?;
        let mut elsewhere = Vec::new();
        let mut old = false;
        if home == Answer::Denies {
            let list = self.namespace.snapshot()?;
            // What the master may yet carry out would be there again.
            old = list.ages().at_least(version, unix()) >= self.nobodys.as_secs()
                && !self.namespace.is_in_doubt(&name);
            proved(&list, &name, &server, |_| true, self.round, self.backends).await?;
            drop(list);
            // Whoever cannot be asked may hold it: then there is no verdict.
            for other in self.servers.iter().filter(|other| **other != server) {
                match self.ask(other, &name).await? {
                    Answer::Denies => {}
                    answer => elsewhere.push(answer),
                }
            }
        }
        Ok(Some(Seen { name, version, home, elsewhere, old }))
    }

    async fn ask(&mut self, server: &str, name: &MailboxName) -> Result<Answer, Unsure> {
        let asked = self.round.ask(self.backends, server, async |session| {
            if !session.holds(name).await? {
                return Ok(None);
            }
            Ok(Some((session.acl(name).await?, session.partition(name).await?)))
        });
        match asked.await {
            Ok(None) => Ok(Answer::Denies),
            Ok(Some((acl, partition))) => {
                let location = Location::new(format!("{server}!{partition}").as_bytes());
                let location = location.map_err(|error| Unreadable(error.to_string()))?;
                Ok(Answer::Holds { location, acl })
            }
            Err(BackendError::Refused { .. }) => Ok(Answer::Moving),
            Err(error) => Err(error.into()),
        }
    }
}
