//! The rules that the state machine keeps, each shown to matter: without it the schedules find what breaks.

use super::super::{Event, Policy, State};
use super::schedules::{Faults, run};
use super::world::{List, World, active};
use crate::authority::guard::Guard;
use crate::rules::{Rule, without};

/// How many schedules are given the chance to notice.
const SCHEDULES: u64 = 3_000;

/// Whether any schedule breaks.
fn caught(faults: Faults) -> bool {
    (500_000..500_000 + SCHEDULES).any(|seed| !run(seed, faults).violations.is_empty())
}

const KILLED: Faults = Faults {
    crash: true,
    operator: true,
    bypass: false,
    wipe: false,
    disk: false,
    stale: false,
    take_back: false,
    apart: false,
};

#[test]
fn rule_1_what_was_acknowledged_is_there_after_a_crash() {
    assert!(!caught(KILLED));
}

#[test]
fn without_rule_1_an_acknowledged_change_is_lost() {
    let _off = without(Rule::DurableBeforeOk);
    assert!(caught(KILLED));
}

#[test]
fn rule_6_no_exchange_outlasts_its_caller() {
    assert!(!caught(Faults::default()));
}

#[test]
fn without_rule_6_a_caller_waits_for_a_master_that_hangs() {
    let _off = without(Rule::EveryWaitIsBounded);
    assert!(caught(Faults::default()));
}

#[test]
fn rule_7_a_write_carried_out_late_is_known_for_ours() {
    assert!(!caught(Faults { operator: true, ..Faults::default() }));
}

#[test]
fn without_rule_7_a_late_write_is_taken_for_somebody_elses() {
    let _off = without(Rule::UnknownOutcomesAreRecorded);
    assert!(caught(Faults { operator: true, ..Faults::default() }));
}

/// The state after a master of three names comes back with none.
fn after_an_empty_list() -> State {
    let list: List = ["user.a", "user.b", "user.c"]
        .map(|name| (name.as_bytes().to_vec(), active("be1!default", "a\tlrs")))
        .into();
    let guard = Guard { share: 0.5, at_least: 1, at_most: 100 };
    let mut world = World::new(Policy { guard, ..Policy::default() }, list);
    world.wipe_master(|_| false);
    world.settle();
    assert_eq!(world.store.list.len(), 3, "whatever happens, nothing is lost by a list alone");
    world.feed(Event::Tick);
    world.machine.state()
}

#[test]
fn rule_10_an_empty_master_waits_for_a_person() {
    assert_eq!(after_an_empty_list(), State::Holding);
}

#[test]
fn without_rule_10_an_empty_master_is_followed() {
    let _off = without(Rule::NoMassChangeUnasked);
    assert_eq!(after_an_empty_list(), State::Following);
}
