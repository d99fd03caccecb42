//! The comparison of the master's list with ours takes its time, and writes go on: what happens meanwhile counts.

use std::time::Duration;

use super::super::{Event, Policy, State};
use super::steps::{activate, alice, delete, list, reserve, strict};
use super::world::{ACCEPT, List, World, active};
use crate::authority::guard::Guard;
use crate::authority::write::Outcome;

/// The master is back, its list is read, and the comparison goes on.
fn comparing(policy: Policy, list: List, lose: impl Fn(&mut World)) -> World {
    let mut world = World::new(policy, list);
    world.master_dies();
    lose(&mut world);
    assert!(world.master_returns() && world.list_read());
    assert_eq!(world.machine.state(), State::StandingIn);
    world
}

#[test]
fn what_is_written_meanwhile_goes_to_the_master() {
    let mut world = comparing(Policy::default(), alice(), |_| {});
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    assert_eq!(world.ask(activate("user.bob", "be2!default", "bob\tlrs")), Outcome::Done);
    // And one that is not durable when the comparison comes to its end.
    let call = world.call(reserve("user.carol", "be1!default")).unwrap();
    assert!(world.compared());
    assert_eq!(world.machine.state(), State::Replaying);
    world.quiet();
    assert_eq!(world.answers[&call], Outcome::Done);
    assert_eq!(world.theirs("user.alice"), None);
    assert_eq!(world.theirs("user.bob"), Some(&active("be2!default", "bob\tlrs")));
    assert!(world.theirs("user.carol").is_some());
}

#[test]
fn what_is_written_before_the_list_is_whole_goes_to_the_master() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    let call = world.call(activate("user.bob", "be2!default", "bob\tlrs")).unwrap();
    assert!(world.master_returns());
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    assert_eq!(world.answers[&call], Outcome::Done);
    assert!(world.list_read() && world.compared());
    world.quiet();
    assert_eq!(world.theirs("user.alice"), None);
    assert!(world.theirs("user.bob").is_some());
}

#[test]
fn a_name_that_is_deleted_here_meanwhile_is_no_loss() {
    for deleted in [true, false] {
        let both =
            list(&[("user.a", active("be1!default", "a\tl")), ("user.b", active("be1!default", "b\tl"))]);
        let mut world = comparing(strict(), both, |world| world.wipe_master(|name| name == b"user.b"));
        if deleted {
            assert_eq!(world.ask(delete("user.a")), Outcome::Done);
        }
        assert!(world.compared());
        let state = if deleted { State::Replaying } else { State::Holding };
        assert_eq!(world.machine.state(), state);
    }
}

#[test]
fn a_removal_that_is_announced_meanwhile_is_expected() {
    let mut world = comparing(strict(), alice(), |world| world.wipe_master(|_| false));
    world.feed(Event::Expect(b"be1".to_vec(), Duration::from_secs(3600)));
    assert!(world.compared());
    assert_eq!(world.machine.state(), State::Replaying);
}

#[test]
fn what_the_master_does_meanwhile_is_not_lost() {
    let mut world = comparing(Policy::default(), alice(), |_| {});
    world.bypass(&activate("user.bob", "be2!default", "bob\tlrs"));
    assert!(!world.stream_one(), "not before its list was judged");
    assert!(world.compared());
    world.quiet();
    assert_eq!(world.ours("user.bob"), Some(&active("be2!default", "bob\tlrs")));
}

#[test]
fn a_master_that_dies_meanwhile_is_given_nothing() {
    let mut world = comparing(Policy::default(), alice(), |_| {});
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.master_dies();
    assert!(world.compared());
    assert_eq!(world.machine.state(), State::StandingIn);
    assert!(world.theirs("user.alice").is_some());
    world.quiet();
    assert_eq!(world.theirs("user.alice"), None);
}

#[test]
fn a_list_that_a_person_gave_up_meanwhile_is_not_used() {
    for order in [Event::Begin(ACCEPT), Event::Follow] {
        let mut world = comparing(Policy::default(), alice(), |_| {});
        assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
        let told = world.trace.len();
        world.feed(order.clone());
        assert!(!world.compared());
        assert_eq!(world.machine.state(), State::StandingIn);
        world.bypassed = true;
        world.quiet();
        let sent = world.trace[told..].iter().any(|line| line.contains("> Send("));
        let accepted = order == Event::Begin(ACCEPT);
        assert_eq!((sent, world.ours("user.alice").is_some()), (!accepted, accepted));
    }
}

/// Everything that has to be looked up for each name was looked up beside the machine.
#[test]
fn a_large_difference_costs_the_machine_nothing() {
    let many: List =
        (0..1_000).map(|n| (format!("user.u{n:03}").into_bytes(), active("be1!default", "u\tlrs"))).collect();
    let lenient = Guard { share: 1.0, at_least: 10_000, at_most: 10_000 };
    for (guard, state) in [(Guard::default(), State::Holding), (lenient, State::Replaying)] {
        let policy = Policy { guard, replay_concurrency: 1, ..Policy::default() };
        let mut world = comparing(policy, many.clone(), |world| world.wipe_master(|_| false));
        assert_eq!(world.ask(delete("user.u000")), Outcome::Done);
        world.store.asked.set(0);
        assert!(world.compared());
        assert_eq!(world.machine.state(), state);
        // The one that was written, and the first that is compared.
        assert!(world.store.asked.get() < 20, "{} look-ups", world.store.asked.get());
    }
}
