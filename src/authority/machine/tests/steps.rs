//! The steps of an operation, one after the other.

use super::world::{World, at, name};
use crate::authority::write::{Outcome, Write};
use crate::list::{Acl, Entry};

pub(super) const ALICE: &str = "alice\tlrs";

/// Asks within one operation, and has it done.
pub(super) fn done(world: &mut World, write: Write) {
    let id = world.call(write).unwrap();
    while world.execute_one(0) || world.reply_one(0) || world.commit_one() {}
    assert_eq!(world.answers.get(&id), Some(&Outcome::Done));
}

pub(super) fn delete(text: &str) -> Write {
    Write::Delete { name: name(text) }
}

pub(super) fn reserve(text: &str, place: &str) -> Write {
    Write::Reserve { name: name(text), location: at(place) }
}

pub(super) fn activate(text: &str, place: &str) -> Write {
    Write::Activate { name: name(text), location: at(place), acl: Acl::new(ALICE.as_bytes()) }
}

pub(super) fn held(world: &World, text: &str) -> Option<Entry> {
    world.store.list.get(text.as_bytes()).cloned()
}
