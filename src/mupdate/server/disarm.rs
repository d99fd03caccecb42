//! `ctl_mboxlist -m`, disarmed (rule 4).
//!
//! A backend runs it at its start (Cyrus, `ctl_mboxlist.c`): it asks for what the master lists of it (`LIST
//! "server!"`), DELETEs at the master what it lacks itself, asks with FIND for each of its own mailboxes that the
//! list did not show, and ACTIVATEs those that the master does not have. Whatever FIND shows it is fatal: a
//! mailbox on another server, or on its own under another partition (`server!`, as a rename since the LIST writes
//! it), makes it **wipe its own**; exactly its own place makes it exit. With a stale list, or a stale backend, that
//! destroys mail or hides it. So a connection that begins with LIST is answered NO wherever an honest answer could
//! destroy something:
//!
//! | command | answered NO | what Cyrus makes of the NO (seen on 3.6; read in the source of its HEAD) |
//! |---|---|---|
//! | FIND | of any name that is held, by whomever | announces its own mailbox with ACTIVATE |
//! | ACTIVATE | of a name that another server holds | "temporary failure (update continuing)"; goes on |
//! | DELETE | of a name that another server holds; of too many | exits with 1: at its start the backend stays down |
//!
//! Too many DELETEs are more than 100 and more than 1 % of what the list shows of the server, or all of that: a
//! backend that lost its list, not one that tidies up (rule 10). What the connection had deleted until then is
//! put back. A person can allow more (`ravenry allow-removals`).

use crate::list::{Entry, Location, MailboxName};
use crate::rules::{Rule, kept};

/// Such a connection is refused with these words.
pub(crate) const REFUSED: &str = "temporary failure";

/// A DELETE too many is refused with these.
pub(crate) const TOO_MANY: &str = "too many removals; see ravenry allow-removals";

/// What is known of one connection.
#[derive(Debug, Default)]
pub(crate) enum Disarm {
    /// No command yet.
    #[default]
    Fresh,
    /// It began with something else: an ordinary backend or frontend.
    Ordinary,
    /// It began with `LIST "server!"`.
    Armed(Armed),
}

/// A backend that compares its list with ours.
#[derive(Debug)]
pub(crate) struct Armed {
    server: Vec<u8>,
    /// How many DELETEs are believed.
    allowed: u64,
    /// What it has deleted.
    removed: Vec<(MailboxName, Entry)>,
}

/// What becomes of a DELETE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Removal {
    /// It is done.
    Believed,
    /// The name is another server's.
    Elsewhere,
    /// One too many: this is what is to be put back.
    TooMany(Vec<(MailboxName, Entry)>),
}

impl Disarm {
    /// The first command of a connection decides what it is.
    pub(crate) fn begin(&mut self, prefix: Option<&[u8]>) {
        if let Self::Fresh = self {
            *self = match prefix.and_then(|prefix| prefix.strip_suffix(b"!")) {
                Some(server) if !server.is_empty() => {
                    Self::Armed(Armed { server: server.to_vec(), allowed: 0, removed: Vec::new() })
                }
                _ => Self::Ordinary,
            };
        }
    }

    /// The server that compares its list.
    pub(crate) fn server(&self) -> Option<&[u8]> {
        match self {
            Self::Armed(armed) => Some(&armed.server),
            Self::Fresh | Self::Ordinary => None,
        }
    }

    /// The list has been sent and had so many names of the server; a person allowed so many to be removed.
    pub(crate) fn listed(&mut self, names: u64, permitted: u64) {
        if let Self::Armed(armed) = self {
            let tidying = (names / 100).max(100).min(names.saturating_sub(1));
            armed.allowed = tidying.max(permitted);
        }
    }

    /// Whether FIND may show an entry.
    pub(crate) fn may_find(&self, held: Option<&Entry>) -> bool {
        !(kept(Rule::FindNeverGuesses) && matches!((self, held), (Self::Armed(_), Some(_))))
    }

    /// Whether ACTIVATE at a location may replace what is held.
    pub(crate) fn may_activate(&self, location: &Location, held: Option<&Entry>) -> bool {
        match (self, held) {
            (Self::Armed(_), Some(held)) => held.location.same_server(location),
            _ => true,
        }
    }

    /// What becomes of a DELETE of what is held.
    pub(crate) fn remove(&mut self, name: &MailboxName, held: Option<Entry>) -> Removal {
        let (Self::Armed(armed), Some(held)) = (self, held) else { return Removal::Believed };
        if held.location.server() != armed.server {
            return Removal::Elsewhere;
        }
        if armed.removed.len() as u64 >= armed.allowed {
            armed.allowed = 0;
            return Removal::TooMany(std::mem::take(&mut armed.removed));
        }
        armed.removed.push((name.clone(), held));
        Removal::Believed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Acl;

    fn at(location: &str) -> Entry {
        Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(b"a\tlrs"))
    }

    fn name(number: usize) -> MailboxName {
        MailboxName::new(format!("user.u{number}").as_bytes()).unwrap()
    }

    fn armed() -> Disarm {
        let mut disarm = Disarm::default();
        disarm.begin(Some(b"be1.murder.test!"));
        disarm
    }

    /// How many of a thousand DELETEs are done, and how many of them are put back afterwards.
    fn deletes(disarm: &mut Disarm) -> (usize, usize) {
        let own = at("be1.murder.test!default");
        let mut done = 0;
        for number in 0..1000 {
            match disarm.remove(&name(number), Some(own.clone())) {
                Removal::Believed => done += 1,
                Removal::TooMany(back) => return (done, back.len()),
                Removal::Elsewhere => panic!("it is its own"),
            }
        }
        (done, 0)
    }

    #[test]
    fn rule_4_a_backend_is_shown_nothing_that_makes_it_wipe_or_exit() {
        let (own, other) = (at("be1.murder.test!default"), at("be2.murder.test!default"));
        let disarm = armed();
        assert!(disarm.may_find(None));
        for held in [&own, &other, &at("be1.murder.test!")] {
            assert!(!disarm.may_find(Some(held)));
        }
        assert!(!disarm.may_activate(&own.location, Some(&other)));
        assert!(disarm.may_activate(&own.location, Some(&at("be1.murder.test!"))));
        let mut ordinary = Disarm::default();
        ordinary.begin(None);
        assert!(ordinary.may_find(Some(&other)) && ordinary.may_activate(&own.location, Some(&other)));
    }

    #[test]
    fn rule_4_a_backend_that_lost_its_list_does_not_empty_the_masters() {
        for (names, done) in [(1, 0), (2, 1), (10, 9), (101, 100), (150, 100), (20_000, 200)] {
            let mut disarm = armed();
            disarm.listed(names, 0);
            assert_eq!(deletes(&mut disarm), (done, done), "of {names}");
            assert_eq!(deletes(&mut disarm), (0, 0), "nothing more after that");
        }
        assert_eq!(armed().remove(&name(0), Some(at("be2.murder.test!default"))), Removal::Elsewhere);
    }

    #[test]
    fn a_person_may_allow_more() {
        let mut disarm = armed();
        disarm.listed(150, 150);
        let own = at("be1.murder.test!default");
        assert!((0..150).all(|n| disarm.remove(&name(n), Some(own.clone())) == Removal::Believed));
        assert_ne!(disarm.remove(&name(150), Some(own)), Removal::Believed);
    }

    #[test]
    fn only_the_first_command_arms() {
        let mut disarm = Disarm::default();
        disarm.begin(None);
        disarm.begin(Some(b"be1.murder.test!"));
        assert!(matches!(disarm, Disarm::Ordinary));
    }
}
