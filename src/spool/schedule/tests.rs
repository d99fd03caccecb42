//! The schedule under every order of events.

mod wakes;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const BORN: u64 = 1_000_000;

fn id(number: u64) -> QueueId {
    QueueId(BORN * 1000 + number)
}

fn backend(name: &str) -> Destination {
    Destination::Backend(name.into())
}

fn schedule() -> Schedule {
    Schedule::new(Policy::default(), 7)
}

fn begin_all(schedule: &mut Schedule, now: u64) -> Vec<u64> {
    std::iter::from_fn(|| schedule.next(now))
        .map(|decision| match decision {
            Decision::Try(id, _) => id.0 - BORN * 1000,
            Decision::Expire(id, _) => panic!("{id} expires"),
        })
        .collect()
}

/// So many jobs at a destination that is lost: those that were tried at once failed because of it.
fn lost(jobs: u64) -> (Schedule, Destination) {
    let (mut schedule, lane) = (schedule(), backend("a"));
    (0..jobs).for_each(|n| schedule.add(id(n), &lane, 0));
    for n in begin_all(&mut schedule, BORN) {
        schedule.done(BORN, id(n), &lane, Outcome::Unreachable);
    }
    (schedule, lane)
}

#[test]
fn the_oldest_goes_first_and_every_fourth_place_is_the_newests() {
    let mut schedule = schedule();
    (0..100).for_each(|n| schedule.add(id(n), &backend("a"), 0));
    assert_eq!(begin_all(&mut schedule, BORN), [0, 1, 2, 99, 3, 4, 5, 98]);
    schedule.done(BORN, id(0), &backend("a"), Outcome::Settled);
    assert_eq!(begin_all(&mut schedule, BORN), [6]);
}

#[test]
fn lanes_take_turns_and_share_what_may_run_in_all() {
    let mut schedule = Schedule::new(Policy { in_all: 4, ..Policy::default() }, 7);
    for n in 0..10 {
        schedule.add(id(n), &backend("a"), 0);
        schedule.add(id(100 + n), &backend("b"), 0);
    }
    assert_eq!(begin_all(&mut schedule, BORN), [0, 100, 1, 101]);
}

#[test]
fn a_lost_destination_is_asked_less_and_less_and_drained_when_it_is_back() {
    let (mut schedule, lane) = lost(50);
    let (mut now, mut probes) = (BORN, Vec::new());
    while now < BORN + 600_000 {
        let begun = begin_all(&mut schedule, now);
        assert!(begun.len() <= 1, "an open breaker lets one through");
        for n in begun {
            probes.push(now - BORN);
            schedule.done(now, id(n), &lane, Outcome::Unreachable);
        }
        now = schedule.next_due().unwrap().max(now + 1);
    }
    assert!((100..160).contains(&probes.len()), "{probes:?}");
    schedule.wake(now, &lane);
    assert_eq!(begin_all(&mut schedule, now).len(), Policy::default().per_destination);
    let waiting = schedule.lanes()[0].later;
    assert_eq!(waiting, 0, "who failed because of the destination is ready at once");
}

#[test]
fn the_first_answer_after_an_outage_closes_the_breaker() {
    let (mut schedule, lane) = lost(50);
    let now = BORN + 1_500;
    let probe = begin_all(&mut schedule, now);
    assert_eq!(probe.len(), 1);
    schedule.done(now, id(probe[0]), &lane, Outcome::Deferred);
    assert_eq!(begin_all(&mut schedule, now).len(), Policy::default().per_destination);
}

#[test]
fn a_probe_that_asked_nothing_closes_no_breaker_and_the_next_one_probes() {
    for outcome in [Outcome::Gone, Outcome::Untried] {
        let (mut schedule, lane) = lost(50);
        let now = BORN + 1_500;
        let probe = begin_all(&mut schedule, now);
        schedule.done(now, id(probe[0]), &lane, outcome);
        let next = begin_all(&mut schedule, now);
        assert!(next.len() == 1 && next != probe, "{outcome:?}: {next:?}");
        schedule.done(now, id(next[0]), &lane, Outcome::Settled);
        assert_eq!(begin_all(&mut schedule, now).len(), Policy::default().per_destination);
    }
}

#[test]
fn what_could_not_be_tried_still_waits_for_its_destination() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    for outcome in [Outcome::Unreachable, Outcome::Untried] {
        assert_eq!(begin_all(&mut schedule, BORN), [0]);
        schedule.done(BORN, id(0), &lane, outcome);
        assert!(begin_all(&mut schedule, BORN).is_empty());
        schedule.wake(BORN, &lane);
    }
    assert_eq!(begin_all(&mut schedule, BORN), [0], "its destination is back");
}

#[test]
fn a_poisonous_message_holds_up_nobody() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    let mut now = BORN;
    for n in 1..200 {
        schedule.add(id(n), &lane, 0);
        now += 500;
        for begun in begin_all(&mut schedule, now) {
            // It takes the connection down with it.
            let outcome = if begun == 0 { Outcome::Unreachable } else { Outcome::Settled };
            schedule.done(now, id(begun), &lane, outcome);
        }
        assert_eq!(schedule.lanes().first().map_or(0, |lane| lane.ready), 0, "after {n}");
    }
    // Alone in its lane it does not hold up what comes next either.
    for _ in 0..20 {
        now = schedule.next_due().unwrap();
        assert_eq!(begin_all(&mut schedule, now), [0]);
        schedule.done(now, id(0), &lane, Outcome::Unreachable);
    }
    schedule.add(id(300), &lane, 0);
    assert_eq!(begin_all(&mut schedule, now), [300]);
}

#[test]
fn waits_double_from_a_second_to_half_an_hour() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    let (mut now, mut waits) = (BORN, Vec::new());
    for _ in 0..14 {
        assert_eq!(begin_all(&mut schedule, now), [0]);
        schedule.done(now, id(0), &lane, Outcome::Deferred);
        let due = schedule.next_due().unwrap();
        waits.push(due - now);
        now = due;
    }
    for (at, wait) in waits.iter().enumerate() {
        let middle = (1000_u64 << at).min(1_800_000);
        assert!((middle * 4 / 5..=middle * 6 / 5).contains(wait), "{waits:?}");
    }
}

#[test]
fn what_is_too_old_is_given_up_only_where_there_is_no_way() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    (0..5).for_each(|n| schedule.add(id(n), &lane, 0));
    // Down for six days ourselves: everything is tried first.
    let now = BORN + 6 * 24 * 3600 * 1000;
    for n in begin_all(&mut schedule, now) {
        schedule.done(now, id(n), &lane, Outcome::Unreachable);
    }
    let given_up: Vec<_> = std::iter::from_fn(|| schedule.next(now)).collect();
    assert_eq!(given_up, (0..5).map(|n| Decision::Expire(id(n), lane.clone())).collect::<Vec<_>>());
    (0..5).for_each(|n| schedule.done(now, id(n), &lane, Outcome::Settled));
    assert_eq!(schedule.lanes(), []);
}

#[derive(Clone, Debug)]
enum Event {
    Add(u64, u8),
    Forget(u64),
    /// The n-th of those that run ends.
    Done(usize, u8),
    Wake(Option<u8>),
    WakeMessage(u64),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..40_u64, 0..3_u8).prop_map(|(n, lane)| Event::Add(n, lane)),
        1 => (0..40_u64).prop_map(Event::Forget),
        6 => (any::<usize>(), 0..5_u8).prop_map(|(at, outcome)| Event::Done(at, outcome)),
        1 => proptest::option::of(0..3_u8).prop_map(Event::Wake),
        1 => (0..40_u64).prop_map(Event::WakeMessage),
        3 => (0..200_000_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing is lost, nothing runs twice, limits hold, and in the end everything is done.
    #[test]
    fn every_job_is_somewhere_until_it_is_settled(events in proptest::collection::vec(event(), 1..120), seed: u64) {
        let policy = Policy { per_destination: 3, in_all: 7, expiry: 400_000, ..Policy::default() };
        let mut schedule = Schedule::new(policy, seed);
        let lanes = ["a", "b", "c"].map(backend);
        let mut expected: BTreeSet<(QueueId, Destination)> = BTreeSet::new();
        // Whether it expires, and whether somebody asked for it meanwhile.
        let mut running: BTreeMap<(QueueId, Destination), (bool, bool)> = BTreeMap::new();
        let mut now = BORN;
        for event in events {
            match event {
                Event::Add(n, lane) => {
                    let job = (id(n), lanes[usize::from(lane)].clone());
                    schedule.add(job.0, &job.1, 0);
                    expected.insert(job);
                }
                Event::Forget(n) => {
                    schedule.forget(id(n));
                    expected.retain(|job| job.0 != id(n));
                }
                Event::Done(at, outcome) if !running.is_empty() => {
                    let job = running.keys().nth(at % running.len()).unwrap().clone();
                    let (expired, asked) = running.remove(&job).unwrap();
                    let outcome = match outcome {
                        _ if expired => Outcome::Settled,
                        0 => Outcome::Settled,
                        1 => Outcome::Deferred,
                        2 => Outcome::Unreachable,
                        3 => Outcome::Gone,
                        _ => Outcome::Untried,
                    };
                    schedule.done(now, job.0, &job.1, outcome);
                    if matches!(outcome, Outcome::Settled | Outcome::Gone) && !asked {
                        expected.remove(&job);
                    }
                }
                Event::Done(..) => {}
                Event::Wake(None) => schedule.wake_all(now),
                Event::Wake(Some(lane)) => schedule.wake(now, &lanes[usize::from(lane)]),
                Event::WakeMessage(n) => {
                    schedule.wake_message(id(n));
                    running.iter_mut().filter(|(job, _)| job.0 == id(n)).for_each(|(_, of)| of.1 = true);
                }
                Event::Wait(time) => now += time,
            }
            while let Some(decision) = schedule.next(now) {
                let (job, expired) = match decision {
                    Decision::Try(id, lane) => ((id, lane), false),
                    Decision::Expire(id, lane) => ((id, lane), true),
                };
                prop_assert!(expected.contains(&job), "{job:?} is not wanted");
                prop_assert!(running.insert(job, (expired, false)).is_none(), "twice at once");
            }
            prop_assert!(schedule.next_due().is_none_or(|due| due > now), "it would be asked again for nothing");
            for lane in schedule.lanes() {
                prop_assert!(lane.running <= 3);
                if let (false, true, 0) = (lane.open, lane.ready > 0, lane.running) {
                    prop_assert!(running.len() >= 7, "{lane:?} could begin");
                }
            }
            prop_assert!(running.len() <= 7);
            for (id, lane) in &expected {
                prop_assert!(schedule.knows(*id, lane), "{id} at {lane} is lost");
            }
        }
        // Everything is well again: all is done in as many steps as there are jobs and waits.
        for _ in 0..1000 {
            for job in std::mem::take(&mut running).into_keys() {
                schedule.done(now, job.0, &job.1, Outcome::Settled);
                expected.remove(&job);
            }
            while let Some(Decision::Try(id, lane) | Decision::Expire(id, lane)) = schedule.next(now) {
                running.insert((id, lane), (false, false));
            }
            if running.is_empty() {
                let Some(due) = schedule.next_due() else { break };
                now = now.max(due);
            }
        }
        prop_assert_eq!(schedule.lanes(), vec![]);
        prop_assert_eq!(expected, BTreeSet::new());
    }
}

#[test]
fn what_was_queued_a_moment_ago_waits_whatever_comes_back() {
    let mut schedule = Schedule::new(Policy::default(), 1);
    let lane = backend("a");
    schedule.add_later(id(1), &lane, 0, 1_000);
    schedule.add_later(id(2), &lane, 1, 60_000);
    schedule.wake_all(10);
    assert_eq!(schedule.next(10), Some(Decision::Try(id(2), lane.clone())), "it was tried before");
    assert_eq!(schedule.next(10), None);
    assert_eq!(schedule.next_due(), Some(1_000));
    assert_eq!(schedule.next(1_000), Some(Decision::Try(id(1), lane)));
}

/// Its attempt has ended with a refusal that nobody can be told, and that is on disk, so a person sees it and releases
/// it; that the attempt is over is heard afterwards.
#[test]
fn what_is_released_before_the_end_of_its_attempt_is_heard_is_tried_again() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    assert_eq!(begin_all(&mut schedule, BORN), [0]);
    schedule.add_later(id(0), &lane, 1, BORN);
    schedule.wake_message(id(0));
    assert!(begin_all(&mut schedule, BORN).is_empty(), "not twice at once");
    schedule.done(BORN, id(0), &lane, Outcome::Settled);
    assert_eq!(begin_all(&mut schedule, BORN), [0]);
    schedule.done(BORN, id(0), &lane, Outcome::Settled);
    assert_eq!(schedule.lanes(), [], "once");
}

#[test]
fn what_is_held_and_released_while_it_is_tried_is_tried_again() {
    for outcome in [Outcome::Settled, Outcome::Deferred, Outcome::Unreachable] {
        let (mut schedule, lane) = (schedule(), backend("a"));
        schedule.add(id(0), &lane, 0);
        assert_eq!(begin_all(&mut schedule, BORN), [0]);
        schedule.forget(id(0));
        schedule.add_later(id(0), &lane, 0, BORN);
        schedule.wake_message(id(0));
        schedule.done(BORN, id(0), &lane, outcome);
        assert_eq!(begin_all(&mut schedule, BORN + 1_000), [0], "{outcome:?}");
    }
}

#[test]
fn where_no_more_may_run_nobody_waits_for_a_time_that_has_passed() {
    let mut schedule = Schedule::new(Policy { in_all: 4, ..Policy::default() }, 7);
    let (lost, slow) = (backend("lost"), backend("slow"));
    (0..4).for_each(|n| schedule.add(id(n), &lost, 0));
    for n in begin_all(&mut schedule, BORN) {
        schedule.done(BORN, id(n), &lost, Outcome::Unreachable);
    }
    (10..14).for_each(|n| schedule.add(id(n), &slow, 0));
    assert_eq!(begin_all(&mut schedule, BORN).len(), 4);
    let (probe, expiry) = (BORN + 2_000, BORN + 2 * Policy::default().expiry);
    for now in [probe, expiry] {
        assert!(begin_all(&mut schedule, now).is_empty());
        assert_eq!(schedule.next_due(), None, "an end of those that run is what is waited for");
    }
}

#[test]
fn a_job_that_only_has_to_be_written_down_gives_its_place_to_the_next() {
    let policy = Policy { per_destination: 1, in_all: 1, ..Policy::default() };
    let mut schedule = Schedule::new(policy, 1);
    let lane = backend("a");
    (1..=3).for_each(|n| schedule.add(id(n), &lane, 0));
    let begins = |schedule: &mut Schedule| schedule.next(0).is_some();
    assert!(begins(&mut schedule) && !begins(&mut schedule));
    schedule.settling(id(1), &lane);
    schedule.settling(id(1), &lane);
    assert!(schedule.knows(id(1), &lane), "it is not begun again meanwhile");
    assert!(begins(&mut schedule) && !begins(&mut schedule), "once");
    schedule.done(0, id(1), &lane, Outcome::Settled);
    assert!(!begins(&mut schedule), "its place was given away already");
    schedule.done(0, id(2), &lane, Outcome::Settled);
    assert!(begins(&mut schedule));
}

/// The destination is lost and back. Three messages break every session at once, the oldest of all; the others take
/// a tenth of a second each.
#[test]
fn messages_that_break_every_session_hold_up_nobody() {
    let (mut schedule, lane) = lost(400);
    let (back, mut under_way, mut settled) = (BORN + 60_000, BTreeSet::new(), 0);
    let mut now = back;
    while settled < 397 {
        for n in begin_all(&mut schedule, now) {
            under_way.insert((now + if n < 3 { 1 } else { 100 }, n));
        }
        let ends = under_way.first().map(|(at, _)| *at);
        now = [ends, schedule.next_due()].into_iter().flatten().min().unwrap().max(now);
        while let Some((at, n)) = under_way.first().copied().filter(|(at, _)| *at <= now) {
            under_way.remove(&(at, n));
            settled += usize::from(n >= 3);
            let outcome = if n < 3 { Outcome::Unreachable } else { Outcome::Settled };
            schedule.done(now, id(n), &lane, outcome);
        }
        // Five seconds of work at eight places, and at most two tries until one is answered.
        assert!(now < back + 15_000, "{settled} after {} ms", now - back);
    }
}

#[test]
fn mail_that_reaches_a_destination_opens_the_way_for_what_waits() {
    let (mut schedule, lane) = lost(50);
    assert!(begin_all(&mut schedule, BORN + 1).is_empty());
    schedule.reached(BORN + 1, &backend("b"));
    assert!(begin_all(&mut schedule, BORN + 1).is_empty());
    schedule.reached(BORN + 1, &lane);
    assert_eq!(begin_all(&mut schedule, BORN + 1).len(), 8);
}
