//! The master's list, while it arrives: compared with ours, or taken in its place.

use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::comparer::{Aside, Compared, Comparer};
use crate::authority::differ::Differ;
use crate::authority::master::{LinkEpoch, LinkEvent, MasterIdentity};
use crate::authority::recorded::{conflicting, journalled, unconfirmed};
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Loader, Store, StoreError, Synced};

/// What is done with the list of the present connection.
pub(super) enum Intake {
    /// No connection, or its list is through.
    Idle,
    /// It arrives, and is compared with ours.
    Reading { comparer: Comparer, loader: Option<Loader>, began: Began, names: u64 },
    /// It is whole, and what comes of the comparison is awaited. What the master does next waits too: it
    /// concerns a list that is not ours yet.
    Judging { compared: oneshot::Receiver<Compared>, loader: Option<Loader>, began: Began },
}

/// Which connection, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) epoch: LinkEpoch,
    pub(super) at: Instant,
}

/// What arrives next.
pub(super) enum Arrival {
    /// From the link.
    Told(LinkEvent),
    /// The list is compared. With a loader, it becomes ours, if what that takes away is what a person has confirmed.
    Compared(Compared, Option<Loader>, Began),
}

impl Intake {
    pub(super) async fn begin(
        store: &Store,
        epoch: LinkEpoch,
        replace: bool,
        aside: &Aside,
    ) -> Result<Self, StoreError> {
        let began = Began { epoch, at: Instant::now() };
        let snapshot = store.snapshot()?;
        let (differ, loader) = match replace {
            true => (Differ::counting(snapshot), Some(store.begin_load().await?)),
            false => (Differ::new(snapshot), None),
        };
        Ok(Self::Reading { comparer: Comparer::begin(aside, differ), loader, began, names: 0 })
    }

    /// Waits for what comes next. May be given up and called again.
    pub(super) async fn next(&mut self, link: &mut mpsc::Receiver<LinkEvent>) -> Option<Arrival> {
        match self {
            Self::Idle => {}
            Self::Reading { comparer, .. } => comparer.room().await,
            Self::Judging { compared, .. } => {
                let compared = compared.await.unwrap_or(Err(StoreError::Closed));
                if let Self::Judging { loader, began, .. } = std::mem::replace(self, Self::Idle) {
                    return Some(Arrival::Compared(compared, loader, began));
                }
            }
        }
        link.recv().await.map(Arrival::Told)
    }

    /// Whether the link may be listened to at once.
    pub(super) fn listens(&self) -> bool {
        match self {
            Self::Idle => true,
            Self::Reading { comparer, .. } => comparer.has_room(),
            Self::Judging { .. } => false,
        }
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self, Self::Reading { loader: Some(_), .. })
    }

    /// How many names of the master's list were read so far, while it arrives.
    pub(super) fn read(&self) -> Option<u64> {
        match self {
            Self::Reading { names, .. } => Some(*names),
            Self::Idle | Self::Judging { .. } => None,
        }
    }

    /// Takes in the next part of the list.
    pub(super) async fn push(
        &mut self,
        epoch: LinkEpoch,
        part: Vec<(MailboxName, Entry)>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Reading { comparer, loader, began, names } if began.epoch == epoch => {
                *names += part.len() as u64;
                if let Some(loader) = loader {
                    loader.put(part.clone()).await?;
                }
                comparer.push(part);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The master said that its list is whole.
    pub(super) fn complete(&mut self, epoch: LinkEpoch) {
        *self = match std::mem::replace(self, Self::Idle) {
            Self::Reading { comparer, loader, began, .. } if began.epoch == epoch => {
                Self::Judging { compared: comparer.complete(began.at.elapsed()), loader, began }
            }
            _ => Self::Idle,
        };
    }
}

/// The master's list takes the place of ours: there is nothing left to replay, to confirm or to decide.
pub(super) async fn replace_ours(store: &Store, loader: Loader, synced: Synced) -> Result<(), StoreError> {
    loader.finish(synced).await?;
    forget_what_we_owed(store).await
}

/// The master's list is ours now: there is nothing left to replay, to confirm or to decide.
async fn forget_what_we_owed(store: &Store) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    let mut changes: Vec<Change> = Vec::new();
    changes.extend(journalled(&snapshot)?.into_iter().map(|name| Change::Settle { name, upto: u64::MAX }));
    changes.extend(conflicting(&snapshot)?.into_iter().map(|name| Change::ResolveConflict { name }));
    changes.extend(unconfirmed(&snapshot)?.into_iter().map(|name| Change::Confirm { name }));
    if !changes.is_empty() {
        store.commit(changes).await?;
    }
    Ok(())
}

/// A list that the murder lives by is ours now. What we owed the master is owed still where that list shows that
/// it came to pass; a name that went on without us is not taken back to what it was.
pub(super) async fn forget_what_is_overtaken(store: &Store) -> Result<(), StoreError> {
    let snapshot = store.snapshot()?;
    let mut changes: Vec<Change> = Vec::new();
    for name in journalled(&snapshot)? {
        let newest = snapshot.journal_of(&name)?.pop().and_then(|journalled| journalled.record.after);
        if newest != snapshot.get(&name)? {
            changes.push(Change::Settle { name, upto: u64::MAX });
        }
    }
    changes.extend(conflicting(&snapshot)?.into_iter().map(|name| Change::ResolveConflict { name }));
    changes.extend(unconfirmed(&snapshot)?.into_iter().map(|name| Change::Confirm { name }));
    if !changes.is_empty() {
        store.commit(changes).await?;
    }
    Ok(())
}

/// The record of a completed comparison.
pub(super) fn synced(identity: Option<&MasterIdentity>, at_unix: u64) -> Synced {
    let text = |pick: fn(&MasterIdentity) -> &String| identity.map(pick).cloned().unwrap_or_default();
    Synced { master: text(|i| &i.servername), version: text(|i| &i.version), at_unix }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Acl, Location};
    use crate::store::{JournalRecord, Options, Verb};

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text.as_bytes()).unwrap()
    }

    fn active(location: &str) -> Entry {
        Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(b"a\tlrs\t"))
    }

    fn owed(user: &str, verb: Verb, before: Option<Entry>, after: Option<Entry>) -> Change {
        let (identity, peer) = ("murder".to_owned(), "127.0.0.1:1".to_owned());
        Change::Journal(JournalRecord { name: name(user), verb, before, after, identity, peer, at_unix: 1 })
    }

    #[tokio::test]
    async fn a_delete_of_a_name_that_was_made_anew_since_is_not_owed_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("list"), Options::default()).unwrap();
        let (old, new) = (active("be1!default"), active("be2!default"));
        store
            .commit(vec![
                owed("user.anew", Verb::Delete, Some(old.clone()), None),
                owed("user.gone", Verb::Delete, Some(old.clone()), None),
                owed("user.made", Verb::Activate, None, Some(new.clone())),
                owed("user.moved", Verb::Activate, None, Some(old.clone())),
            ])
            .await
            .unwrap();
        let mut loader = store.begin_load().await.unwrap();
        let learned = ["user.anew", "user.made", "user.moved"].map(|user| (name(user), new.clone()));
        loader.put(learned.to_vec()).await.unwrap();
        loader.finish(synced(None, 1)).await.unwrap();
        forget_what_is_overtaken(&store).await.unwrap();
        let snapshot = store.snapshot().unwrap();
        let left = snapshot.journalled_names(None, 10).unwrap();
        assert_eq!(left, [name("user.gone"), name("user.made")]);
    }
}
