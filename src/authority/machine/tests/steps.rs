//! What situations are told with: the lists they begin with, what is asked, and the steps it goes.

use super::super::{Policy, State};
use super::world::{List, World, active, at, name};
use crate::authority::guard::Guard;
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

pub(super) fn held(world: &World, text: &str) -> Option<Entry> {
    world.store.list.get(text.as_bytes()).cloned()
}

/// Any name taken away is one too many.
const STRICT: Guard = Guard { share: 0.0, at_least: 0, at_most: 0 };

pub(super) fn list(entries: &[(&str, Entry)]) -> List {
    entries.iter().map(|(name, entry)| (name.as_bytes().to_vec(), entry.clone())).collect()
}

pub(super) fn alice() -> List {
    list(&[("user.alice", active("be1!default", "alice\tlrs"))])
}

pub(super) fn strict() -> Policy {
    Policy { guard: STRICT, ..Policy::default() }
}

pub(super) fn reserve(mailbox: &str, location: &str) -> Write {
    Write::Reserve { name: name(mailbox), location: at(location) }
}

pub(super) fn activate(mailbox: &str, location: &str, acl: &str) -> Write {
    Write::Activate { name: name(mailbox), location: at(location), acl: Acl::new(acl.as_bytes()) }
}

pub(super) fn deactivate(mailbox: &str, location: &str) -> Write {
    Write::Deactivate { name: name(mailbox), location: at(location) }
}

pub(super) fn delete(mailbox: &str) -> Write {
    Write::Delete { name: name(mailbox) }
}

impl World {
    /// A call, and what it is answered once everything under way has come to its end.
    pub(super) fn ask(&mut self, write: Write) -> Outcome {
        let call = self.call(write).unwrap();
        while self.commit_one() || self.execute_one(0) || self.reply_one(0) {}
        self.answers.remove(&call).unwrap()
    }

    pub(super) fn ours(&self, mailbox: &str) -> Option<&Entry> {
        self.store.list.get(mailbox.as_bytes())
    }

    pub(super) fn theirs(&self, mailbox: &str) -> Option<&Entry> {
        self.master.get(mailbox.as_bytes())
    }

    /// The master is back, and its list is read.
    pub(super) fn compare(&mut self) {
        assert!(self.master_returns() && self.list_complete());
    }

    /// Everything comes to its end; then nothing may be wrong.
    pub(super) fn quiet(&mut self) {
        self.settle();
        self.check();
        assert!(self.violations.is_empty(), "{:#?}\n{}", self.violations, self.trace.join("\n"));
    }
}
