//! What a person orders, and the guard that makes a person necessary.

use std::time::Duration;

use super::super::{CallId, Event, Keep, Policy, Progress, Restored, State, Task};
use super::world::{List, World, active, at, name};
use crate::authority::write::{Outcome, Write};
use crate::list::Acl;

const NAMES: usize = 40;

fn users(range: std::ops::Range<usize>, location: &str) -> List {
    range.map(|n| (format!("user.u{n:03}").into_bytes(), active(location, "u\tlrs"))).collect()
}

/// Forty users, all in step with the master.
fn murder() -> World {
    let world = World::new(Policy::default(), users(0..NAMES, "be1!default"));
    assert_eq!(world.machine.state(), State::Following);
    world
}

/// The master goes, and comes back with this list.
fn master_comes_back_with(world: &mut World, list: List) {
    world.master_dies();
    world.master = list;
    world.settle();
}

fn begin(world: &mut World, task: Task) {
    world.feed(Event::Begin(task));
    world.settle();
}

fn write_and_settle(world: &mut World, write: Write) -> Outcome {
    let call = world.call(write).unwrap();
    world.settle();
    world.answers[&call].clone()
}

#[test]
fn an_empty_master_is_made_ours_by_a_reseed() {
    let mut world = murder();
    master_comes_back_with(&mut world, List::new());
    assert_eq!(world.machine.state(), State::Holding);
    let new = Write::Activate { name: name("user.new"), location: at("be1!"), acl: Acl::new(b"n\tl") };
    assert_eq!(write_and_settle(&mut world, new), Outcome::Done);
    begin(&mut world, Task::Reseed { removals: 0 });
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, world.store.list);
    assert_eq!(world.master.len(), NAMES + 1);
    world.check();
    assert_eq!(world.violations, Vec::<String>::new());
}

#[test]
fn a_reseed_gives_neighbours_one_after_the_other_and_writes_nothing_here() {
    let mut world = murder();
    master_comes_back_with(&mut world, List::new());
    world.trace.clear();
    begin(&mut world, Task::Reseed { removals: 0 });
    assert_eq!(world.master.len(), NAMES);
    let committed: Vec<_> = world.trace.iter().filter(|line| line.contains("> Commit")).collect();
    assert!(committed.is_empty(), "nothing was on record of these names: {committed:?}");
    let sent = world.trace.iter().filter(|line| line.contains("> Send("));
    let sent: Vec<_> = sent.filter_map(|line| line.get(line.find("user.u")?..)?.get(..9)).collect();
    assert!(sent.len() == NAMES && sent.is_sorted(), "{sent:?}");
}

#[test]
fn a_reseed_removes_above_the_guard_only_what_was_confirmed() {
    let mut world = murder();
    let mut list = users(0..5, "be1!default");
    list.extend(users(100..130, "be2!default"));
    master_comes_back_with(&mut world, list.clone());
    begin(&mut world, Task::Reseed { removals: 3 });
    assert_eq!(world.machine.state(), State::Holding);
    assert!(matches!(world.machine.progress(), Some(Progress::Failed(_, why)) if why.contains("30 names")));
    assert_eq!(world.master, list);
    begin(&mut world, Task::Reseed { removals: 30 });
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, users(0..NAMES, "be1!default"));
}

#[test]
fn a_reseed_killed_anywhere_and_run_again_ends_the_same() {
    for steps in 0..120 {
        let mut world = murder();
        master_comes_back_with(&mut world, users(90..95, "be9!default"));
        world.feed(Event::Begin(Task::Reseed { removals: 5 }));
        for step in 0..steps {
            let _ = world.master_returns()
                || world.list_complete()
                || (step % 3 == 0 && world.commit_one())
                || world.execute_one(step)
                || world.reply_one(step)
                || world.commit_one()
                || world.pass_barrier();
        }
        world.crash(false, Restored::Fresh);
        world.settle();
        // It went on by itself; a second run finds nothing to do.
        begin(&mut world, Task::Reseed { removals: 5 });
        assert_eq!(world.machine.state(), State::Following, "after {steps} steps");
        assert_eq!(world.master, users(0..NAMES, "be1!default"), "after {steps} steps");
        assert_eq!(world.store.list, world.master, "after {steps} steps");
    }
}

#[test]
fn a_reseed_gives_the_master_no_more_names_in_a_second_than_it_may() {
    let policy = Policy { replay_rate: 3, ..Policy::default() };
    let mut world = World::new(policy, users(0..NAMES, "be1!default"));
    master_comes_back_with(&mut world, List::new());
    world.feed(Event::Begin(Task::Reseed { removals: 0 }));
    assert!(world.master_returns() && world.list_complete());
    for second in 1.. {
        // However much time the second has for everything else.
        while world.execute_one(0) || world.reply_one(0) || world.commit_one() || world.pass_barrier() {}
        let given = (3 * second).min(NAMES);
        assert_eq!(world.master.len(), given, "in second {second}");
        if given == NAMES {
            break;
        }
        world.pass_time(Duration::from_secs(1));
        world.feed(Event::Tick);
    }
    world.settle();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, world.store.list);
}

#[test]
fn two_tasks_at_once_are_one_too_many() {
    let mut world = murder();
    master_comes_back_with(&mut world, List::new());
    world.feed(Event::Begin(Task::Reseed { removals: 0 }));
    let objection = world.machine.objection(Task::Accept { forgotten: 40 });
    assert_eq!(objection.as_deref(), Some("a reseed is under way"));
    world.settle();
    assert_eq!(world.machine.objection(Task::Reseed { removals: 0 }), None);
}

#[test]
fn taking_the_masters_list_forgets_what_was_confirmed_and_no_more() {
    let mut world = murder();
    master_comes_back_with(&mut world, users(0..3, "be1!default"));
    begin(&mut world, Task::Accept { forgotten: 10 });
    assert_eq!(world.machine.state(), State::Holding);
    assert_eq!(world.store.list.len(), NAMES);
    begin(&mut world, Task::Accept { forgotten: 37 });
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.store.list, users(0..3, "be1!default"));
    assert_eq!(world.slave, world.store.list);
}

#[test]
fn nothing_is_granted_that_the_list_being_taken_would_lose() {
    let mut world = murder();
    master_comes_back_with(&mut world, List::new());
    world.feed(Event::Begin(Task::Accept { forgotten: 40 }));
    let call = world.call(Write::Reserve { name: name("user.new"), location: at("be1!default") }).unwrap();
    assert_eq!(world.answers[&call], Outcome::Unavailable);
    world.settle();
    assert_eq!(world.store.list, List::new());
    // Had the master gone instead, we would go on deciding.
    master_comes_back_with(&mut world, users(0..20, "be1!default"));
    world.feed(Event::Begin(Task::Accept { forgotten: 0 }));
    world.feed(Event::GiveUp("the master's list broke off".into()));
    assert_ne!(world.machine.state(), State::Learning);
}

/// Somebody deletes names at the master behind our back, one after the other.
fn delete_at_master(world: &mut World, range: std::ops::Range<usize>) {
    for n in range {
        bypass(world, &Write::Delete { name: name(&format!("user.u{n:03}")) });
    }
}

/// Somebody changes a name there, and the stream tells.
fn bypass(world: &mut World, write: &Write) {
    world.bypass(write);
    while world.stream_one() {}
    while world.commit_one() {}
}

#[test]
fn a_burst_of_deletes_ends_the_trust_and_is_undone() {
    let mut world = murder();
    delete_at_master(&mut world, 0..10);
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.store.list.len(), NAMES - 10);
    delete_at_master(&mut world, 10..11);
    assert_eq!(world.machine.state(), State::Holding);
    world.settle();
    assert_eq!(world.store.list.len(), NAMES);
    assert_eq!(world.slave, world.store.list);
}

/// A master that begins to delete while it is being given what it missed.
pub(super) fn burst_in_a_replay() -> World {
    let mut world = murder();
    world.master_dies();
    let owed = Write::Activate { name: name("user.new"), location: at("be1!"), acl: Acl::new(b"n\tl") };
    assert_eq!(write_here(&mut world, owed), Outcome::Done);
    world.master_returns();
    world.list_complete();
    assert_eq!(world.machine.state(), State::Replaying);
    delete_at_master(&mut world, 0..11);
    world
}

#[test]
fn a_burst_in_the_midst_of_a_replay_ends_the_trust_too() {
    let mut world = burst_in_a_replay();
    assert_eq!(world.machine.state(), State::Holding);
    world.settle();
    assert_eq!(world.store.list.len(), NAMES + 1);
    assert_eq!(world.slave, world.store.list);
}

#[test]
fn deletes_that_are_slow_or_expected_or_ours_are_no_burst() {
    let mut slow = murder();
    for n in 0..20 {
        delete_at_master(&mut slow, n..n + 1);
        slow.pass_time(Duration::from_secs(10));
    }
    assert_eq!((slow.machine.state(), slow.store.list.len()), (State::Following, NAMES - 20));

    let mut announced = murder();
    announced.feed(Event::Expect(b"be1".to_vec(), Duration::from_secs(3600)));
    delete_at_master(&mut announced, 0..30);
    assert_eq!((announced.machine.state(), announced.store.list.len()), (State::Following, NAMES - 30));

    // cyr_expire, which a backend runs at night.
    let kept = |n| name(&format!("DELETED.user.u{n:03}.6B041D87"));
    let list: List =
        (0..NAMES).map(|n| (kept(n).as_bytes().to_vec(), active("be1!default", "u\tlrs"))).collect();
    let mut expired = World::new(Policy::default(), list);
    for n in 0..30 {
        bypass(&mut expired, &Write::Delete { name: kept(n) });
    }
    assert_eq!((expired.machine.state(), expired.store.list.len()), (State::Following, NAMES - 30));

    let mut ours = murder();
    for n in 0..30 {
        let write = Write::Delete { name: name(&format!("user.u{n:03}")) };
        assert_eq!(write_and_settle(&mut ours, write), Outcome::Done);
    }
    assert_eq!((ours.machine.state(), ours.store.list.len()), (State::Following, NAMES - 30));
}

#[test]
fn another_masters_name_is_enough_to_ask_a_person() {
    let mut world = murder();
    let comes_back_as = |world: &mut World, servername: &str| {
        world.master_dies();
        world.servername = servername.to_owned();
        world.settle();
    };
    comes_back_as(&mut world, "mm");
    assert_eq!(world.machine.state(), State::Following);
    comes_back_as(&mut world, "other");
    assert_eq!(world.machine.state(), State::Holding);
    begin(&mut world, Task::Reseed { removals: 0 });
    assert_eq!(world.machine.state(), State::Following);
    comes_back_as(&mut world, "other");
    assert_eq!(world.machine.state(), State::Following, "a person has confirmed it");
}

fn disputed() -> World {
    let mut world = murder();
    world.master_dies();
    let moved = Write::Delete { name: name("user.u000") };
    assert_eq!(write_here(&mut world, moved), Outcome::Done);
    world.master.insert(b"user.u000".to_vec(), active("be2!default", "u\tlrs"));
    world.master.remove(b"user.u001".as_slice());
    world.settle();
    assert_eq!(world.machine.state(), State::Following);
    assert!(world.store.conflicts.contains_key(b"user.u000".as_slice()));
    assert!(world.store.unconfirmed.contains_key(b"user.u001".as_slice()));
    world
}

/// Decided here, before the master is back.
fn write_here(world: &mut World, write: Write) -> Outcome {
    let call = world.call(write).unwrap();
    while world.commit_one() {}
    world.answers[&call].clone()
}

fn resolve(world: &mut World, user: &str, keep: Keep) -> Outcome {
    let call = CallId(1_000_000);
    world.feed(Event::Resolve(call, name(user), keep));
    world.settle();
    world.answers[&call].clone()
}

#[test]
fn a_persons_word_settles_a_name_on_both_sides() {
    for keep in [Keep::Ours, Keep::Theirs] {
        let mut world = disputed();
        for user in ["user.u000", "user.u001"] {
            let key = user.as_bytes().to_vec();
            let (ours, theirs) = (world.store.list.get(&key).cloned(), world.master.get(&key).cloned());
            assert_eq!(resolve(&mut world, user, keep), Outcome::Done);
            let kept = if keep == Keep::Ours { ours } else { theirs };
            assert_eq!(world.store.list.get(&key).cloned(), kept, "{user} {keep:?}");
            assert_eq!(world.master.get(&key).cloned(), kept, "{user} {keep:?}");
        }
        assert!(world.store.conflicts.is_empty() && world.store.unconfirmed.is_empty());
        assert_eq!(world.slave, world.store.list);
    }
}

/// What a snapshot lacked or had elsewhere waits for a word that is no older list's.
#[test]
fn what_a_snapshot_took_away_is_settled_by_its_backend_or_a_live_stream() {
    let unconfirmed = |world: &World, user: &str| world.store.unconfirmed.contains_key(user.as_bytes());
    let held = |list: &List, user: &str| list.get(user.as_bytes()).cloned();
    let moved = |world: &World| {
        let there = Some(active("be2!default", "u\tlrs"));
        held(&world.master, "user.u001") == there && held(&world.store.list, "user.u001") == there
    };
    let activate = |location: &str| Write::Activate {
        name: name("user.u001"),
        location: at(location),
        acl: Acl::new(b"u\tlrs"),
    };
    // Its backend, as `ctl_mboxlist -m` does.
    let mut world = disputed();
    assert_eq!(write_and_settle(&mut world, activate("be1!default")), Outcome::Done);
    assert!(!unconfirmed(&world, "user.u001") && held(&world.master, "user.u001").is_some());
    assert_eq!(held(&world.store.list, "user.u001"), held(&world.master, "user.u001"));

    // A live stream places it elsewhere.
    let mut world = disputed();
    bypass(&mut world, &activate("be2!default"));
    assert!(!unconfirmed(&world, "user.u001") && moved(&world));

    // A live stream deletes what the snapshot had elsewhere.
    let mut world = murder();
    world.master_dies();
    world.master.insert(b"user.u001".to_vec(), active("be2!default", "u\tlrs"));
    world.settle();
    assert!(unconfirmed(&world, "user.u001") && !moved(&world), "not on the snapshot's word");
    bypass(&mut world, &Write::Delete { name: name("user.u001") });
    assert!(!unconfirmed(&world, "user.u001"));
    assert_eq!((held(&world.master, "user.u001"), held(&world.store.list, "user.u001")), (None, None));
    assert_eq!(world.slave, world.store.list);
}

#[test]
fn a_persons_word_while_the_master_is_away_counts_when_it_is_back() {
    let mut world = disputed();
    world.master_dies();
    for user in ["user.u000", "user.u001"] {
        let call = CallId(1_000_000);
        world.feed(Event::Resolve(call, name(user), Keep::Ours));
        while world.commit_one() {}
        assert_eq!(world.answers[&call], Outcome::Done);
    }
    world.settle();
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.master, world.store.list);
    assert!(world.store.conflicts.is_empty() && world.store.unconfirmed.is_empty());
}

#[test]
fn a_name_that_nobody_disputes_is_nothing_to_decide() {
    let mut world = murder();
    assert!(matches!(resolve(&mut world, "user.u000", Keep::Theirs), Outcome::Refused(_)));
}

#[test]
fn an_older_backup_brings_nothing_back_and_takes_nothing_away() {
    let mut world = murder();
    let older = world.master.clone();
    for n in 0..3 {
        let write = Write::Delete { name: name(&format!("user.u{n:03}")) };
        assert_eq!(write_and_settle(&mut world, write), Outcome::Done);
    }
    let new = Write::Activate { name: name("user.new"), location: at("be1!"), acl: Acl::new(b"n\tl") };
    assert_eq!(write_and_settle(&mut world, new), Outcome::Done);
    let list = world.store.list.clone();
    master_comes_back_with(&mut world, older);
    assert_eq!(world.machine.state(), State::Following);
    assert_eq!(world.store.list, list);
    assert_eq!(world.store.unconfirmed.len(), 4);
    begin(&mut world, Task::Reseed { removals: 3 });
    assert_eq!(world.master, list);
    assert!(world.store.unconfirmed.is_empty());
}
