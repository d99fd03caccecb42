//! The merge commutes with replay: however far a replay has come when the lists are merged anew, in whatever order
//! its names are settled, and while writes go on, the end is the same; merged again, nothing is left to do; and the
//! plan, made beforehand, says what that end is.

use std::collections::BTreeMap;

use super::super::{Policy, Restored, State};
use super::steps::{activate, reserve};
use super::world::{List, World, active, at, name};
use crate::authority::plan::{Act, Intent, PlanStep, Side, step};
use crate::authority::write::{Outcome, Write};
use crate::list::{Acl, Entry, MailboxName, is_delete_mark};

const SEEDS: u64 = 6_000;
const NAMES: [&str; 7] = ["user.a", "user.b", "user.b.x", "user.c", "user.d", "user.e", "user.f"];
/// Nobody writes it before the replay.
const LATER: &str = "user.z";

fn any_location(rng: &mut fastrand::Rng) -> &'static str {
    ["be1!default", "be1!", "be2!default"][rng.usize(..3)]
}

fn any_entry(rng: &mut fastrand::Rng) -> Option<Entry> {
    let location = any_location(rng);
    match rng.usize(..4) {
        0 => None,
        1 => Some(Entry::reserved(at(location))),
        _ => Some(active(location, ["a\tlrs", "a\tlrw"][rng.usize(..2)])),
    }
}

fn any_write(rng: &mut fastrand::Rng, of: &str) -> Write {
    let (name, location) = (name(of), at(any_location(rng)));
    match rng.usize(..6) {
        0 => Write::Reserve { name, location },
        1..4 => Write::Activate { name, location, acl: Acl::new([b"a\tlrs", b"a\tlrw"][rng.usize(..2)]) },
        4 => Write::Deactivate { name, location },
        _ => Write::Delete { name },
    }
}

/// The master is lost with some common list; we write, it is written, and it is about to be back.
fn diverged(seed: u64, replay_concurrency: usize) -> World {
    let mut rng = fastrand::Rng::with_seed(seed);
    let base: List =
        NAMES.iter().filter_map(|n| Some((n.as_bytes().to_vec(), any_entry(&mut rng)?))).collect();
    let mut world = World::new(Policy { replay_concurrency, ..Policy::default() }, base);
    world.master_dies();
    for _ in 0..rng.usize(..8) {
        let of = NAMES[rng.usize(..NAMES.len())];
        world.ask(any_write(&mut rng, of));
    }
    // What is done at the master while we stand in proves nothing about what callers may believe.
    world.bypassed = true;
    for _ in 0..rng.usize(..4) {
        let key = NAMES[rng.usize(..NAMES.len())].as_bytes().to_vec();
        match any_entry(&mut rng) {
            Some(entry) => drop(world.master.insert(key, entry)),
            None => drop(world.master.remove(&key)),
        }
    }
    world
}

/// Everything that a replay decides; not when it did.
#[derive(PartialEq, Debug)]
struct End {
    ours: List,
    theirs: List,
    conflicts: Vec<(Vec<u8>, Option<Entry>, Option<Entry>)>,
    unconfirmed: BTreeMap<Vec<u8>, Option<Entry>>,
}

impl World {
    fn outcome(&self) -> End {
        let conflicts = self.store.conflicts.iter();
        End {
            ours: self.store.list.clone(),
            theirs: self.master.clone(),
            conflicts: conflicts.map(|(key, c)| (key.clone(), c.theirs.clone(), c.ours.clone())).collect(),
            unconfirmed: self.store.unconfirmed.clone(),
        }
    }

    /// Everything comes to its end, what was given up included.
    fn finish(&mut self, seed: u64) -> End {
        self.settle();
        while self.haunted() {
            self.wake_zombie(0);
            self.settle();
        }
        self.check();
        let trace = || self.trace.join("\n");
        assert!(self.violations.is_empty(), "seed {seed}: {:#?}\n{}", self.violations, trace());
        assert_eq!(self.machine.state(), State::Following, "seed {seed}: {}", trace());
        self.outcome()
    }

    /// One thing happens, in any order that may be.
    fn any_move(&mut self, rng: &mut fastrand::Rng) {
        let pick = rng.usize(..16);
        match rng.usize(..4) {
            0 => drop(self.commit_one()),
            1 => drop(self.execute_one(pick)),
            2 => drop(self.reply_one(pick)),
            _ => drop(self.stream_one()),
        }
    }
}

fn uninterrupted(seed: u64) -> End {
    let mut world = diverged(seed, 1);
    assert!(world.master_returns() && world.list_complete());
    world.finish(seed)
}

fn planned(world: &World) -> Vec<PlanStep> {
    let steps = NAMES.iter().filter_map(|of| {
        let theirs = world.master.get(of.as_bytes()).cloned();
        step(name(of), theirs, Intent::Replay, &world.store).unwrap()
    });
    steps.collect()
}

fn held(list: &List, name: &MailboxName) -> Option<Entry> {
    list.get(name.as_bytes()).cloned()
}

#[test]
fn carried_out_and_merged_again_nothing_is_left_to_do() {
    for seed in 0..SEEDS {
        let mut world = diverged(seed, 2);
        assert!(world.master_returns() && world.list_complete());
        let end = world.finish(seed);
        let again: Vec<_> = planned(&world).into_iter().filter(|step| !step.waits).collect();
        assert!(again.is_empty(), "seed {seed}: still to do: {again:?}");
        // Nor does the machine do anything.
        let told = world.trace.len();
        world.master_dies();
        assert!(world.master_returns() && world.list_complete());
        assert_eq!(world.finish(seed), end, "seed {seed}");
        let sent: Vec<_> = world.trace[told..].iter().filter(|line| line.contains("> Send(")).collect();
        assert!(sent.is_empty(), "seed {seed}: {sent:?}");
    }
}

#[test]
fn the_plan_says_what_the_replay_does_and_drops_nothing() {
    let mut acts = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut world = diverged(seed, 2);
        let (plan, before) = (planned(&world), world.outcome());
        assert!(world.master_returns() && world.list_complete());
        let end = world.finish(seed);
        for of in NAMES.map(name) {
            let planned = plan.iter().find(|step| step.name == of);
            let (ours, theirs) = (held(&end.ours, &of), held(&end.theirs, &of));
            let was = (held(&before.ours, &of), held(&before.theirs, &of));
            let wanted = match planned {
                None => was,
                Some(step) if step.waits && step.side == Side::Master => {
                    // An XFER that never ends: the mailbox is live as it was, with what we changed before.
                    let asked = world.store.conflicts.contains_key(of.as_bytes());
                    assert!(asked || ours == theirs, "seed {seed}: {of}: {ours:?}, {theirs:?}");
                    assert!(theirs.as_ref().is_some_and(Entry::is_active), "seed {seed}: {of} was hidden");
                    (ours.clone(), theirs.clone())
                }
                Some(step) if step.waits => was,
                Some(step) => (step.after.clone(), step.after.clone()),
            };
            assert_eq!((&ours, &theirs), (&wanted.0, &wanted.1), "seed {seed}: {of}: {planned:?}");
            // Gone from a side that had it: only where we deleted it ourselves.
            let lost = before.theirs.contains_key(of.as_bytes()) && theirs.is_none();
            let ours = format!("Journal(JournalRecord {{ name: \"{of}\", verb: Delete");
            let deleted = world.trace.iter().any(|line| line.contains(&ours));
            assert!(!lost || deleted, "seed {seed}: {of} was dropped");
            assert!(!theirs.as_ref().is_some_and(is_delete_mark));
        }
        acts.extend(plan.iter().map(|step| (step.side, step.act, step.waits)));
    }
    for wanted in [
        (Side::Master, Act::Add, false),
        (Side::Master, Act::Activate, false),
        (Side::Master, Act::Move, false),
        (Side::Master, Act::Remove, false),
        (Side::Master, Act::Acl, false),
        (Side::Here, Act::Add, false),
        (Side::Here, Act::Activate, false),
        (Side::Here, Act::Move, true),
        (Side::Here, Act::Remove, true),
        (Side::Neither, Act::Conflict, true),
    ] {
        assert!(acts.contains(&wanted), "no seed planned {wanted:?}: {acts:?}");
    }
}

#[test]
fn the_order_in_which_names_are_settled_does_not_matter() {
    for seed in 0..SEEDS {
        let end = uninterrupted(seed);
        let mut rng = fastrand::Rng::with_seed(!seed);
        let mut world = diverged(seed, 1 + rng.usize(..NAMES.len()));
        assert!(world.master_returns() && world.list_complete());
        for _ in 0..40 {
            world.any_move(&mut rng);
        }
        assert_eq!(world.finish(seed), end, "seed {seed}: {}", world.trace.join("\n"));
    }
}

#[test]
fn merged_anew_after_any_part_of_a_replay_the_end_is_the_same() {
    let mut interrupted = 0;
    for seed in 0..SEEDS {
        let mut end = uninterrupted(seed);
        let mut rng = fastrand::Rng::with_seed(!seed);
        let mut world = diverged(seed, 1 + rng.usize(..3));
        assert!(world.master_returns() && world.list_complete());
        for _ in 0..1 + rng.usize(..3) {
            for _ in 0..rng.usize(..12) {
                world.any_move(&mut rng);
            }
            interrupted += u32::from(world.machine.state() == State::Replaying);
            match rng.usize(..3) {
                0 => drop(world.master_dies()),
                1 => world.crash(rng.bool(), Restored::Fresh),
                // One reply never comes, and what was asked for is carried out at any time.
                _ => drop(world.lose_one(rng.usize(..16)) || world.master_dies()),
            }
            if rng.bool() {
                world.wake_zombie(rng.usize(..16));
            }
            assert!(world.master_returns() && world.list_complete());
        }
        // And writes go on.
        let call = world.call(reserve(LATER, "be2!default")).unwrap();
        for _ in 0..rng.usize(..12) {
            world.any_move(&mut rng);
        }
        world.finish(seed);
        assert_eq!(world.answers.get(&call), Some(&Outcome::Done), "seed {seed}");
        assert_eq!(world.ask(activate(LATER, "be2!default", "z\tlrs")), Outcome::Done);
        let later = (LATER.as_bytes().to_vec(), active("be2!default", "z\tlrs"));
        end.ours.extend([later.clone()]);
        end.theirs.extend([later]);
        assert_eq!(world.finish(seed), end, "seed {seed}: {}", world.trace.join("\n"));
    }
    assert!(interrupted > 1_000, "only {interrupted} replays were in the midst of something");
}
