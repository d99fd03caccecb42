//! Whether the process makes progress, and whether it may serve.

use std::time::Duration;

use super::Desk;
use crate::authority::namespace::Namespace as _;
use crate::spool::Spool;

/// The authority comes round every second; after so long without that it is stuck.
const STUCK: Duration = Duration::from_secs(15);
/// A list of a million names is on disk within seconds; a store that has been at one thing for so long is stuck.
const STORE_STUCK: Duration = Duration::from_secs(60);
/// A group of messages is some MiB, and a slow disk has it in seconds; longer than that an MTA does not wait for its 250.
/// As generous as the store's: a restart does not mend a disk that is only slow.
const QUEUE_STUCK: Duration = Duration::from_secs(60);

/// The error says since when nothing has moved.
pub(super) fn alive(desk: &Desk) -> Result<(), String> {
    let silence = desk.authority.silence();
    if silence >= STUCK {
        return Err(format!("the authority has not come round for {} s", silence.as_secs()));
    }
    let silence = desk.authority.store().silence();
    if silence >= STORE_STUCK {
        return Err(format!("the store has been at the same commit for {} s", silence.as_secs()));
    }
    match desk.spool().map_or(Duration::ZERO, Spool::silence) {
        silence if silence < QUEUE_STUCK => Ok(()),
        silence => Err(format!("the queue has been at the same write for {} s", silence.as_secs())),
    }
}

/// Whether there is a list that may be served; either way with the present state.
pub(super) fn ready(desk: &Desk) -> Result<String, String> {
    let state = desk.authority.standing().borrow().state.word().to_owned();
    if desk.authority.may_serve() { Ok(state) } else { Err(state) }
}

/// Both, as it was asked.
pub(super) fn attend(desk: &Desk, wanted_ready: bool) -> Result<String, String> {
    alive(desk)?;
    if wanted_ready { ready(desk).map_err(|state| format!("not ready: {state}")) } else { Ok("alive".into()) }
}
