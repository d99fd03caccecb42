//! The master's list, while it arrives: compared with ours, or taken in its place.

use std::time::Instant;

use crate::authority::differ::Differ;
use crate::authority::facts::Difference;
use crate::authority::master::{LinkEpoch, MasterIdentity};
use crate::authority::recorded::{conflicting, journalled, unconfirmed};
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Loader, Snapshot, Store, StoreError, Synced};

/// What is done with the list of the present connection.
pub(super) enum Intake {
    /// No connection, or its list is through.
    Idle,
    /// It becomes our list, if what that takes away is what a person has confirmed.
    Loading { loader: Loader, differ: Box<Differ>, began: Began },
    /// It is compared with ours.
    Comparing(Box<Differ>, Began),
}

/// Which connection, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) epoch: LinkEpoch,
    pub(super) at: Instant,
}

/// What a complete list amounts to.
pub(super) enum Outcome {
    Loaded(Began),
    /// It is not put in the place of ours, and why.
    Unwanted(String),
    Compared(Difference, Box<Snapshot>),
    Nothing,
}

impl Intake {
    pub(super) async fn begin(store: &Store, epoch: LinkEpoch, replace: bool) -> Result<Self, StoreError> {
        let began = Began { epoch, at: Instant::now() };
        Ok(if replace {
            let differ = Box::new(Differ::counting(store.snapshot()?));
            Self::Loading { loader: store.begin_load().await?, differ, began }
        } else {
            Self::Comparing(Box::new(Differ::new(store.snapshot()?)), began)
        })
    }

    pub(super) async fn push(
        &mut self,
        epoch: LinkEpoch,
        part: Vec<(MailboxName, Entry)>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Loading { loader, differ, began } if began.epoch == epoch => {
                differ.push(part.clone())?;
                loader.put(part).await
            }
            Self::Comparing(differ, began) if began.epoch == epoch => differ.push(part),
            _ => Ok(()),
        }
    }

    /// The master said that its list is whole.
    pub(super) async fn complete(
        &mut self,
        store: &Store,
        epoch: LinkEpoch,
        synced: Synced,
        may_replace: impl FnOnce(&Difference) -> Result<(), String>,
    ) -> Result<Outcome, StoreError> {
        match std::mem::replace(self, Self::Idle) {
            Self::Loading { loader, differ, began } if began.epoch == epoch => {
                let (difference, _) = differ.finish(began.at.elapsed())?;
                if let Err(why) = may_replace(&difference) {
                    return Ok(Outcome::Unwanted(why));
                }
                loader.finish(synced).await?;
                forget_what_we_owed(store).await?;
                Ok(Outcome::Loaded(began))
            }
            Self::Comparing(differ, began) if began.epoch == epoch => {
                let (difference, snapshot) = differ.finish(began.at.elapsed())?;
                Ok(Outcome::Compared(difference, Box::new(snapshot)))
            }
            _ => Ok(Outcome::Nothing),
        }
    }
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
