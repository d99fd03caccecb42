//! A list for tests of those who ask the authority.

use std::sync::{Arc, Mutex, PoisonError};

use super::facts::Unreadable;
use super::feed::{Feed, Subscription};
use super::master::BoxFuture;
use super::namespace::Namespace;
use super::write::{Origin, Outcome, SessionId, Write};
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::store::{Change, Options, Snapshot, Store};

/// A list, and what it was asked to write: that is always done, and never seen in it.
pub(crate) struct List {
    pub(crate) store: Store,
    pub(crate) writes: Writes,
    doubted: bool,
    _dir: tempfile::TempDir,
}

/// What a list was asked to write; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Writes(Arc<Mutex<Vec<Write>>>);

impl Writes {
    pub(crate) fn all(&self) -> Vec<Write> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl List {
    /// Of mailboxes, and where they are.
    pub(crate) async fn of(mailboxes: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("list"), Options::default()).unwrap();
        let list = Self { store, writes: Writes::default(), doubted: false, _dir: dir };
        for (name, place) in mailboxes {
            list.put(name, Entry::active(at(place), Acl::new(b"bob\tlrs"))).await;
        }
        list
    }

    /// And of reservations.
    pub(crate) async fn reserving(self, names: &[(&str, &str)]) -> Self {
        for (name, place) in names {
            self.put(name, Entry::reserved(at(place))).await;
        }
        self
    }

    /// Every name is in doubt.
    pub(crate) fn doubted(self) -> Self {
        Self { doubted: true, ..self }
    }

    async fn put(&self, name: &str, entry: Entry) {
        let name = MailboxName::new(name.as_bytes()).unwrap();
        self.store.commit(vec![Change::Put { name, entry }]).await.unwrap();
    }
}

fn at(place: &str) -> Location {
    Location::new(place.as_bytes()).unwrap()
}

impl Namespace for List {
    fn write(&self, _: Origin, write: Write) -> BoxFuture<Outcome> {
        self.writes.0.lock().unwrap_or_else(PoisonError::into_inner).push(write);
        Box::pin(async { Outcome::Done })
    }
    fn ended(&self, _: SessionId, _: bool) -> BoxFuture<()> {
        Box::pin(async {})
    }
    fn barrier(&self) -> BoxFuture<()> {
        Box::pin(async {})
    }
    fn may_serve(&self) -> bool {
        true
    }
    fn snapshot(&self) -> Result<Snapshot, Unreadable> {
        Ok(self.store.snapshot()?)
    }
    fn find(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.store.get(name)?)
    }
    fn versioned(&self, name: &MailboxName) -> Result<Option<(Entry, u64)>, Unreadable> {
        Ok(self.store.snapshot()?.versioned(name)?)
    }
    fn is_current(&self) -> BoxFuture<bool> {
        Box::pin(async { true })
    }
    fn is_in_doubt(&self, _: &MailboxName) -> bool {
        self.doubted
    }
    fn subscribe(&self) -> Subscription {
        Feed::default().subscribe()
    }
}
