//! Names in doubt: the master may still carry out, or has carried out late, what we gave up.

use super::super::{Event, Policy, Restored, State};
use super::schedules::{Faults, run};
use super::steps::{activate, alice, reserve};
use super::world::{List, World, active};
use crate::authority::write::{Outcome, Refusal, Write};
use crate::list::Entry;

/// Following, and the master may still carry out this write, which its caller was told had failed.
fn in_doubt(list: List, write: Write) -> World {
    let mut world = World::new(Policy::default(), list);
    world.call(write);
    world.lose_one(0);
    while world.commit_one() {}
    world.settle();
    assert_eq!(world.machine.state(), State::Following);
    world
}

/// A mailbox that is not hers to take: refused here, but on its way to the master.
fn stolen() -> Write {
    activate("user.alice", "be2!default", "alice\tlrs")
}

#[test]
fn a_name_in_doubt_is_granted_only_when_that_is_on_record() {
    let mut world = in_doubt(List::new(), reserve("user.bob", "be1!default"));
    assert_eq!(world.ask(Write::Delete { name: super::world::name("user.bob") }), Outcome::Done);
    world.quiet();
    world.break_store();
    // The master grants it, but nothing could tell it from the write in doubt when Ravenry is started again.
    let call = world.call(reserve("user.bob", "be1!default")).unwrap();
    assert!(world.execute_one(0) && world.reply_one(0) && world.commit_one());
    assert!(world.machine.poisoned());
    assert_eq!(world.answers[&call], Outcome::Unavailable);
    let sent = world.ask(activate("user.bob", "be1!default", "bob\tlrs"));
    assert_eq!(sent, Outcome::Unavailable, "nor is it asked again");
    assert!(world.theirs("user.bob").is_some_and(|held| !held.is_active()));
    world.quiet();
}

#[test]
fn a_name_without_doubts_is_granted_on_a_failed_disk_and_kept() {
    let mut world = World::new(Policy::default(), alice());
    world.break_store();
    assert_eq!(world.ask(activate("user.bob", "be1!default", "bob\tlrs")), Outcome::Done);
    world.quiet();
    assert_eq!(world.ours("user.bob"), Some(&active("be1!default", "bob\tlrs")));
}

#[test]
fn what_the_master_holds_from_a_late_write_of_ours_is_not_granted() {
    let mut world = in_doubt(alice(), stolen());
    assert!(world.wake_zombie(0), "and now the master does it");
    let refused = Outcome::Refused(Refusal::AlreadyExists);
    assert_eq!(world.ask(reserve("user.alice", "be2!default")), refused);
    world.quiet();
    assert_eq!(world.theirs("user.alice"), Some(&active("be1!default", "alice\tlrs")));
}

fn alices() -> Option<Entry> {
    Some(active("be1!default", "alice\tlrs"))
}

#[test]
fn an_operator_who_holds_us_does_not_make_an_old_list_take_late_writes_over() {
    let mut world = in_doubt(alice(), stolen());
    world.crash(false, Restored::Stale);
    world.feed(Event::StandIn);
    assert!(world.wake_zombie(0));
    world.settle();
    assert_eq!(world.machine.state(), State::Learning, "{:?}", world.trace);
    world.feed(Event::Follow);
    world.quiet();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(
        (world.ours("user.alice").cloned(), world.theirs("user.alice").cloned()),
        (alices(), alices())
    );
}

#[test]
fn a_write_carried_out_between_two_readings_of_the_list_is_not_taken_over() {
    let mut world = in_doubt(alice(), stolen());
    world.crash(false, Restored::Stale);
    world.bypass(&activate("user.bob", "be1!default", "bob\tlrs"));
    world.compare();
    assert!(world.wake_zombie(0));
    world.quiet();
    assert_eq!(
        (world.ours("user.alice").cloned(), world.theirs("user.alice").cloned()),
        (alices(), alices())
    );
    assert!(world.ours("user.bob").is_some(), "but what is news is");
}

/// Random schedules that found what the situations above tell. They name a schedule only as long as the steps
/// of [`run`] draw as they do.
#[test]
fn schedules_that_once_failed() {
    let disk = Faults { crash: true, disk: true, stale: true, operator: true, ..Faults::default() };
    let ends = Faults { take_back: true, ..disk };
    for (faults, seeds) in [
        (ends, &[402_776, 409_679, 418_645, 428_269, 439_985, 466_762, 530_148, 632_137, 658_511][..]),
        (disk, &[418_150, 429_141, 450_473, 499_968, 595_796, 637_433, 660_389]),
    ] {
        for &seed in seeds {
            let world = run(seed, faults);
            let trace = world.trace.join("\n");
            assert!(world.violations.is_empty(), "seed {seed}: {:#?}\n{trace}", world.violations);
        }
    }
}
