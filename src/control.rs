//! A positive control (rule 12): a mailbox that a backend must hold. Whoever denies it proves nothing by denying others.

use crate::list::{Entry, Location, MailboxName};
use crate::store::{Snapshot, StoreError};

/// How much of the list is looked through.
const SEARCHED_BYTES: usize = 1 << 20;

/// A mailbox that the list places on the same server: a neighbour of `name`, else one from the list's beginning.
pub(crate) fn control(
    list: &Snapshot,
    name: &MailboxName,
    place: &Location,
    fits: impl Fn(&MailboxName) -> bool,
) -> Result<Option<MailboxName>, StoreError> {
    for after in [Some(name), None] {
        let part = list.chunk(after, SEARCHED_BYTES)?;
        let suits = |(other, held): &(MailboxName, Entry)| {
            other != name && held.is_active() && held.location.same_server(place) && fits(other)
        };
        if let Some((control, _)) = part.into_iter().find(suits) {
            return Ok(Some(control));
        }
    }
    Ok(None)
}
