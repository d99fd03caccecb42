//! Random schedules of calls, losses, crashes, late executions and returns.

use std::collections::BTreeSet;

use super::super::{Event, Policy};
use super::world::{List, World, active, at, name};
use crate::authority::write::Write;
use crate::list::Acl;

const EVENTS: usize = 40;

#[derive(Clone, Copy, Debug)]
struct Faults {
    crash: bool,
    bypass: bool,
    operator: bool,
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

fn run(seed: u64, faults: Faults) -> World {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut list = List::new();
    list.insert(b"user.b".to_vec(), active("be1!default", "a\tlrs"));
    let mut world = World::new(Policy { replay_concurrency: 1 + rng.usize(..3), ..Policy::default() }, list);
    for _ in 0..EVENTS {
        let pick = rng.usize(..16);
        let what = rng.usize(..100);
        match what {
            0..28 => {
                let write = any_write(&mut rng);
                world.call(write).is_some()
            }
            28..45 => world.commit_one(),
            45..56 => world.execute_one(pick),
            56..66 => world.reply_one(pick),
            66..70 => world.lose_one(pick),
            70..73 => world.wake_zombie(pick),
            73..79 => world.stream_one(),
            79..83 => world.pass_barrier(),
            83..87 => world.master_dies(),
            87..92 => world.master_returns(),
            92..95 => world.list_complete(),
            95 if faults.crash => {
                world.crash(pick.is_multiple_of(2));
                true
            }
            96 if faults.bypass => {
                let write = any_write(&mut rng);
                world.bypass(&write);
                true
            }
            97 if faults.operator => {
                world.feed(if rng.bool() { Event::StandIn } else { Event::Follow });
                true
            }
            _ => {
                world.feed(Event::Tick);
                true
            }
        };
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
    world.check();
    if !world.violations.is_empty() {
        panic!("seed {seed} {faults:?}: {:#?}\n{}", world.violations, world.trace.join("\n"));
    }
    world
}

fn run_many(seeds: std::ops::Range<u64>, faults: Faults) {
    let halves = seeds.start..seeds.start + (seeds.end - seeds.start) / 2;
    let visited = std::thread::scope(|scope| {
        let other = halves.end..seeds.end;
        let handles = [halves, other].map(|range| {
            scope.spawn(move || range.flat_map(|seed| run(seed, faults).visited).collect::<BTreeSet<_>>())
        });
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect::<BTreeSet<_>>()
    });
    for transition in [
        ("following", "standing-in"),
        ("standing-in", "following"),
        ("standing-in", "replaying"),
        ("replaying", "following"),
        ("replaying", "standing-in"),
    ] {
        assert!(visited.contains(&transition), "no schedule took {transition:?}: {visited:?}");
    }
}

#[test]
fn every_acknowledged_change_survives_losses_and_late_executions() {
    run_many(0..50_000, Faults { crash: false, bypass: false, operator: true });
}

#[test]
fn every_acknowledged_change_survives_crashes() {
    run_many(100_000..140_000, Faults { crash: true, bypass: false, operator: true });
}

#[test]
fn what_is_done_behind_our_back_is_never_overwritten_unrecorded() {
    run_many(200_000..230_000, Faults { crash: true, bypass: true, operator: true });
}
