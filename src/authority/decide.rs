//! What a master answers to a write, decided from the list alone. Used while Ravenry stands in.

use super::write::{Refusal, Write};
use crate::list::Entry;

/// Decides one write against what the list holds for its name: the entry afterwards (`None`: the name is
/// gone), or the refusal.
///
/// As Cyrus's `cmd_set` decides, with three differences, each on the side that destroys less. A RESERVE
/// of an active name at its own location is OK, but does not hide the mailbox and drop its ACL. An
/// ACTIVATE from another server is refused unless the name was deactivated first, as XFER does; Cyrus
/// would replace the location silently. DEACTIVATE from another server is refused likewise.
pub(crate) fn decide(write: &Write, held: Option<&Entry>) -> Result<Option<Entry>, Refusal> {
    match (write, held) {
        (Write::Reserve { location, .. }, Some(held)) => {
            if held.location == *location {
                Ok(Some(held.clone()))
            } else {
                Err(Refusal::AlreadyExists)
            }
        }
        (Write::Activate { location, .. }, Some(held)) => {
            if held.is_active() && !held.location.same_server(location) {
                Err(Refusal::AlreadyExists)
            } else {
                Ok(write.effect())
            }
        }
        (Write::Deactivate { location, .. }, held) => match held {
            None => Err(Refusal::DoesNotExist),
            Some(held) if !held.location.same_server(location) => Err(Refusal::AlreadyExists),
            Some(held) if !held.is_active() => Err(Refusal::NotActive),
            Some(_) => Ok(write.effect()),
        },
        (Write::Revive { .. }, Some(held)) if held.is_active() => Err(Refusal::Changed),
        // A DELETE of an unknown name crashes Cyrus; a NO would fail a user's RENAME. It is gone: OK.
        (Write::Reserve { .. } | Write::Activate { .. }, None)
        | (Write::Revive { .. }, _)
        | (Write::Delete { .. } | Write::Forget { .. }, _) => Ok(write.effect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Acl, Location, MailboxName};

    fn name() -> MailboxName {
        MailboxName::new(b"user.alice").unwrap()
    }
    fn at(location: &str) -> Location {
        Location::new(location.as_bytes()).unwrap()
    }
    fn active(location: &str) -> Entry {
        Entry::active(at(location), Acl::new(b"alice\tlrs"))
    }
    fn reserve(location: &str) -> Write {
        Write::Reserve { name: name(), location: at(location) }
    }
    fn activate(location: &str) -> Write {
        Write::Activate { name: name(), location: at(location), acl: Acl::new(b"alice\tlrs") }
    }
    fn deactivate(location: &str) -> Write {
        Write::Deactivate { name: name(), location: at(location) }
    }

    #[test]
    fn a_name_has_one_holder() {
        let held = active("be1!default");
        assert_eq!(decide(&reserve("be2!default"), Some(&held)), Err(Refusal::AlreadyExists));
        assert_eq!(decide(&activate("be2!default"), Some(&held)), Err(Refusal::AlreadyExists));
        assert_eq!(decide(&deactivate("be2!default"), Some(&held)), Err(Refusal::AlreadyExists));
    }

    #[test]
    fn a_reservation_repeated_does_not_hide_the_mailbox() {
        let held = active("be1!default");
        assert_eq!(decide(&reserve("be1!default"), Some(&held)), Ok(Some(held.clone())));
    }

    #[test]
    fn xfer_moves_by_deactivate_and_activate() {
        let left = decide(&deactivate("be1!default"), Some(&active("be1!default"))).unwrap();
        assert_eq!(left, Some(Entry::reserved(at("be1!default"))));
        assert_eq!(decide(&activate("be2!default"), left.as_ref()), Ok(Some(active("be2!default"))));
    }

    #[test]
    fn rename_with_an_empty_partition_and_a_partition_move_are_accepted() {
        assert_eq!(decide(&activate("be1!"), None), Ok(Some(active("be1!"))));
        assert_eq!(decide(&activate("be1!fast"), Some(&active("be1!"))), Ok(Some(active("be1!fast"))));
    }

    #[test]
    fn unknown_names() {
        assert_eq!(decide(&Write::Delete { name: name() }, None), Ok(None));
        assert_eq!(decide(&deactivate("be1!default"), None), Err(Refusal::DoesNotExist));
        let reserved = Entry::reserved(at("be1!default"));
        assert_eq!(decide(&deactivate("be1!default"), Some(&reserved)), Err(Refusal::NotActive));
    }
}
