//! How long things may be.

use super::{Cause, Change, StoreError};
use crate::list::{Entry, EntryState};

/// Refuses what is longer than anything that Cyrus can send.
pub(super) fn check(change: &Change) -> Result<(), StoreError> {
    let entries = match change {
        Change::Put { entry, .. } => [Some(entry), None, None],
        Change::Remember(deed) => {
            if let Cause::Asked { identity, peer } | Cause::TakenBack { identity, peer } = &deed.cause {
                check_text("an identity", identity.len())?;
                check_text("an address", peer.len())?;
            }
            [deed.after.as_ref(), None, None]
        }
        Change::Journal(record) => {
            check_text("an identity", record.identity.len())?;
            check_text("an address", record.peer.len())?;
            [record.before.as_ref(), record.after.as_ref(), None]
        }
        Change::Doubt { doubt, .. } => [doubt.effect.as_ref(), None, None],
        Change::Underway { underway, .. } => {
            check_text("an identity", underway.identity.len())?;
            check_text("an address", underway.peer.len())?;
            [underway.before.as_ref(), None, None]
        }
        Change::Conflict(c) => [c.base.as_ref(), c.theirs.as_ref(), c.ours.as_ref()],
        Change::Unconfirmed { theirs, .. } => [theirs.as_ref(), None, None],
        Change::Synced(synced) => {
            check_text("a master's name", synced.master.len())?;
            check_text("a master's version", synced.version.len())?;
            [None, None, None]
        }
        Change::Expected { server, .. } | Change::Ghost { server, .. } => {
            check_text("a server's name", server.len())?;
            [None, None, None]
        }
        Change::Remove { .. }
        | Change::Settle { .. }
        | Change::Undoubt { .. }
        | Change::ResolveConflict { .. }
        | Change::Confirm { .. }
        | Change::Ended { .. }
        | Change::Attended { .. }
        | Change::Reseeding(_)
        | Change::Held { .. }
        | Change::SetOrder(_) => [None, None, None],
    };
    entries.into_iter().flatten().try_for_each(check_entry)
}

pub(super) fn check_entry(entry: &Entry) -> Result<(), StoreError> {
    match &entry.state {
        EntryState::Reserved => Ok(()),
        EntryState::Active(acl) => check_text("an access control list", acl.as_bytes().len()),
    }
}

fn check_text(what: &'static str, len: usize) -> Result<(), StoreError> {
    let max = Change::MAX_TEXT;
    match len > max {
        true => Err(StoreError::TooLong { what, len, max }),
        false => Ok(()),
    }
}
