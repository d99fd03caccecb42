//! The steps of an operation, one after the other.

use super::super::{Policy, State};
use super::world::{List, World, active, at, name};
use crate::authority::write::{Outcome, Write};
use crate::list::{Acl, Entry};

pub(super) const ALICE: &str = "alice\tlrs";

/// A world in which `user.a` is at be1, following or standing in.
pub(super) fn world(state: State) -> World {
    let mut list = List::new();
    list.insert(b"user.a".to_vec(), active("be1!default", ALICE));
    let mut world = World::new(Policy::default(), list);
    world.settle();
    if state == State::StandingIn {
        world.master_dies();
    }
    assert_eq!(world.machine.state(), state);
    world
}

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
