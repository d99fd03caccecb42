//! A positive control (rule 12): a mailbox that a backend must hold. Whoever denies it proves nothing by denying others.

use crate::authority::facts::Unreadable;
use crate::backends::{BackendError, Backends, Round};
use crate::list::{Entry, Location, MailboxName};
use crate::store::{Snapshot, StoreError};

/// Why a backend that denies a name is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unproved {
    #[error("no other mailbox of {0} to compare with")]
    NoControl(String),
    #[error("{0} denies a mailbox that it must hold: what it says of others proves nothing")]
    Unbelievable(String),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

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

/// Asks a server that denied a name for a positive control among the mailboxes that fit. To be asked afterwards: had the server
/// lost its list while it answered, it would deny this one too.
pub(crate) async fn proved(
    list: &Snapshot,
    denied: &MailboxName,
    server: &str,
    fits: impl Fn(&MailboxName) -> bool,
    round: &mut Round,
    backends: &Backends,
) -> Result<(), Unproved> {
    let place = Location::new(&[server.as_bytes(), b"!"].concat());
    let place = place.map_err(|error| Unreadable(error.to_string()))?;
    let control = control(list, denied, &place, fits).map_err(Unreadable::from)?;
    let control = control.ok_or_else(|| Unproved::NoControl(server.to_owned()))?;
    if round.ask(backends, server, async |session| session.holds(&control).await).await? {
        Ok(())
    } else {
        Err(Unproved::Unbelievable(server.to_owned()))
    }
}
