//! Ghosts: mailboxes that the list still shows although a frontend confirmed that they are gone.
//!
//! With `delete_mode: immediate` a Cyrus backend never tells the master of a DELETE, and every frontend goes on
//! listing the mailbox. The face to mail clients sees the confirmation and suspects the name; here the suspicion
//! is looked into, and the name forgotten only when rule 12 allows it: the backend itself says that it does not
//! hold it, and on the same session says that it does hold another of its mailboxes; and the authority refuses where
//! somebody wrote the name meanwhile, or too many of that backend were forgotten today.

#[cfg(test)]
mod tests;
mod unconfirmed;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::authority::facts::Unreadable;
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Refusal, Write};
use crate::backends::{BackendError, Backends, Session};
use crate::control::{Unproved, believed};
use crate::list::{Entry, MailboxName};
use crate::net::live::Live;
use crate::rules::{Rule, kept};

pub use unconfirmed::review;

/// Suspicions that wait to be looked into; more are dropped, and the ghosts stay until an audit.
const WAITING: usize = 1024;

/// How long a backend's session is kept for the next suspicion.
const KEPT: Duration = Duration::from_secs(5);

/// Why a suspicion came to nothing.
#[derive(Debug, thiserror::Error)]
enum Kept {
    #[error("the list does not show it")]
    NotListed,
    #[error("in doubt for a day: the master never answered a write of it, and may yet carry it out")]
    InDoubt,
    #[error("the backend holds it")]
    Held,
    #[error("{}", .0.text())]
    Refused(Refusal),
    #[error("that cannot be decided now")]
    Undecided,
    #[error(transparent)]
    Unproved(#[from] Unproved),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl Kept {
    /// It says nothing of the name: whatever else is asked of this server comes to the same.
    fn is_of_the_server(&self) -> bool {
        match self {
            Self::NotListed | Self::InDoubt | Self::Held => false,
            Self::Refused(why) => *why == Refusal::TooMany,
            Self::Unproved(_) | Self::Backend(_) | Self::Undecided | Self::Unreadable(_) => true,
        }
    }
}

/// Where suspicions go; clones are the same place.
#[derive(Clone, Debug)]
pub struct Ghosts {
    suspicions: mpsc::Sender<MailboxName>,
    forgotten: Arc<AtomicU64>,
}

impl Ghosts {
    /// Begins to look into suspicions.
    pub fn start(namespace: Arc<dyn Namespace>, backends: Live<Backends>) -> Self {
        let (suspicions, received) = mpsc::channel(WAITING);
        let forgotten = Arc::<AtomicU64>::default();
        tokio::spawn(Watch::new(namespace, backends).run(received, forgotten.clone()));
        Self { suspicions, forgotten }
    }

    /// A frontend confirmed that a mailbox is gone.
    pub fn suspect(&self, name: MailboxName) {
        if self.suspicions.try_send(name).is_err() {
            tracing::warn!("too many ghosts at once: some are left for an audit");
        }
    }

    /// How many names were forgotten since the start.
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}

struct Watch {
    namespace: Arc<dyn Namespace>,
    backends: Live<Backends>,
    sessions: HashMap<String, (Session, Instant)>,
}

impl Watch {
    fn new(namespace: Arc<dyn Namespace>, backends: Live<Backends>) -> Self {
        Self { namespace, backends, sessions: HashMap::new() }
    }

    async fn run(mut self, mut suspicions: mpsc::Receiver<MailboxName>, forgotten: Arc<AtomicU64>) {
        loop {
            let next = if self.sessions.is_empty() {
                Ok(suspicions.recv().await)
            } else {
                tokio::time::timeout(KEPT, suspicions.recv()).await
            };
            match next {
                Ok(None) => return,
                Ok(Some(name)) => match self.look_into(&name).await {
                    Ok(entry) => {
                        forgotten.fetch_add(1, Ordering::Relaxed);
                        tracing::info!(%name, location = %entry.location, "a ghost is off the list");
                    }
                    Err(Kept::NotListed) => {}
                    Err(why) => tracing::info!(%name, %why, "suspected to be a ghost, and kept"),
                },
                Err(_) => self.hang_up().await,
            }
        }
    }

    async fn hang_up(&mut self) {
        for (_, (session, _)) in std::mem::take(&mut self.sessions) {
            session.close().await;
        }
    }

    async fn look_into(&mut self, name: &MailboxName) -> Result<Entry, Kept> {
        // What the backend told the master before it answered its client is in the list after this.
        self.namespace.barrier().await;
        let Some((entry, version)) = self.namespace.versioned(name)?.filter(|(entry, _)| entry.is_active())
        else {
            return Err(Kept::NotListed);
        };
        if self.namespace.is_in_doubt(name) {
            return Err(Kept::InDoubt);
        }
        let server = String::from_utf8_lossy(entry.location.server()).into_owned();
        let mut session = match self.sessions.remove(&server) {
            Some((session, since)) if since.elapsed() < KEPT => session,
            _ => self.backends.get().open(&server).await?,
        };
        if session.holds(name).await? {
            self.sessions.insert(server, (session, Instant::now()));
            return Err(Kept::Held);
        }
        let list = self.namespace.snapshot()?;
        // A mailbox below the ghost may be about to go with it.
        let fits = |other: &MailboxName| !other.as_bytes().starts_with(name.as_bytes());
        let proved = believed(&mut session, &list, name, &entry.location, fits).await;
        drop(list);
        if !matches!(proved, Err(Unproved::Backend(_))) {
            self.sessions.insert(server, (session, Instant::now()));
        }
        match proved {
            Err(Unproved::Unbelievable(_)) if !kept(Rule::NoRemovalOnStaleEvidence) => {}
            proved => proved?,
        }
        match self
            .namespace
            .write(Origin::own("ravenry"), Write::Forget { name: name.clone(), version })
            .await
        {
            Outcome::Done => Ok(entry),
            Outcome::Refused(refusal) => Err(Kept::Refused(refusal)),
            Outcome::Unavailable => Err(Kept::Undecided),
        }
    }
}
