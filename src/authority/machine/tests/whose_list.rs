//! Whose list is right: the master's that lost names, an old one of ours, and what a person says about it.

use super::super::{Event, Policy, Restored, State};
use super::steps::{activate, alice, delete, list, reserve, strict};
use super::world::{ACCEPT, Link, RESEED, World, active, at};
use crate::authority::facts::{Comparison, Difference};
use crate::authority::write::{Outcome, Refusal};
use crate::list::Entry;

#[test]
fn a_master_that_lost_its_list_is_not_believed_and_a_person_gives_it_ours() {
    let mut world = World::new(strict(), alice());
    world.wipe_master(|_| false);
    world.compare();
    assert_eq!(world.machine.state(), State::Holding);
    assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
    world.feed(Event::Begin(RESEED));
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, world.store.list);
    assert_eq!(world.master.len(), 2);
}

#[test]
fn reseeding_undoes_what_an_old_backup_brings_back() {
    let mut world = World::new(strict(), alice());
    assert_eq!(world.ask(activate("user.alice", "be1!default", "alice\tlrswi")), Outcome::Done);
    world.settle();
    world.wipe_master(|_| false);
    world.master = list(&[("user.alice", active("be1!default", "alice\tlrs"))]);
    world.feed(Event::StandIn);
    world.feed(Event::Begin(RESEED));
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrswi")));
}

#[test]
fn a_person_takes_the_masters_list_after_all() {
    let mut world = World::new(strict(), alice());
    world.wipe_master(|_| false);
    world.compare();
    assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
    world.feed(Event::Begin(ACCEPT));
    assert_eq!(world.machine.state(), State::Holding, "until the whole list is here");
    assert_eq!(world.ask(delete("user.bob")), Outcome::Unavailable);
    world.bypassed = true;
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert!(world.store.list.is_empty() && world.store.journal.is_empty());
}

#[test]
fn more_differences_than_are_kept_are_settled_in_several_comparisons() {
    let mut world = World::new(strict(), alice());
    world.wipe_master(|_| false);
    world.feed(Event::StandIn);
    world.feed(Event::Begin(RESEED));
    world.master_returns();
    // As if only this many were kept, and alice beyond them.
    let difference = Difference { overflowed: true, listed: 0, ..Difference::default() };
    world.feed(Event::MasterList(Comparison { difference, ..Comparison::default() }));
    assert_eq!(world.machine.state(), State::StandingIn, "compared again, not taken for agreed");
    world.quiet();
    assert_eq!(world.master, world.store.list);
}

#[test]
fn an_operator_keeps_us_standing_in_whatever_the_master_says() {
    let mut world = World::new(Policy::default(), alice());
    world.feed(Event::StandIn);
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.master_dies();
    world.compare();
    assert_eq!((world.machine.state(), world.machine.held()), (State::StandingIn, true));
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
    world.feed(Event::Follow);
    world.quiet();
    assert_eq!((world.theirs("user.alice"), world.machine.state()), (None, State::Following));
}

#[test]
fn an_old_list_that_the_master_shares_is_served_and_one_that_is_merely_old_is_replaced() {
    let mut world = World::restored(Policy::default(), alice(), Restored::Stale);
    assert_eq!(world.ask(delete("user.alice")), Outcome::Unavailable, "nobody decides on an old list");
    world.compare();
    assert_eq!(world.machine.state(), State::Following);

    let mut world = World::restored(Policy::default(), alice(), Restored::Stale);
    world.master = list(&[("user.bob", active("be1!default", "bob\tlrs"))]);
    world.bypassed = true;
    world.compare();
    assert_eq!((world.machine.state(), world.link), (State::Learning, Link::Down), "to be taken anew");
    world.quiet();
    assert_eq!(world.store.list, world.master);
}

#[test]
fn an_old_list_is_followed_only_when_no_operator_holds_us() {
    let mut world = World::restored(Policy::default(), alice(), Restored::Stale);
    world.feed(Event::StandIn);
    world.compare();
    assert_eq!(world.machine.state(), State::StandingIn);
}

#[test]
fn an_old_list_that_owes_changes_or_would_lose_names_waits_for_a_person() {
    for owes in [true, false] {
        let mut world = World::new(strict(), alice());
        if owes {
            world.master_dies();
            assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
        } else {
            world.wipe_master(|_| false);
        }
        world.crash(false, Restored::Stale);
        world.compare();
        assert_eq!(world.machine.state(), State::Learning, "owes: {owes}");
        world.feed(Event::Begin(RESEED));
        assert_eq!(world.machine.state(), State::StandingIn, "a person believes it");
        world.quiet();
        assert_eq!(world.master, world.store.list);
    }
}

#[test]
fn an_old_list_does_not_take_over_what_we_had_told_a_caller_had_failed() {
    let mut world = World::new(Policy::default(), alice());
    world.call(activate("user.alice", "be2!default", "alice\tlrs"));
    world.lose_one(0);
    while world.commit_one() {}
    let refused = Outcome::Refused(Refusal::AlreadyExists);
    assert!(world.answers.values().any(|answer| *answer == refused), "{:?}", world.answers);
    world.wake_zombie(0);
    world.crash(false, Restored::Stale);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}

#[test]
fn a_list_whose_disk_failed_is_not_served_before_the_master_was_heard() {
    let mut world = World::new(Policy::default(), alice());
    world.break_store();
    assert_eq!(
        world.ask(activate("user.bob", "be1!default", "bob\tlrs")),
        Outcome::Done,
        "the master's word"
    );
    assert!(world.machine.poisoned());
    world.master_dies();
    assert_eq!(world.machine.state(), State::Learning, "our list lacks bob");
    assert_eq!(world.ask(reserve("user.bob", "be2!default")), Outcome::Unavailable);
    world.crash(false, Restored::Fresh);
    assert_eq!(world.machine.state(), State::Learning, "still");
    world.quiet();
    assert_eq!(world.ours("user.bob"), Some(&active("be1!default", "bob\tlrs")));
}

#[test]
fn a_disk_that_fails_in_the_midst_of_a_replay_refuses_what_is_not_settled() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    assert_eq!(world.ask(reserve("user.alice", "be2!default")), Outcome::Done);
    world.break_store();
    world.compare();
    let rounds = (0..1000).take_while(|_| world.commit_one()).count();
    assert!(rounds < 10, "tried {rounds} times on a store that has failed");
    assert_eq!(world.ask(reserve("user.alice", "be3!default")), Outcome::Unavailable);
    assert_eq!(
        world.ask(activate("user.bob", "be1!default", "bob\tlrs")),
        Outcome::Done,
        "the master's word"
    );
    world.settle();
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&Entry::reserved(at("be2!default"))));
}

#[test]
fn a_person_takes_the_masters_list_in_the_midst_of_a_replay() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.compare();
    assert_eq!(world.machine.state(), State::Replaying);
    world.feed(Event::Begin(ACCEPT));
    world.bypassed = true;
    world.quiet();
    assert_eq!(world.store.list, world.master);
}

#[test]
fn what_an_earlier_comparison_settled_is_compared_again_with_a_newer_list() {
    let mut world = World::new(Policy::default(), alice());
    world.call(reserve("user.alice", "be1!default"));
    world.lose_one(0);
    world.compare();
    world.commit_one();
    // Agreed with the list at hand, and on its way to the disk when the master carries out the old write,
    world.wake_zombie(0);
    world.master_dies();
    // so that the next list differs.
    world.compare();
    world.commit_one();
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}
