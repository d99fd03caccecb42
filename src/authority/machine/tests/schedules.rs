//! Random schedules of calls, losses, crashes, late executions and returns.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::{Event, Policy, Restored, State};
use super::world::{ACCEPT, List, RESEED, World, active, at, name};
use crate::authority::guard::Guard;
use crate::authority::write::Write;
use crate::list::Acl;

const EVENTS: usize = 40;

/// What may go wrong in a schedule, beside the master and the connections to it.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Faults {
    /// Ravenry is killed.
    pub(super) crash: bool,
    /// Somebody changes the master directly.
    pub(super) bypass: bool,
    /// `ravenry stand-in` and `ravenry follow`, at any time.
    pub(super) operator: bool,
    /// The master loses names, and a person decides whose list is right.
    pub(super) wipe: bool,
    /// Our disk fails, and Ravenry is started again.
    pub(super) disk: bool,
    /// Backends take back what they asked for.
    pub(super) take_back: bool,
    /// Ravenry was off for so long that its list is old.
    pub(super) stale: bool,
    /// The comparison of the lists takes its time.
    pub(super) apart: bool,
}

fn any_write(rng: &mut fastrand::Rng) -> Write {
    let name = name(["user.a", "user.b", "user.b.x"][rng.usize(..3)]);
    let location = at(["be1!default", "be2!default", "be1!"][rng.usize(..3)]);
    match rng.usize(..8) {
        0..3 => Write::Reserve { name, location },
        3..6 => Write::Activate { name, location, acl: Acl::new([b"a\tlrs", b"a\tlrw"][rng.usize(..2)]) },
        6 => Write::Deactivate { name, location },
        _ => Write::Delete { name },
    }
}

/// One event of a schedule.
fn step(world: &mut World, rng: &mut fastrand::Rng, faults: Faults) {
    let pick = rng.usize(..16);
    if faults.apart && world.is_judging() && rng.u8(..8) == 0 {
        world.compared();
    }
    if faults.take_back && rng.u8(..16) == 0 {
        world.end(pick, rng.bool());
    }
    if faults.crash && rng.u8(..8) == 0 {
        if rng.u8(..4) == 0 {
            world.look();
        } else {
            world.pronounce(pick);
        }
    }
    match rng.usize(..100) {
        0..28 => drop(world.call(any_write(rng))),
        28..45 => drop(world.commit_one()),
        45..56 => drop(world.execute_one(pick)),
        56..66 => drop(world.reply_one(pick)),
        66..70 => drop(world.lose_one(pick)),
        70..73 => drop(world.wake_zombie(pick)),
        73..79 => drop(world.stream_one()),
        79..82 => drop(world.pass_barrier()),
        82..86 => drop(world.master_dies()),
        86..91 => drop(world.master_returns()),
        91..94 if faults.apart => drop(world.list_read()),
        91..94 => drop(world.list_complete()),
        94 if faults.wipe => {
            let kept = rng.u8(..3);
            world.wipe_master(|name| name.len() as u8 % 3 < kept);
        }
        95 if faults.disk => world.break_store(),
        96 if faults.crash => {
            let restored = if faults.stale && rng.bool() { Restored::Stale } else { Restored::Fresh };
            world.crash(pick.is_multiple_of(2), restored);
        }
        97 if faults.bypass => {
            let write = any_write(rng);
            world.bypass(&write);
        }
        98 if faults.operator => world.feed(if rng.bool() { Event::StandIn } else { Event::Follow }),
        99 if faults.wipe || faults.stale => person_decides(world, rng),
        _ => {
            world.pass_time(Duration::from_secs(1));
            world.feed(Event::Tick);
        }
    }
}

/// A person looks, if there is anything to decide.
fn person_decides(world: &mut World, rng: &mut fastrand::Rng) {
    let reseed = rng.bool();
    match world.machine.state() {
        State::Holding if reseed => world.feed(Event::Begin(RESEED)),
        // To take the master's list, or to believe one on disk that may lack things, is to give something up.
        State::Holding | State::Learning => {
            world.bypassed = true;
            world.feed(if reseed { Event::Begin(RESEED) } else { Event::Begin(ACCEPT) });
        }
        State::StandingIn if rng.u8(..8) == 0 => {
            world.bypassed = true;
            world.feed(Event::Begin(ACCEPT));
        }
        _ => {}
    }
}

pub(super) fn run(seed: u64, faults: Faults) -> World {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut list = List::new();
    list.insert(b"user.b".to_vec(), active("be1!default", "a\tlrs"));
    let guard = if faults.wipe { Guard { share: 0.0, at_least: 0, at_most: 0 } } else { Guard::default() };
    let replay_concurrency = 1 + rng.usize(..3);
    let mut world = World::new(Policy { guard, replay_concurrency, ..Policy::default() }, list);
    for _ in 0..EVENTS {
        step(&mut world, &mut rng, faults);
    }
    if world.machine.held() {
        world.feed(Event::Follow);
    }
    world.settle();
    // A master that hung may carry out what it was sent long after it is believed to agree.
    while world.haunted() {
        world.wake_zombie(rng.usize(..16));
        world.settle();
    }
    for _ in 0..8 {
        person_decides(&mut world, &mut rng);
        world.settle();
    }
    while world.end(0, true) {}
    for _ in 0..3 {
        world.find_out();
        world.settle();
    }
    world.look();
    world.check();
    world
}

pub(super) fn run_many(seeds: std::ops::Range<u64>, faults: Faults) -> BTreeSet<(State, State)> {
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    std::thread::scope(|scope| {
        let halves = [seeds.start..middle, middle..seeds.end].map(|range| {
            scope.spawn(move || {
                let mut visited = BTreeSet::new();
                for seed in range {
                    let world = run(seed, faults);
                    if !world.violations.is_empty() {
                        panic!("seed {seed} {faults:?}: {:#?}\n{}", world.violations, world.trace.join("\n"));
                    }
                    visited.extend(world.visited);
                }
                visited
            })
        });
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

fn assert_took(visited: &BTreeSet<(State, State)>, transitions: &[(State, State)]) {
    for transition in transitions {
        assert!(visited.contains(transition), "no schedule took {transition:?}: {visited:?}");
    }
}

/// Losing the master and having it back.
const ORDINARY: [(State, State); 4] = [
    (State::Following, State::StandingIn),
    (State::StandingIn, State::Replaying),
    (State::Replaying, State::Following),
    (State::Replaying, State::StandingIn),
];

#[test]
fn every_acknowledged_change_survives_losses_and_late_executions() {
    let visited =
        run_many(0..45_000, Faults { apart: true, operator: true, take_back: true, ..Faults::default() });
    assert_took(&visited, &ORDINARY);
}

#[test]
fn every_acknowledged_change_survives_crashes() {
    let visited = run_many(
        100_000..135_000,
        Faults { crash: true, operator: true, take_back: true, apart: true, ..Faults::default() },
    );
    assert_took(&visited, &ORDINARY);
}

#[test]
fn what_is_done_behind_our_back_is_never_overwritten_unrecorded() {
    let faults = Faults {
        crash: true,
        bypass: true,
        operator: true,
        take_back: true,
        apart: true,
        ..Faults::default()
    };
    assert_took(&run_many(200_000..220_000, faults), &ORDINARY);
}

#[test]
fn a_master_that_lost_its_list_takes_nothing_with_it() {
    let faults = Faults { wipe: true, operator: true, take_back: true, apart: true, ..Faults::default() };
    let visited = run_many(300_000..315_000, faults);
    assert_took(&visited, &ORDINARY);
    assert_took(
        &visited,
        &[
            (State::StandingIn, State::Holding),
            (State::Holding, State::Replaying),
            (State::Holding, State::Following),
        ],
    );
}

#[test]
fn a_disk_that_fails_and_a_list_that_is_old_lose_nothing_acknowledged() {
    let faults = Faults {
        crash: true,
        disk: true,
        stale: true,
        operator: true,
        take_back: true,
        apart: true,
        ..Faults::default()
    };
    let visited = run_many(400_000..415_000, faults);
    assert_took(&visited, &ORDINARY);
    assert_took(
        &visited,
        &[
            (State::Following, State::Learning),
            (State::Learning, State::Following),
            (State::Learning, State::StandingIn),
            (State::Learning, State::Replaying),
        ],
    );
}

#[test]
fn an_operation_that_comes_to_nothing_takes_nothing_else_with_it() {
    let faults = Faults { take_back: true, crash: true, operator: true, apart: true, ..Faults::default() };
    assert_took(&run_many(500_000..520_000, faults), &ORDINARY);
}
