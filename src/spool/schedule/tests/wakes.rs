//! What comes back again and again, and messages that did not wait for that.

use super::*;

const LONGEST: u64 = 64_000;

/// One message that its backend defers for a reason of its own, whatever comes back, until its floor is the longest.
/// The time is that of its last attempt.
fn woken_in_vain() -> (Schedule, Destination, u64) {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    let (mut now, mut tried) = (BORN, BORN);
    while now < BORN + 1_000_000 {
        for n in begin_all(&mut schedule, now) {
            schedule.done(now, id(n), &lane, Outcome::Deferred);
            tried = now;
        }
        now += 2_000;
        schedule.wake_all(now);
    }
    // A last one that nothing woke: without a wake it waits for longer than any floor.
    now = schedule.next_due().unwrap();
    assert_eq!(now, tried + LONGEST);
    assert_eq!(begin_all(&mut schedule, now), [0]);
    schedule.done(now, id(0), &lane, Outcome::Deferred);
    assert!(schedule.next_due().unwrap() > now + 2 * LONGEST);
    (schedule, lane, now)
}

#[test]
fn a_master_that_flaps_has_what_its_backend_deferred_tried_every_minute() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    let mut attempts = Vec::new();
    for now in (BORN..BORN + 3_600_000).step_by(2_000) {
        schedule.wake_all(now);
        for n in begin_all(&mut schedule, now) {
            schedule.done(now, id(n), &lane, Outcome::Deferred);
            attempts.push(now - BORN);
        }
    }
    assert_eq!(attempts[..5], [0, 2_000, 4_000, 6_000, 8_000], "at first at once");
    assert!((50..70).contains(&attempts.len()), "{attempts:?}");
    assert!(attempts.windows(2).skip(12).all(|two| two[1] - two[0] >= LONGEST), "{attempts:?}");
}

#[test]
fn a_wake_that_is_held_back_is_heard_when_the_floor_is_over() {
    let (mut schedule, _, tried) = woken_in_vain();
    for after in [10_000, 20_000, 63_999] {
        schedule.wake_all(tried + after);
        assert!(begin_all(&mut schedule, tried + after).is_empty());
        assert_eq!(schedule.next_due(), Some(tried + LONGEST), "more wakes put it off no further");
    }
    assert_eq!(begin_all(&mut schedule, tried + LONGEST), [0]);
}

#[test]
fn what_was_not_tried_for_long_is_tried_at_once() {
    let (mut schedule, _, tried) = woken_in_vain();
    schedule.wake_all(tried + LONGEST);
    assert_eq!(begin_all(&mut schedule, tried + LONGEST), [0]);
}

#[test]
fn a_wake_during_an_attempt_is_heard_when_the_floor_is_over() {
    let (mut schedule, lane, _) = woken_in_vain();
    let began = schedule.next_due().unwrap();
    assert_eq!(begin_all(&mut schedule, began), [0]);
    schedule.wake_all(began + 1_000);
    schedule.wake(began + 2_000, &lane);
    let ended = began + 3_000;
    schedule.done(ended, id(0), &lane, Outcome::Deferred);
    assert_eq!(schedule.next_due(), Some(ended + LONGEST));
    assert_eq!(begin_all(&mut schedule, ended + LONGEST), [0]);
}

#[test]
fn a_wake_puts_off_nothing_that_is_due_sooner() {
    let policy = Policy { retry_max: 10_000, ..Policy::default() };
    let (mut schedule, lane) = (Schedule::new(policy, 7), backend("a"));
    schedule.add(id(0), &lane, 0);
    let mut now = BORN;
    for _ in 0..40 {
        assert_eq!(begin_all(&mut schedule, now), [0]);
        schedule.wake_all(now);
        schedule.done(now, id(0), &lane, Outcome::Deferred);
        schedule.wake_all(now + 1);
        // The first wakes have it ready at once.
        let due = schedule.next_due().unwrap_or(now + 1);
        assert!(due <= now + 12_000, "{} ms", due - now);
        now = due;
    }
}

#[test]
fn what_waits_for_its_destination_is_woken_however_often_that_was_in_vain() {
    let (mut schedule, lane, _) = woken_in_vain();
    let mut now = schedule.next_due().unwrap();
    for _ in 0..20 {
        assert_eq!(begin_all(&mut schedule, now), [0]);
        schedule.done(now, id(0), &lane, Outcome::Unreachable);
        now += 10;
        schedule.wake(now, &lane);
    }
    assert_eq!(begin_all(&mut schedule, now), [0]);
    schedule.wake_all(now);
    schedule.done(now, id(0), &lane, Outcome::Unreachable);
    assert!(schedule.next_due().unwrap() <= now + Policy::default().retry_min);
}

/// It fails as if the destination were not there, which answers others all the while.
#[test]
fn a_message_that_breaks_every_session_is_woken_less_and_less() {
    let (mut schedule, lane) = (schedule(), backend("a"));
    schedule.add(id(0), &lane, 0);
    let mut attempts = 0;
    for (n, now) in (BORN..BORN + 3_600_000).step_by(2_000).enumerate() {
        schedule.add(id(1 + n as u64), &lane, 0);
        schedule.wake(now, &lane);
        for begun in begin_all(&mut schedule, now) {
            attempts += usize::from(begun == 0);
            let outcome = if begun == 0 { Outcome::Unreachable } else { Outcome::Settled };
            schedule.done(now, id(begun), &lane, outcome);
        }
    }
    assert!((50..80).contains(&attempts), "{attempts}");
}

#[test]
fn a_person_and_news_about_the_message_itself_are_not_held_back() {
    let (mut schedule, _, tried) = woken_in_vain();
    schedule.retry_all();
    assert_eq!(begin_all(&mut schedule, tried + 1), [0]);
    let (mut schedule, lane, tried) = woken_in_vain();
    schedule.wake_message(id(0));
    assert_eq!(begin_all(&mut schedule, tried + 1), [0]);
    schedule.retry_all();
    schedule.done(tried + 1, id(0), &lane, Outcome::Deferred);
    assert_eq!(schedule.next_due(), Some(tried + 1 + Policy::default().retry_min));
}

#[derive(Clone, Debug)]
enum Happens {
    All,
    Destination,
    /// The attempt ends, if there is one.
    Ends(bool),
}

fn happens() -> impl Strategy<Value = (u64, Happens)> {
    let what = prop_oneof![
        2 => Just(Happens::All),
        1 => Just(Happens::Destination),
        3 => any::<bool>().prop_map(Happens::Ends),
    ];
    (prop_oneof![0..20_u64, 0..4_000_u64, 0..90_000_u64], what)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whoever asks the schedule when it says so begins what was woken, not later than the longest floor allows.
    #[test]
    fn no_wake_is_lost(all in proptest::collection::vec(happens(), 1..200), seed: u64) {
        let (mut schedule, lane) = (Schedule::new(Policy::default(), seed), backend("a"));
        schedule.add(id(0), &lane, 0);
        let (mut now, mut runs, mut woken, mut tried) = (BORN, false, false, BORN);
        // By when it has to begin.
        let mut latest = None;
        for (wait, what) in all {
            let until = now + wait;
            loop {
                if schedule.next(now).is_some() {
                    prop_assert!(!runs && latest.is_none_or(|latest| now <= latest), "{now}, not {latest:?}");
                    (runs, woken, latest) = (true, false, None);
                }
                match schedule.next_due().filter(|due| *due <= until) {
                    Some(due) => now = due,
                    None => break,
                }
            }
            now = until;
            match what {
                Happens::All => {
                    schedule.wake_all(now);
                    woken |= runs;
                    if !runs {
                        latest = latest.or(Some(now.max(tried + LONGEST)));
                    }
                }
                Happens::Destination => schedule.wake(now, &lane),
                Happens::Ends(deferred) if runs => {
                    let outcome = if deferred { Outcome::Deferred } else { Outcome::Unreachable };
                    schedule.done(now, id(0), &lane, outcome);
                    (runs, tried) = (false, now);
                    latest = woken.then_some(now + LONGEST);
                }
                Happens::Ends(_) => {}
            }
            prop_assert!(runs || schedule.next_due().is_some() || schedule.lanes()[0].ready == 1, "it waits for nothing");
        }
    }
}
