//! The invariant that every story ends with: all lists agree, the backends hold what the lists say, and the
//! master never crashed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::clients::{Mupdate, Record};
use crate::deadline::eventually;
use crate::murder::{Dump, Entry, Murder, State};

/// How many differences are shown one by one.
const SHOWN: usize = 20;

/// One way in which the murder is not in agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A list says something else than the master's.
    List {
        /// Whose list: `fe1`, or `ravenry`.
        whose: String,
        /// The mailbox.
        name: String,
        /// What the master has.
        master: Option<Entry>,
        /// What that list has.
        there: Option<Entry>,
    },
    /// The master lists an active mailbox that its backend does not hold. Cyrus makes these by itself with
    /// `delete_mode: immediate`.
    Ghost {
        /// The mailbox.
        name: String,
        /// What the master has.
        master: Entry,
    },
    /// The master's list keeps a name reserved. That is right only while a backend is at work on it.
    Reserved {
        /// The mailbox.
        name: String,
        /// What the master has.
        master: Entry,
    },
    /// A backend holds a mailbox that the master does not list there as active.
    Unlisted {
        /// The mailbox.
        name: String,
        /// Which backend.
        backend: String,
        /// What the master has.
        master: Option<Entry>,
    },
    /// The master and the backend that holds a mailbox tell its partition or its ACL differently.
    Held {
        /// The mailbox.
        name: String,
        /// What the master has.
        master: Entry,
        /// What the backend has.
        backend: Entry,
    },
    /// The master's mupdate process is not the one it was: it crashed.
    MasterDied,
}

impl Difference {
    /// Whether this is a [`Difference::Reserved`].
    pub fn is_reservation(&self) -> bool {
        matches!(self, Self::Reserved { .. })
    }

    /// Whether this is about the mailbox.
    pub fn is_about(&self, mailbox: &str) -> bool {
        match self {
            Self::List { name, .. }
            | Self::Ghost { name, .. }
            | Self::Reserved { name, .. }
            | Self::Unlisted { name, .. }
            | Self::Held { name, .. } => name == mailbox,
            Self::MasterDied => false,
        }
    }

    /// Whether this is a [`Difference::Ghost`].
    pub fn is_ghost(&self) -> bool {
        matches!(self, Self::Ghost { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List { whose, name, master, there } => {
                write!(
                    f,
                    "{name}: master has {}, {whose} has {}",
                    told(master.as_ref()),
                    told(there.as_ref())
                )
            }
            Self::Ghost { name, master } => write!(f, "{name}: listed as {master:?}, but not held there"),
            Self::Reserved { name, master } => write!(f, "{name}: still {master:?}"),
            Self::Unlisted { name, backend, master } => {
                write!(f, "{name}: held by {backend}, but the master has {}", told(master.as_ref()))
            }
            Self::Held { name, master, backend } => {
                write!(f, "{name}: master has {master:?}, its backend {backend:?}")
            }
            Self::MasterDied => f.write_str("the master's mupdate process is not the one it was"),
        }
    }
}

fn told(entry: Option<&Entry>) -> String {
    entry.map_or("nothing".to_owned(), |entry| format!("{entry:?}"))
}

/// What to compare, and what the master's process was when the story began.
#[derive(Clone, Debug)]
pub struct Agreement<'a> {
    murder: &'a Murder,
    ravenry: Option<SocketAddr>,
    master_process: Option<String>,
}

impl<'a> Agreement<'a> {
    /// Remembers the master's process; it should be running.
    pub async fn begin(murder: &'a Murder) -> Result<Self> {
        let master_process = murder.mm.mupdate_process().await?;
        ensure!(master_process.is_some(), "the master does not run");
        Ok(Self { murder, ravenry: None, master_process })
    }

    /// Ravenry's list is compared too, as it answers LIST at this address.
    pub fn with_ravenry(mut self, address: SocketAddr) -> Self {
        self.ravenry = Some(address);
        self
    }

    /// The story itself restarted the master: what runs now is what must go on running.
    pub async fn master_was_restarted(&mut self) -> Result<()> {
        self.master_process = self.murder.mm.mupdate_process().await?;
        Ok(())
    }

    /// Everything that does not agree at this moment.
    pub async fn differences(&self) -> Result<Vec<Difference>> {
        let mut found = Vec::new();
        if self.murder.mm.mupdate_process().await? != self.master_process {
            found.push(Difference::MasterDied);
        }
        let master = self.murder.mm.dump().await?;
        if let Some(address) = self.ravenry {
            let list = dump_of(Mupdate::login(address).await?.list(None).await?);
            compare_lists("ravenry", &master, &list, &mut found);
        }
        for frontend in self.murder.frontends() {
            compare_lists(frontend.name(), &master, &frontend.dump().await?, &mut found);
        }
        let mut held = BTreeMap::new();
        for backend in self.murder.backends() {
            held.insert(backend.server(), backend.dump().await?);
        }
        compare_backends(&master, &held, &mut found);
        Ok(found)
    }

    /// Waits until everything agrees. Returns how long it took; the error lists what does not.
    pub async fn reached_within(&self, limit: Duration) -> Result<Duration> {
        self.reached_but_for(limit, |_| false).await
    }

    /// Waits until everything agrees but for differences that the story expects.
    pub async fn reached_but_for(
        &self,
        limit: Duration,
        expected: impl Fn(&Difference) -> bool,
    ) -> Result<Duration> {
        let (_, time) = eventually(limit, "the murder agreeing", async || {
            let mut found = self.differences().await?;
            found.retain(|difference| !expected(difference));
            if found.is_empty() { Ok(Some(())) } else { bail!("{}", report(&found)) }
        })
        .await?;
        Ok(time)
    }

    /// Asks both backends what `ctl_mboxlist -m` would do now: nothing.
    ///
    /// But for one thing. A renamed mailbox is announced without its partition, and then the preview would
    /// announce it again, outage or no outage: that is allowed for exactly those names of the backend's that the
    /// master lists without a partition.
    pub async fn nothing_to_push(&self) -> Result<()> {
        let master = self.murder.mm.dump().await?;
        for backend in self.murder.backends() {
            let bare = format!("{}!", backend.server());
            let preview = backend.mboxlist_preview().await?.success()?;
            for line in preview.stdout.lines().chain(preview.stderr.lines()).map(str::trim) {
                let name = line.strip_prefix("Force Activate:").map(str::trim);
                let entry = name.and_then(|name| master.get(name));
                ensure!(
                    line.is_empty() || entry.is_some_and(|entry| entry.location == bare),
                    "ctl_mboxlist -mw on {}: {line} (the master has {})",
                    backend.name(),
                    told(entry)
                );
            }
        }
        Ok(())
    }
}

/// Differences as text, one a line; only so many, since a lost list differs everywhere.
pub fn report(differences: &[Difference]) -> String {
    let mut text = format!("{} differences", differences.len());
    for difference in differences.iter().take(SHOWN) {
        text.push_str(&format!("\n  {difference}"));
    }
    if differences.len() > SHOWN {
        text.push_str("\n  …");
    }
    text
}

/// A list from data lines.
pub fn dump_of(records: Vec<Record>) -> Dump {
    Dump(records.into_iter().filter_map(|record| Some((record.name, record.entry?))).collect())
}

/// Compares a list with the master's, name by name.
pub fn compare_lists(whose: &str, master: &Dump, there: &Dump, found: &mut Vec<Difference>) {
    let names: BTreeSet<&String> = master.0.keys().chain(there.0.keys()).collect();
    for name in names {
        let (master, there) = (master.get(name), there.get(name));
        if master != there {
            found.push(Difference::List {
                whose: whose.to_owned(),
                name: name.clone(),
                master: master.cloned(),
                there: there.cloned(),
            });
        }
    }
}

/// Compares the master's list with what the backends hold.
fn compare_backends(master: &Dump, held: &BTreeMap<String, Dump>, found: &mut Vec<Difference>) {
    for (name, entry) in &master.0 {
        if entry.state == State::Reserved {
            found.push(Difference::Reserved { name: name.clone(), master: entry.clone() });
            continue;
        }
        let backend = entry.server().and_then(|server| held.get(server)).and_then(|dump| dump.get(name));
        match backend.filter(|backend| backend.is_local()) {
            None => found.push(Difference::Ghost { name: name.clone(), master: entry.clone() }),
            Some(backend) if !same_mailbox(entry, backend) => found.push(Difference::Held {
                name: name.clone(),
                master: entry.clone(),
                backend: backend.clone(),
            }),
            Some(_) => {}
        }
    }
    for (server, dump) in held {
        for (name, _) in dump.local() {
            let entry = master.get(name);
            let listed = |entry: &&Entry| entry.state == State::Active && entry.server() == Some(server);
            if entry.filter(listed).is_none() {
                let (name, backend) = (name.clone(), server.clone());
                found.push(Difference::Unlisted { name, backend, master: entry.cloned() });
            }
        }
    }
}

/// From 3.6 a renamed mailbox is announced without its partition: an empty one says nothing.
fn same_mailbox(master: &Entry, backend: &Entry) -> bool {
    let partition = master.location.split_once('!').map_or("", |(_, partition)| partition);
    (partition.is_empty() || partition == backend.location) && master.acl == backend.acl
}
