//! A positive control (rule 12): a mailbox that a backend must hold. Whoever denies it proves nothing by denying others.

use crate::authority::facts::Unreadable;
use crate::backends::{BackendError, Backends, Round, Session};
use crate::list::{Entry, Location, MailboxName};
use crate::store::{Snapshot, StoreError};

/// Why a backend that denies a name is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unproved {
    #[error("no other mailbox of {0} to compare with")]
    NoControl(String),
    #[error("{0} denies every mailbox that it must hold: what it says of others proves nothing")]
    Unbelievable(String),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// How much of the list is looked through, behind the name and at the beginning.
const SEARCHED_BYTES: usize = 1 << 20;

/// So many mailboxes of each part may serve: some are ghosts themselves.
const OF_EACH: usize = 8;

/// Mailboxes that the list places on the same server, in the order in which they are to be asked for: those near `name`, then those at
/// the list's beginning. Users' inboxes come first: they are ghosts least of all.
pub(crate) fn controls(
    list: &Snapshot,
    name: &MailboxName,
    place: &Location,
    fits: impl Fn(&MailboxName) -> bool,
) -> Result<Vec<MailboxName>, StoreError> {
    let mut controls: Vec<MailboxName> = Vec::new();
    for after in [Some(name), None] {
        let part = list.chunk(after, SEARCHED_BYTES)?;
        let suits = |(other, held): &(MailboxName, Entry)| {
            other != name && held.is_active() && held.location.same_server(place) && fits(other)
        };
        let (inboxes, others): (Vec<_>, Vec<_>) =
            part.into_iter().filter(suits).map(|(other, _)| other).partition(is_inbox);
        let new = inboxes.into_iter().chain(others).filter(|other| !controls.contains(other)).take(OF_EACH);
        controls.extend(new.collect::<Vec<_>>());
    }
    Ok(controls)
}

/// `user.alice`, in a domain or not.
fn is_inbox(name: &MailboxName) -> bool {
    let local = name.as_bytes().rsplit(|byte| *byte == b'!').next().unwrap_or_default();
    local.strip_prefix(b"user.").is_some_and(|user| !user.contains(&b'.'))
}

/// Whether a server holds one of these at least.
pub(crate) async fn holds_any(session: &mut Session, controls: &[MailboxName]) -> Result<bool, BackendError> {
    for control in controls {
        if session.holds(control).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks a server that denied a name for a positive control among the mailboxes that fit. To be asked afterwards: had the server
/// lost its list while it answered, it would deny those too.
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
    let controls = controls(list, denied, &place, fits).map_err(Unreadable::from)?;
    if controls.is_empty() {
        return Err(Unproved::NoControl(server.to_owned()));
    }
    if round.ask(backends, server, async |session| holds_any(session, &controls).await).await? {
        Ok(())
    } else {
        Err(Unproved::Unbelievable(server.to_owned()))
    }
}
