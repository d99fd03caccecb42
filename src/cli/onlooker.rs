//! What mail clients' sessions show of the murder, told to those whose business it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::reach::reach;
use super::{Failure, exit};
use crate::authority::namespace::Namespace as _;
use crate::authority::task::Authority;
use crate::backends::Backends;
use crate::config::Config;
use crate::ghosts::Ghosts;
use crate::imap::Observer;
use crate::list::MailboxName;
use crate::net::live::Live;
use crate::net::secret::Secret;

/// Counts, and looks into ghosts where `[backends]` says how.
pub(super) struct Onlooker {
    authority: Authority,
    ghosts: Option<Ghosts>,
    without_master: Mutex<BTreeMap<String, u64>>,
}

impl Onlooker {
    pub(super) fn new(asking: Option<&Asking>, authority: Authority) -> Arc<Self> {
        let ghosts = asking.map(|asking| Ghosts::start(Arc::new(authority.clone()), asking.backends.clone()));
        Arc::new(Self { authority, ghosts, without_master: Mutex::default() })
    }

    /// Ghosts that were taken off the list since the start.
    pub(super) fn ghosts_forgotten(&self) -> u64 {
        self.ghosts.as_ref().map_or(0, Ghosts::forgotten)
    }

    /// Commands refused because somebody had no word from the mupdate master, by backend (`?` where that is not known).
    pub(super) fn without_master(&self) -> BTreeMap<String, u64> {
        self.without_master.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How backends are asked by whoever asks them, and what is made of their answers; clones are the same.
#[derive(Clone)]
pub(super) struct Asking {
    pub(super) backends: Live<Backends>,
    /// An older reservation that nobody holds is removed.
    pub(super) reservations: Live<Duration>,
    /// An older one does not wait for the rest of an XFER any more.
    pub(super) xfer: Live<Duration>,
}

impl Asking {
    /// `None` where no `[backends]` is configured.
    pub(super) fn of(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(asked) = &config.backends else { return Ok(None) };
        let reservations = Live::new(asked.reservations.get());
        let xfer = Live::new(config.replay.postpone.get());
        Ok(Some(Self { backends: Live::new(backends(asked)?), reservations, xfer }))
    }
}

/// The backends, as the configuration says that they are asked.
pub(super) fn backends(asked: &crate::config::Backends) -> Result<Backends, Failure> {
    let password = Secret::read(&asked.password_file)
        .map_err(|error| Failure::new(exit::CONFIG, format!("{}: {error}", asked.password_file.display())))?;
    Ok(Backends {
        user: asked.user.clone(),
        password,
        tls: reach(asked.tls, asked.tls_ca_file.as_deref())?,
        addresses: asked.addresses.clone(),
        deadline: asked.deadline.get(),
    })
}

impl Observer for Onlooker {
    fn gone(&self, name: MailboxName) {
        if let Some(ghosts) = &self.ghosts {
            ghosts.suspect(name);
        }
    }

    fn without_master(&self, command: &'static str, name: Option<MailboxName>, text: &str) {
        // A new mailbox has no entry yet; the mailbox above it is on the same backend.
        let holder = |mut name: MailboxName| loop {
            if let Some(entry) = self.authority.find(&name).ok().flatten() {
                return Some(String::from_utf8_lossy(entry.location.server()).into_owned());
            }
            let above = name.as_bytes().iter().rposition(|byte| *byte == b'.')?;
            name = MailboxName::new(name.as_bytes().get(..above)?).ok()?;
        };
        let server = name.and_then(holder).unwrap_or_else(|| "?".to_owned());
        tracing::warn!(command, %server, %text, "refused for want of the mupdate master: does it ask us?");
        let mut counts = self.without_master.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(server).or_default() += 1;
    }
}
