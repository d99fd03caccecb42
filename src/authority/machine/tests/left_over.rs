//! Ravenry is killed in the middle of an operation, and somebody asks the backend how it ended.

use super::super::{Policy, Restored, State};
use super::steps::{ALICE, activate, delete, done, held, reserve};
use super::world::{List, World, active};
use crate::authority::write::Write;
use crate::list::Entry;
use crate::rules::{Rule, without};

fn world(state: State) -> World {
    let mut list = List::new();
    list.insert(b"user.a".to_vec(), active("be1!default", ALICE));
    list.insert(b"user.c".to_vec(), active("be1!default", ALICE));
    let mut world = World::new(Policy::default(), list);
    world.settle();
    if state == State::StandingIn {
        world.master_dies();
    }
    assert_eq!(world.machine.state(), state);
    world.one_session();
    world
}

fn rename() -> Vec<Write> {
    vec![delete("user.a"), reserve("user.z", "be1!"), activate("user.z", "be1!", ALICE)]
}

fn create() -> Vec<Write> {
    vec![reserve("user.z", "be1!default"), activate("user.z", "be1!default", ALICE)]
}

/// Lets everything come to its end, and the master agree.
fn rest(world: &mut World) {
    world.settle();
    world.find_out();
    world.settle();
    world.check();
    assert_eq!(world.violations, Vec::<String>::new(), "{}", world.trace.join("\n"));
    assert_eq!(world.left_over(), Vec::<Vec<_>>::new(), "{}", world.trace.join("\n"));
}

#[test]
fn what_was_cut_off_at_any_step_by_a_kill_never_happened() {
    for state in [State::Following, State::StandingIn] {
        for operation in [rename(), create()] {
            for steps in 1..=operation.len() {
                let mut world = world(state);
                for write in operation.iter().take(steps) {
                    done(&mut world, write.clone());
                }
                world.crash(true, Restored::Fresh);
                assert!(!world.left_over().is_empty(), "{state:?} after {steps}");
                rest(&mut world);
                let there = Some(active("be1!default", ALICE));
                assert_eq!(held(&world, "user.a"), there, "{state:?} after {steps}");
                assert_eq!(held(&world, "user.z"), None, "{state:?} after {steps}");
            }
        }
    }
}

#[test]
fn without_a_master_it_is_put_right_too_and_the_master_is_told() {
    let mut world = world(State::Following);
    done(&mut world, delete("user.a"));
    done(&mut world, reserve("user.z", "be1!"));
    world.crash(true, Restored::Fresh);
    assert_eq!((world.machine.state(), held(&world, "user.a")), (State::StandingIn, None));
    world.find_out();
    while world.commit_one() {}
    assert_eq!(held(&world, "user.a"), Some(active("be1!default", ALICE)));
    assert_eq!(held(&world, "user.z"), None);
    assert!(world.left_over().is_empty());
    rest(&mut world);
    assert_eq!(world.master.get(&b"user.a"[..]), Some(&active("be1!default", ALICE)));
    assert_eq!(world.master.get(&b"user.z"[..]), None);
}

#[test]
fn a_step_that_was_not_on_record_yet_is_no_claim() {
    // The master has done it, and we were killed before we knew.
    let mut world = world(State::Following);
    world.call(delete("user.a")).unwrap();
    world.execute_one(0);
    world.crash(true, Restored::Fresh);
    assert!(world.left_over().is_empty());
    world.settle();
    assert_eq!(held(&world, "user.a"), Some(active("be1!default", ALICE)), "unconfirmed, and kept");
}

#[test]
fn what_had_ended_stands_though_its_record_is_still_there() {
    for state in [State::Following, State::StandingIn] {
        for operation in [rename(), create()] {
            let mut world = world(state);
            let renames = operation.len() == 3;
            for write in operation {
                done(&mut world, write);
            }
            world.end_session(true);
            world.crash(true, Restored::Fresh);
            for name in ["user.a", "user.z"] {
                // The backend has done it.
                world.truth.insert(name.as_bytes().to_vec(), held(&world, name).is_some());
            }
            assert!(!world.left_over().is_empty(), "nothing was committed since");
            rest(&mut world);
            assert_eq!(held(&world, "user.a").is_none(), renames, "{state:?}");
            assert!(held(&world, "user.z").is_some(), "{state:?}");
        }
    }
}

#[test]
fn the_record_of_what_has_ended_goes_with_the_next_commit_or_soon() {
    for busy in [true, false] {
        let mut world = world(State::StandingIn);
        for write in create() {
            done(&mut world, write);
        }
        assert_eq!(world.store.underway.len(), 1);
        world.end_session(true);
        if busy {
            world.one_session();
            done(&mut world, activate("user.c", "be1!default", ALICE));
        } else {
            world.feed(super::super::Event::Tick);
            assert!(world.commit_one());
        }
        assert_eq!(world.store.underway.len(), 0, "{busy}");
    }
}

#[test]
fn the_user_s_next_try_is_not_taken_back_with_the_first() {
    for state in [State::Following, State::StandingIn] {
        let mut world = world(state);
        done(&mut world, delete("user.a"));
        done(&mut world, reserve("user.z", "be1!"));
        world.crash(true, Restored::Fresh);
        if state == State::Following {
            world.settle();
        }
        world.look();
        world.next_session();
        for write in rename() {
            done(&mut world, write);
        }
        while world.pronounce(0) {}
        world.end_session(true);
        while world.pronounce(0) {}
        world.truth.clear();
        rest(&mut world);
        assert_eq!(held(&world, "user.a"), None, "{state:?}");
        assert_eq!(held(&world, "user.z"), Some(active("be1!", ALICE)), "{state:?}");
    }
}

#[test]
fn what_fails_next_is_not_taken_back_beyond_what_had_ended_before_the_kill() {
    for state in [State::Following, State::StandingIn] {
        // The record of a rename that had ended is still there. Its backend has the mailbox under the new name only.
        for next in
            [vec![delete("user.z"), reserve("user.y", "be1!")], vec![reserve("user.a", "be1!default")]]
        {
            let mut world = world(state);
            for write in rename() {
                done(&mut world, write);
            }
            world.end_session(true);
            world.crash(true, Restored::Fresh);
            if state == State::Following {
                world.settle();
            }
            world.one_session();
            for write in next {
                done(&mut world, write);
            }
            world.end_session(false);
            rest(&mut world);
            let all = ["user.a", "user.z", "user.y"].map(|name| held(&world, name));
            assert_eq!(all, [None, Some(active("be1!", ALICE)), None], "{state:?}");
        }
    }
}

#[test]
fn when_the_next_try_is_killed_too_it_is_as_before_the_first() {
    let mut world = world(State::StandingIn);
    for _ in 0..3 {
        done(&mut world, delete("user.a"));
        done(&mut world, reserve("user.z", "be1!"));
        world.crash(true, Restored::Fresh);
        world.next_session();
    }
    world.truth = [(b"user.a".to_vec(), true), (b"user.z".to_vec(), false)].into();
    rest(&mut world);
    assert_eq!((held(&world, "user.a"), held(&world, "user.z")), (Some(active("be1!default", ALICE)), None));
}

#[test]
fn a_backend_that_is_still_at_it_is_waited_for() {
    let mut world = world(State::StandingIn);
    for write in rename() {
        done(&mut world, write);
    }
    world.crash(true, Restored::Fresh);
    world.truth = [(b"user.a".to_vec(), true), (b"user.z".to_vec(), true)].into();
    world.find_out();
    while world.commit_one() {}
    assert_eq!((held(&world, "user.a"), held(&world, "user.z")), (None, Some(active("be1!", ALICE))));
    assert_eq!(world.left_over().len(), 1);
}

/// What a name is in the end that somebody else wrote at the master, and that came with the master's whole list, when
/// how an operation ended that had it was found out before.
fn after_late_news() -> Option<Entry> {
    let mut world = world(State::Following);
    for write in create() {
        done(&mut world, write);
    }
    world.crash(true, Restored::Stale);
    world.look();
    world.bypass(&activate("user.z", "be2!default", ALICE));
    world.settle();
    assert_eq!(held(&world, "user.z"), Some(active("be2!default", ALICE)));
    while world.pronounce(0) {}
    world.settle();
    held(&world, "user.z")
}

#[test]
fn rule_12_nothing_is_taken_back_that_somebody_wrote_since() {
    assert_eq!(after_late_news(), Some(active("be2!default", ALICE)));
}

#[test]
fn without_rule_12_what_somebody_else_made_is_taken_back() {
    let _off = without(Rule::NoRemovalOnStaleEvidence);
    assert_eq!(after_late_news(), None);
}
