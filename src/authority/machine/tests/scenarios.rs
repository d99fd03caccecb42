//! Named situations, told step by step: outages, moves, calls that are given up.

use std::time::Duration;

use super::super::{Event, Policy, State};
use super::steps::{activate, alice, deactivate, delete, list, reserve};
use super::world::{ACCEPT, List, World, active, at, name};
use crate::authority::facts::{Comparison, Difference};
use crate::authority::write::Outcome;
use crate::list::Entry;

#[test]
fn what_was_done_in_the_outage_is_given_to_the_master() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(reserve("user.bob", "be2!default")), Outcome::Done);
    assert_eq!(world.ask(activate("user.bob", "be2!default", "bob\tlrs")), Outcome::Done);
    assert_eq!(world.ask(delete("user.alice")), Outcome::Done);
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, list(&[("user.bob", active("be2!default", "bob\tlrs"))]));
}

#[test]
fn a_write_carried_out_after_the_replay_is_put_right() {
    let mut world = World::new(Policy::default(), alice());
    world.call(delete("user.alice"));
    world.lose_one(0); // hung, given up, decided here
    while world.commit_one() {}
    assert_eq!(world.ask(activate("user.alice", "be1!default", "alice\tlrswi")), Outcome::Done);
    world.quiet();
    assert!(world.wake_zombie(0), "and now the master deletes her");
    assert_eq!(world.theirs("user.alice"), None);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrswi")));
}

#[test]
fn a_name_given_away_on_both_sides_is_a_conflict_that_overwrites_nothing() {
    let mut world = World::new(Policy::default(), List::new());
    world.master_dies();
    assert_eq!(world.ask(activate("user.x", "be1!default", "x\tlrs")), Outcome::Done);
    world.bypass(&activate("user.x", "be2!default", "x\tlrs"));
    world.quiet();
    assert_eq!(world.ours("user.x"), Some(&active("be1!default", "x\tlrs")));
    assert_eq!(world.theirs("user.x"), Some(&active("be2!default", "x\tlrs")));
    let conflict = &world.store.conflicts[&b"user.x"[..]];
    assert_eq!(conflict.ours, Some(active("be1!default", "x\tlrs")));
    // What a person has to decide is not decided by the next write, nor told to the master.
    assert_eq!(world.ask(activate("user.x", "be1!default", "x\tlrswi")), Outcome::Done);
    assert_eq!(world.theirs("user.x"), Some(&active("be2!default", "x\tlrs")));
}

#[test]
fn an_xfer_over_the_end_of_an_outage_goes_on_at_the_master() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    world.compare();
    assert_eq!(world.machine.state(), State::Replaying, "waits for the other half");
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")), "not hidden");
    assert_eq!(world.ask(activate("user.alice", "be2!default", "alice\tlrs")), Outcome::Done);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be2!default", "alice\tlrs")));
}

#[test]
fn an_xfer_that_broke_off_leaves_the_mailbox_live() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    world.compare();
    world.feed(Event::Tick);
    assert_eq!(world.machine.state(), State::Replaying);
    world.pass_time(Policy::default().postpone);
    world.quiet();
    assert_eq!(world.ours("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}

#[test]
fn a_postponed_name_that_is_busy_does_not_use_up_the_replay() {
    let policy = Policy { replay_concurrency: 1, ..Policy::default() };
    let mut world = World::new(policy, alice());
    world.master_dies();
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    assert_eq!(world.ask(activate("user.bob", "be2!default", "bob\tlrs")), Outcome::Done);
    world.compare();
    while world.commit_one() {}
    // The rest of the XFER hangs at the master while time passes.
    world.call(activate("user.alice", "be2!default", "alice\tlrs"));
    for _ in 0..5 {
        world.pass_time(Duration::from_secs(61));
        world.feed(Event::Tick);
    }
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.machine.replaying(), 0);
}

#[test]
fn a_call_whose_caller_has_gone_is_not_begun() {
    let mut world = World::new(Policy::default(), alice());
    world.master_dies();
    let first = world.call(activate("user.alice", "be1!default", "alice\tlrswi")).unwrap();
    // A disk that stalls: another backend's call for the name waits behind that commit.
    world.beliefs.clear();
    let second = world.call(delete("user.alice")).unwrap();
    world.pass_time(Policy::default().patience);
    world.commit_one();
    assert_eq!(world.answers.get(&second), Some(&Outcome::Unavailable));
    while world.commit_one() {}
    assert_eq!(world.ours("user.alice"), Some(&active("be1!default", "alice\tlrswi")));
    assert_ne!(first, second);
}

#[test]
fn a_write_that_its_caller_gave_up_is_in_doubt_but_not_done_here() {
    let mut world = World::new(Policy::default(), alice());
    let call = world.call(delete("user.alice")).unwrap();
    world.pass_time(Policy::default().patience);
    world.lose_one(0);
    while world.commit_one() {}
    assert_eq!(world.answers.get(&call), Some(&Outcome::Unavailable));
    assert_eq!(world.ours("user.alice"), Some(&active("be1!default", "alice\tlrs")));
    world.quiet();
    world.wake_zombie(0);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")), "put right");
}

#[test]
fn a_long_list_of_the_masters_does_not_outlast_the_callers_patience() {
    let mut world = World::new(Policy::default(), alice());
    world.feed(Event::Begin(ACCEPT));
    world.master_dies();
    world.master_returns();
    world.feed(Event::MasterLost("for the time that its list takes".into()));
    let difference = Difference { took: Duration::from_secs(60), ..Difference::default() };
    world.feed(Event::MasterList(Comparison { difference, ..Comparison::default() }));
    world.call(delete("user.alice"));
    world.quiet(); // the world objects to a deadline beyond the caller's
}

#[test]
fn refused_once_the_name_is_compared_again_and_refused_twice_it_is_a_conflict() {
    let mut world = World::new(Policy::default(), List::new());
    world.master_dies();
    assert_eq!(world.ask(reserve("user.x", "be1!default")), Outcome::Done);
    world.compare();
    // Taken between the master's list and our write, so that the write is refused.
    world.bypass(&reserve("user.x", "be2!default"));
    world.quiet();
    assert_eq!(world.store.conflicts.len(), 1);
    assert_eq!(world.theirs("user.x"), Some(&Entry::reserved(at("be2!default"))));
}

#[test]
fn the_first_half_of_our_own_delete_is_no_news() {
    let mut world = World::new(Policy::default(), alice());
    world.feed(Event::MasterChanged(name("user.ghost"), Some(Entry::reserved(at("ravenry!none")))));
    while world.commit_one() {}
    assert_eq!(world.ours("user.ghost"), None);
    world.quiet();
}

#[test]
fn xfer_of_a_renamed_mailbox_deactivates_it_where_the_master_holds_it() {
    let mut world = World::new(Policy::default(), list(&[("user.alice", active("be1!", "alice\tlrs"))]));
    assert_eq!(world.ask(deactivate("user.alice", "be1!default")), Outcome::Done);
    assert_eq!(world.theirs("user.alice"), Some(&Entry::reserved(at("be1!"))));
    world.quiet();
}

#[test]
fn a_conflict_is_over_when_the_other_side_gives_the_name_back() {
    let mut world = World::new(Policy::default(), List::new());
    world.master_dies();
    assert_eq!(world.ask(activate("user.x", "be1!default", "x\tlrs")), Outcome::Done);
    world.bypass(&activate("user.x", "be2!default", "x\tlrs"));
    world.quiet();
    assert_eq!((world.store.conflicts.len(), world.machine.state()), (1, State::Following));
    world.bypass(&delete("user.x"));
    world.quiet();
    assert_eq!(world.store.conflicts.len(), 0);
    assert_eq!(world.theirs("user.x"), Some(&active("be1!default", "x\tlrs")));
}

#[test]
fn a_call_for_a_refused_name_waits_until_the_stream_has_told_why() {
    let mut world = World::new(Policy::default(), List::new());
    world.call(activate("user.x", "be1!default", "x\tlrs"));
    world.lose_one(0);
    while world.commit_one() {}
    assert_eq!(world.ask(deactivate("user.x", "be1!")), Outcome::Done);
    world.compare();
    // Only now the master does what it was asked first, so that our reservation is refused.
    world.wake_zombie(0);
    while world.execute_one(0) || world.reply_one(0) {}
    world.call(delete("user.x"));
    world.quiet(); // nobody went behind our back: no conflict
    assert_eq!((world.ours("user.x"), world.theirs("user.x")), (None, None));
}
