//! Operations: what a backend asks for on one connection, taken back when the backend takes it back.
//!
//! A backend opens a connection for each operation: CREATE is RESERVE and ACTIVATE, a RENAME or a delayed DELETE
//! is DELETE, RESERVE and ACTIVATE; then comes LOGOUT. When a step is refused, or its reply never comes, the
//! backend undoes its own side and tells the user NO (Cyrus, `mboxlist.c`), but says nothing more to its master.
//! What the list was told before must go as well: otherwise a reserved or active name stays that nobody holds,
//! or the old name of a mailbox that was not renamed after all is gone.
//!
//! So the first state of each name that an operation takes or frees is remembered while it lasts, in memory and on
//! disk ([`super::underway`]): where this process is killed meanwhile, nobody tells the next one how the backend saw
//! the end, and it has to ask. Where two operations come to one name, [`super::claim`] tells what becomes of it.

use std::time::Duration;

use super::claim::{By, Claim};
use super::{Call, Decision, Job, Machine, Now};
use crate::authority::facts::Facts;
use crate::authority::write::{Origin, SessionId, Write};
use crate::list::{Entry, EntryState, MailboxName};

/// An operation has two names. A connection that takes or frees more is a tool's, and takes nothing back.
const NAMES: usize = 8;

impl Machine {
    /// A write was done; the list held `before` until then, and holds `after` now.
    pub(super) fn note(&mut self, call: &Call, before: &Option<Entry>, after: &Option<Entry>) {
        let (name, by) = (call.write.name(), call.origin.session);
        let begins = matches!(call.write, Write::Reserve { .. } | Write::Delete { .. });
        match (self.claims.get_mut(name), by) {
            (Some(claim), Some(session)) if claim.by == By::Session(session) => return,
            // The end of the operation before was not heard yet, be it that the user tries again: it is this one's now.
            (Some(claim), Some(session)) if begins => {
                if !claim.pass(call, session, before, self.unix) {
                    return self.disclaim(name);
                }
            }
            // We take an operation back on behalf of the one before.
            (Some(claim), None) if call.id.is_none() && matches!(claim.by, By::Session(_)) => return,
            (Some(_), _) => return self.disclaim(name),
            (None, Some(session)) if begins && before != after => {
                self.claims.insert(name.clone(), Claim::of(call, session, before, self.unix));
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
        let asked = self.names.iter().filter(|(name, slot)| {
            slot.calls().any(|call| call.origin.session == Some(session)) && !names.contains(name)
        });
        names.extend(Self::in_order(asked.map(|(name, _)| name.clone())));
        for name in names.into_iter().rev() {
            self.enqueue(name, Job::TakeBack(session));
        }
    }

    fn finished(&mut self, session: SessionId) {
        for name in self.operations.remove(&session).unwrap_or_default() {
            if self.has_claim(&name, session) {
                self.disclaim(&name);
            } else if self.claims.get_mut(&name).is_some_and(|claim| claim.heard_of(session, true)) {
                self.record_anew(&name);
            }
        }
    }

    /// Makes a name what it was before an operation that failed, unless somebody else wrote it since.
    pub(super) fn take_back(&mut self, name: &MailboxName, session: SessionId, now: Now, facts: &dyn Facts) {
        self.operations.remove(&session);
        if !self.has_claim(name, session) {
            if let Some(claim) = self.claims.get_mut(name) {
                claim.heard_of(session, false);
            }
            return;
        }
        // Its record goes with the commit that makes the name what it was.
        let Some(claim) = self.claims.remove(name) else { return };
        let origin = Origin { session: None, ..claim.origin.clone() };
        let (before, next) = claim.undone();
        let is_over = next.is_none();
        self.claims.extend(next.map(|next| (name.clone(), next)));
        match facts.entry(name) {
            Ok(held) if held == before && is_over => return self.off_record(name),
            Ok(held) if held == before => return self.record_anew(name),
            Ok(_) => {}
            Err(why) => return self.unreadable(&why),
        }
        let name = name.clone();
        self.out.push(Decision::Notice(format!(
            "an operation of {} on {name} came to nothing: taken back",
            origin.peer
        )));
        let write = restoring(name, before);
        let call = Call { id: None, write, origin, expires: Duration::MAX, version: None };
        self.start_call(call, now, facts);
    }

    fn has_claim(&self, name: &MailboxName, session: SessionId) -> bool {
        self.claims.get(name).is_some_and(|claim| claim.by == By::Session(session))
    }
}

/// The write that makes a name what it was.
pub(super) fn restoring(name: MailboxName, before: Option<Entry>) -> Write {
    match before {
        None => Write::Delete { name },
        Some(Entry { location, state: EntryState::Active(acl) }) => Write::Activate { name, location, acl },
        Some(Entry { location, state: EntryState::Reserved }) => Write::Reserve { name, location },
    }
}
