//! `ctl_mboxlist -m`, disarmed (rule 4).
//!
//! A backend runs it at its start: it asks for what the master lists of it (`LIST "server!"`), asks with FIND for
//! what differs, **wipes its own mailbox** where FIND names another server, DELETEs at the master what it lacks
//! itself, and ACTIVATEs what the master lacks. With a stale list, or a stale backend, that destroys mail or
//! hides it. A connection that begins like that is answered NO wherever an honest answer could destroy
//! something; it then leaves the name alone.

use crate::list::{Entry, Location};
use crate::rules::{Rule, kept};

/// Such a connection is refused with these words.
pub(super) const REFUSED: &str = "temporary failure";

/// What is known of one connection.
#[derive(Debug, Default)]
pub(super) enum Disarm {
    /// No command yet.
    #[default]
    Fresh,
    /// It began with something else: an ordinary backend or frontend.
    Ordinary,
    /// It began with `LIST "server!"`.
    Armed {
        /// The server it speaks for.
        server: Vec<u8>,
        /// How many DELETEs it may still send.
        deletes: u64,
    },
}

impl Disarm {
    /// The first command of a connection decides what it is.
    pub(super) fn begin(&mut self, prefix: Option<&[u8]>) {
        if let Self::Fresh = self {
            *self = match prefix.and_then(|prefix| prefix.strip_suffix(b"!")) {
                Some(server) if !server.is_empty() => {
                    Self::Armed { server: server.to_vec(), deletes: u64::MAX }
                }
                _ => Self::Ordinary,
            };
        }
    }

    /// The list has been sent and had so many names of the server: more DELETEs than 1 % of them, or 100,
    /// whichever is more, are a backend that lost its own list, not one that tidies up (rule 10).
    pub(super) fn listed(&mut self, names: u64) {
        if let Self::Armed { deletes, .. } = self {
            *deletes = (*deletes).min((names / 100).max(100));
        }
    }

    /// Whether FIND may show this entry.
    pub(super) fn may_find(&self, held: Option<&Entry>) -> bool {
        match (self, held) {
            (Self::Armed { server, .. }, Some(held)) if kept(Rule::FindNeverGuesses) => {
                held.location.server() == server
            }
            _ => true,
        }
    }

    /// Whether ACTIVATE at a location may replace what is held.
    pub(super) fn may_activate(&self, location: &Location, held: Option<&Entry>) -> bool {
        match (self, held) {
            (Self::Armed { .. }, Some(held)) => held.location.same_server(location),
            _ => true,
        }
    }

    /// Whether one more DELETE of what is held is believed.
    pub(super) fn may_delete(&mut self, held: Option<&Entry>) -> bool {
        match (self, held) {
            (Self::Armed { server, deletes }, Some(held)) => {
                if held.location.server() != server || *deletes == 0 {
                    return false;
                }
                *deletes -= 1;
                true
            }
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Acl;

    fn at(location: &str) -> Entry {
        Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(b"a\tlrs"))
    }

    fn armed() -> Disarm {
        let mut disarm = Disarm::default();
        disarm.begin(Some(b"be1.murder.test!"));
        disarm
    }

    #[test]
    fn rule_4_a_backend_is_never_told_that_its_mailbox_is_elsewhere() {
        let (own, other) = (at("be1.murder.test!default"), at("be2.murder.test!default"));
        let disarm = armed();
        assert!(disarm.may_find(Some(&own)) && disarm.may_find(None));
        assert!(!disarm.may_find(Some(&other)));
        assert!(!disarm.may_activate(&own.location, Some(&other)));
        let mut ordinary = Disarm::default();
        ordinary.begin(None);
        assert!(ordinary.may_find(Some(&other)) && ordinary.may_activate(&own.location, Some(&other)));
    }

    #[test]
    fn rule_4_a_backend_that_lost_its_list_does_not_empty_the_masters() {
        let own = at("be1.murder.test!default");
        for (names, allowed) in [(10, 100), (20_000, 200)] {
            let mut disarm = armed();
            disarm.listed(names);
            let granted = (0..1000).filter(|_| disarm.may_delete(Some(&own))).count();
            assert_eq!(granted, allowed);
        }
        assert!(!armed().may_delete(Some(&at("be2.murder.test!default"))));
    }

    #[test]
    fn only_the_first_command_arms() {
        let mut disarm = Disarm::default();
        disarm.begin(None);
        disarm.begin(Some(b"be1.murder.test!"));
        assert!(matches!(disarm, Disarm::Ordinary));
    }
}
