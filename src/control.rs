//! A positive control (rule 12): a mailbox that a backend must hold. Whoever denies it proves nothing by denying others.

use std::collections::HashSet;

use crate::authority::facts::Unreadable;
use crate::backends::{BackendError, Backends, Round, Session};
use crate::list::{Entry, Location, MailboxName};
use crate::store::Snapshot;

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

/// How much of the list is looked through, behind the name and, where nothing there is held, at the beginning.
const SEARCHED_BYTES: usize = 1 << 20;

/// So many mailboxes of each part may serve: some are ghosts themselves.
const OF_EACH: usize = 8;

/// Asks the server that denied a name for mailboxes that the list places there too, until it holds one: those near `denied`, then
/// those at the list's beginning. To be asked afterwards and on the same session: had the server lost its list while it
/// answered, it would deny those too. Only mailboxes that fit are asked for.
pub(crate) async fn believed(
    session: &mut Session,
    list: &Snapshot,
    denied: &MailboxName,
    place: &Location,
    fits: impl Fn(&MailboxName) -> bool,
) -> Result<(), Unproved> {
    let mut asked = HashSet::new();
    for after in [Some(denied), None] {
        let is_new = |other: &MailboxName| other != denied && !asked.contains(other) && fits(other);
        for control in controls(list, after, place, is_new)? {
            if session.holds(&control).await? {
                return Ok(());
            }
            asked.insert(control);
        }
    }
    let server = String::from_utf8_lossy(place.server()).into_owned();
    Err(if asked.is_empty() { Unproved::NoControl(server) } else { Unproved::Unbelievable(server) })
}

/// As [`believed`], in one of a round's conversations.
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
    let asked = round.ask(backends, server, async |session| {
        match believed(session, list, denied, &place, fits).await {
            Err(Unproved::Backend(error)) => Err(error),
            answer => Ok(answer),
        }
    });
    asked.await?
}

/// Some mailboxes behind a name that the list places on the same server, in the order in which they are to be asked for.
/// Users' inboxes come first: they are ghosts least of all.
fn controls(
    list: &Snapshot,
    after: Option<&MailboxName>,
    place: &Location,
    fits: impl Fn(&MailboxName) -> bool,
) -> Result<Vec<MailboxName>, Unreadable> {
    let suits = |(other, held): &(MailboxName, Entry)| {
        held.is_active() && held.location.same_server(place) && fits(other)
    };
    let part = list.chunk(after, SEARCHED_BYTES)?.into_iter().filter(suits).map(|(other, _)| other);
    let (inboxes, others): (Vec<_>, Vec<_>) = part.partition(is_inbox);
    Ok(inboxes.into_iter().chain(others).take(OF_EACH).collect())
}

/// `user.alice`, in a domain or not.
fn is_inbox(name: &MailboxName) -> bool {
    let local = name.as_bytes().rsplit(|byte| *byte == b'!').next().unwrap_or_default();
    local.strip_prefix(b"user.").is_some_and(|user| !user.contains(&b'.'))
}
