//! Few seeds for every day; as many as wanted by `RAVENRY_SEEDS`; each rule switched off, and missed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::check::End;
use super::world::{Counts, World};
use crate::rules::{Rule, without};

/// So many seeds are run where nothing else is asked for.
const FEW: u64 = 150;

/// Runs a seed to its end.
fn run(seed: u64, trace: bool) -> World {
    let mut world = World::new(seed, trace);
    while world.end != End::Over && world.step() {}
    world
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// `RAVENRY_SEED=N` runs one seed and tells everything that happened; `RAVENRY_SEEDS=N` runs so many, from
/// `RAVENRY_FROM` on, and tells what they amounted to.
#[test]
fn whatever_goes_wrong_nothing_acknowledged_is_lost() {
    if let Some(seed) = number("RAVENRY_SEED") {
        let world = run(seed, true);
        println!("{}", world.trace.unwrap_or_default().join("\n"));
        assert!(world.violations.is_empty(), "seed {seed}: {}", world.violations.join("\n"));
        return;
    }
    let (from, seeds) = (number("RAVENRY_FROM").unwrap_or(0), number("RAVENRY_SEEDS").unwrap_or(FEW));
    let (next, began) = (AtomicU64::new(from), Instant::now());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let worker = || {
        let (mut counts, mut bad) = (Counts::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + seeds {
                return (counts, bad);
            }
            let world = run(seed, false);
            counts.add(&world.counts);
            if !world.violations.is_empty() {
                println!("seed {seed}: {}", world.violations.join("\n"));
                bad.push(seed);
            }
        }
    };
    let (mut counts, mut bad) = (Counts::default(), Vec::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        for (theirs, failed) in workers.into_iter().map(|worker| worker.join().unwrap()) {
            counts.add(&theirs);
            bad.extend(failed);
        }
    });
    let took = began.elapsed().as_secs_f64();
    println!("{seeds} seeds in {took:.1} s, {:.0} a second", seeds as f64 / took);
    for (what, count) in &counts.0 {
        println!("  {count:>10} {what}");
    }
    bad.sort_unstable();
    assert!(bad.is_empty(), "RAVENRY_SEED=N shows one of {bad:?}");
}

#[test]
fn a_seed_is_one_history() {
    for seed in 0..6 {
        let (one, other) = (run(seed, true), run(seed, true));
        let (one, other) = (one.trace.unwrap_or_default(), other.trace.unwrap_or_default());
        let differs = one.iter().zip(&other).position(|(one, other)| one != other);
        assert_eq!(differs.map(|at| (&one[at], &other[at])), None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}

/// Each rule is missed by some seed, and not for nothing: with it the same seed is well. The search begins where one was
/// found when this was written. Rules 8, 9 and 12 are about mail and ghosts,
/// which are left out.
#[test]
fn without_any_rule_some_seed_fails() {
    let rules = [
        (Rule::DurableBeforeOk, 1807),
        (Rule::StreamsEndBare, 5),
        (Rule::WholeListInOrder, 59),
        (Rule::FindNeverGuesses, 47),
        (Rule::MasterNeverCrashed, 103),
        (Rule::EveryWaitIsBounded, 0),
        (Rule::UnknownOutcomesAreRecorded, 34),
        (Rule::NoMassChangeUnasked, 2),
        (Rule::NothingUnauthenticatedWrites, 11),
    ];
    for (rule, from) in rules {
        let well = |seed: u64| run(seed, false).violations.is_empty();
        let misses = |seed: &u64| {
            let off = without(rule);
            let fails = !well(*seed);
            drop(off);
            fails && well(*seed)
        };
        let seed = (from..from + 2000).find(misses).unwrap_or_else(|| panic!("nobody misses {rule:?}"));
        println!("without {rule:?} seed {seed} fails");
    }
}
