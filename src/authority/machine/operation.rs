//! Operations: what a backend asks for on one connection, taken back when the backend takes it back.
//!
//! A backend opens a connection for each operation: CREATE is RESERVE and ACTIVATE, a RENAME or a delayed DELETE
//! is DELETE, RESERVE and ACTIVATE; then comes LOGOUT. When a step is refused, or its reply never comes, the
//! backend undoes its own side and tells the user NO (Cyrus, `mboxlist.c`), but says nothing more to its master.
//! What the list was told before must go as well: otherwise a reserved or active name stays that nobody holds,
//! or the old name of a mailbox that was not renamed after all is gone.
//!
//! So the first state of each name that an operation takes or frees is remembered while it lasts. Only in
//! memory: after a kill of this process nobody knows how the backend saw the end.

use std::time::Duration;

use super::{Call, Decision, Job, Machine, Now};
use crate::authority::facts::Facts;
use crate::authority::write::{Origin, SessionId, Write};
use crate::list::{Entry, EntryState, MailboxName};

/// An operation has two names. A connection that takes or frees more is a tool's, and takes nothing back.
const NAMES: usize = 8;

/// What an unfinished operation did to a name.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Claim {
    session: SessionId,
    origin: Origin,
    /// What the name was before.
    before: Option<Entry>,
}

impl Machine {
    /// A write was done; the list held `before` until then, and holds `after` now.
    pub(super) fn note(&mut self, call: &Call, before: &Option<Entry>, after: &Option<Entry>) {
        let (name, by) = (call.write.name(), call.origin.session);
        let begins = matches!(call.write, Write::Reserve { .. } | Write::Delete { .. });
        let origin = &call.origin;
        match (self.claims.get_mut(name), by) {
            (Some(claim), Some(session)) if claim.session == session => return,
            // The user tries again before the end of the first try was heard: it is the second one's now.
            (Some(claim), Some(session)) if begins => {
                claim.session = session;
                claim.origin = origin.clone();
            }
            (Some(_), _) => {
                self.claims.remove(name);
                return;
            }
            (None, Some(session)) if begins && before != after => {
                let before = before.clone();
                self.claims.insert(name.clone(), Claim { session, origin: origin.clone(), before });
            }
            (None, _) => return,
        }
        let Some(session) = by else { return };
        let names = self.operations.entry(session).or_default();
        names.push(name.clone());
        if names.len() > NAMES {
            self.finished(session);
        }
    }

    /// A connection has ended: its operation is complete, or the backend has taken its own side back.
    pub(super) fn ended(&mut self, session: SessionId, complete: bool) {
        if complete {
            return self.finished(session);
        }
        let mut names = self.operations.remove(&session).unwrap_or_default();
        // What it was told NO about because nobody could say more in time may yet be done.
        for (name, slot) in &self.names {
            if slot.calls().any(|call| call.origin.session == Some(session)) && !names.contains(name) {
                names.push(name.clone());
            }
        }
        for name in names.into_iter().rev() {
            self.enqueue(name, Job::TakeBack(session));
        }
    }

    fn finished(&mut self, session: SessionId) {
        for name in self.operations.remove(&session).unwrap_or_default() {
            if self.claims.get(&name).is_some_and(|claim| claim.session == session) {
                self.claims.remove(&name);
            }
        }
    }

    /// Makes a name what it was before an operation that failed, unless somebody else wrote it since.
    pub(super) fn take_back(&mut self, name: &MailboxName, session: SessionId, now: Now, facts: &dyn Facts) {
        self.operations.remove(&session);
        if self.claims.get(name).is_none_or(|claim| claim.session != session) {
            return;
        }
        let Some(Claim { origin, before, .. }) = self.claims.remove(name) else { return };
        let origin = Origin { session: None, ..origin };
        match facts.entry(name) {
            Ok(held) if held == before => return,
            Ok(_) => {}
            Err(why) => return self.unreadable(&why),
        }
        let name = name.clone();
        self.out.push(Decision::Notice(format!(
            "an operation of {} on {name} came to nothing: taken back",
            origin.peer
        )));
        let write = match before {
            None => Write::Delete { name },
            Some(Entry { location, state: EntryState::Active(acl) }) => {
                Write::Activate { name, location, acl }
            }
            Some(Entry { location, state: EntryState::Reserved }) => Write::Reserve { name, location },
        };
        self.start_call(Call { id: None, write, origin, expires: Duration::MAX }, now, facts);
    }
}
