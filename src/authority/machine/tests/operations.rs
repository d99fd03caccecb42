//! Operations of backends that come to nothing, told step by step.

use super::super::State;
use super::steps::{ALICE, activate, delete, done, held, reserve, world};
use super::world::{World, active, at, name};
use crate::authority::write::Write;
use crate::list::{Acl, Entry};

/// Lets everything come to its end, and the master agree.
fn rest(world: &mut World) {
    world.settle();
    world.check();
    assert_eq!(world.violations, Vec::<String>::new());
}

#[test]
fn a_rename_that_is_cut_at_any_step_never_happened() {
    for state in [State::Following, State::StandingIn] {
        for steps in 1..=3 {
            let mut world = world(state);
            let rename = [delete("user.a"), reserve("user.z", "be1!"), activate("user.z", "be1!", ALICE)];
            world.one_session();
            for write in rename.into_iter().take(steps) {
                done(&mut world, write);
            }
            world.end_session(false);
            rest(&mut world);
            assert_eq!(held(&world, "user.a"), Some(active("be1!default", ALICE)), "{state:?} after {steps}");
            assert_eq!(held(&world, "user.z"), None, "{state:?} after {steps}");
        }
    }
}

#[test]
fn an_operation_with_its_farewell_stays() {
    for state in [State::Following, State::StandingIn] {
        let mut world = world(state);
        world.one_session();
        for write in [delete("user.a"), reserve("user.z", "be1!"), activate("user.z", "be1!", ALICE)] {
            done(&mut world, write);
        }
        world.end_session(true);
        rest(&mut world);
        assert_eq!((held(&world, "user.a"), held(&world, "user.z")), (None, Some(active("be1!", ALICE))));
    }
}

#[test]
fn an_acl_that_was_set_before_the_cut_stays() {
    // The backend keeps its side of a SETACL, whatever its master says.
    let mut world = world(State::Following);
    let acl = Acl::new(b"alice\tlrs\tbob\tl");
    world.one_session();
    done(&mut world, Write::Activate { name: name("user.a"), location: at("be1!default"), acl: acl.clone() });
    world.end_session(false);
    rest(&mut world);
    assert_eq!(held(&world, "user.a"), Some(Entry::active(at("be1!default"), acl)));
}

#[test]
fn what_the_second_try_made_is_not_taken_back_with_the_first() {
    for state in [State::Following, State::StandingIn] {
        let mut world = world(state);
        world.one_session();
        done(&mut world, reserve("user.n", "be1!default"));
        let first = world.next_session();
        done(&mut world, reserve("user.n", "be1!default"));
        done(&mut world, activate("user.n", "be1!default", ALICE));
        world.end_session(true);
        world.end_of(first, false);
        rest(&mut world);
        assert_eq!(held(&world, "user.n"), Some(active("be1!default", ALICE)), "{state:?}");
    }
}

/// A mailbox is renamed at be1, and its old name taken at be2 before be1 has said LOGOUT. Then both end in this order: how.
fn overtaken(state: State, ends: [(bool, bool); 2]) -> (Option<Entry>, Option<Entry>) {
    let mut world = world(state);
    world.one_session();
    for write in [delete("user.a"), reserve("user.z", "be1!"), activate("user.z", "be1!", ALICE)] {
        done(&mut world, write);
    }
    let rename = world.next_session();
    done(&mut world, reserve("user.a", "be2!default"));
    for (first, complete) in ends {
        match first {
            true => world.end_of(rename, complete),
            false => world.end_session(complete),
        }
        world.settle();
    }
    rest(&mut world);
    (held(&world, "user.a"), held(&world, "user.z"))
}

#[test]
fn what_fails_is_not_taken_back_beyond_what_another_backend_did_meanwhile() {
    let (old, new) = (Some(active("be1!default", ALICE)), Some(active("be1!", ALICE)));
    for state in [State::Following, State::StandingIn] {
        for ends in [[(true, true), (false, false)], [(false, false), (true, true)]] {
            assert_eq!(overtaken(state, ends), (None, new.clone()), "renamed: {state:?} {ends:?}");
        }
        for ends in [[(true, false), (false, false)], [(false, false), (true, false)]] {
            assert_eq!(
                overtaken(state, ends),
                (old.clone(), None),
                "both came to nothing: {state:?} {ends:?}"
            );
        }
    }
}

#[test]
fn when_both_tries_fail_nothing_is_left() {
    let mut world = world(State::Following);
    world.one_session();
    done(&mut world, reserve("user.n", "be1!default"));
    let first = world.next_session();
    done(&mut world, reserve("user.n", "be1!default"));
    world.end_of(first, false);
    world.end_session(false);
    rest(&mut world);
    assert_eq!(held(&world, "user.n"), None);
}

#[test]
fn a_write_that_was_answered_too_late_is_taken_back_too() {
    let mut world = world(State::Following);
    world.one_session();
    // The session gives up and hangs up while the master still thinks.
    let id = world.call(reserve("user.n", "be1!default")).unwrap();
    world.end_session(false);
    assert!(!world.answers.contains_key(&id));
    world.settle();
    assert_eq!((held(&world, "user.n"), world.master.get(&b"user.n"[..])), (None, None));
}
