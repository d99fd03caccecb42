//! Ghosts: entries of which their backend has no mailbox.

use std::time::Duration;

use super::super::{Policy, Restored};
use super::steps::{activate, alice, delete, list};
use super::world::{World, active, name};
use crate::authority::facts::Facts as _;
use crate::authority::write::{Outcome, Refusal, Write};
use crate::rules::{Rule, without};

/// A ghost is forgotten, when nobody wrote it since it was looked into.
fn forget_a_ghost_written_meanwhile() -> Outcome {
    let mut world = World::new(Policy::default(), alice());
    let found = world.store.version(&name("user.alice")).unwrap().unwrap();
    // While the backend is asked, the user makes the mailbox anew.
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    assert_eq!(world.ask(activate("user.alice", "be1!default", "alice\tlrs")), Outcome::Done);
    world.ask(Write::Forget { name: name("user.alice"), version: found })
}

#[test]
fn rule_12_a_ghost_that_was_written_meanwhile_is_not_forgotten() {
    assert_eq!(forget_a_ghost_written_meanwhile(), Outcome::Refused(Refusal::Changed));
}

#[test]
fn without_rule_12_a_living_mailbox_is_forgotten() {
    let _off = without(Rule::NoRemovalOnStaleEvidence);
    assert_eq!(forget_a_ghost_written_meanwhile(), Outcome::Done);
}

#[test]
fn a_ghost_is_forgotten_following_and_standing_in() {
    for master in [true, false] {
        let mut world = World::new(Policy::default(), alice());
        if !master {
            world.master_dies();
        }
        let version = world.store.version(&name("user.alice")).unwrap().unwrap();
        assert_eq!(world.ask(Write::Forget { name: name("user.alice"), version }), Outcome::Done);
        assert_eq!(world.ours("user.alice"), None);
        world.quiet();
        assert_eq!(world.theirs("user.alice"), None, "with a master: {master}");
    }
}

#[test]
fn rule_12_a_day_sees_so_many_ghosts_of_a_server_forgotten_and_no_more() {
    let all = ["user.a", "user.b", "user.c", "user.d"].map(|user| (user, active("be1!default", "x\tlrs")));
    let policy = Policy { ghosts_per_day: 2, ..Policy::default() };
    let mut world = World::new(policy, list(&all));
    let forget = |world: &mut World, user: &str| {
        let version = world.store.version(&name(user)).unwrap().unwrap();
        world.ask(Write::Forget { name: name(user), version })
    };
    assert_eq!(forget(&mut world, "user.a"), Outcome::Done);
    world.master_dies();
    assert_eq!(forget(&mut world, "user.b"), Outcome::Done);
    assert_eq!(forget(&mut world, "user.c"), Outcome::Refused(Refusal::TooMany));
    // What was counted outlives us.
    world.crash(true, Restored::Fresh);
    assert_eq!(forget(&mut world, "user.c"), Outcome::Refused(Refusal::TooMany));
    world.pass_time(Duration::from_secs(24 * 3600));
    assert_eq!(forget(&mut world, "user.c"), Outcome::Done);
    world.quiet();
    assert!(world.ours("user.d").is_some());
}
