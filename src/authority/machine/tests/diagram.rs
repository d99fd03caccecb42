//! The state diagram: what the machine does, what the schedules take, and what the documentation says.

use std::collections::BTreeSet;

use super::super::State::{self, Following, Holding, Learning, Replaying, StandingIn};
use super::orders::burst_in_a_replay;
use super::schedules::{Faults, run_many};

/// Every transition there is.
const DIAGRAM: [(State, State); 15] = [
    (Learning, Following),
    (Learning, StandingIn),
    (Learning, Replaying),
    (Following, StandingIn),
    (Following, Learning),
    (StandingIn, Replaying),
    (StandingIn, Holding),
    (StandingIn, Following),
    (Replaying, Following),
    (Replaying, StandingIn),
    (Replaying, Learning),
    (Holding, Replaying),
    (Holding, Following),
    (Following, Holding),
    (Replaying, Holding),
];

#[test]
fn the_schedules_take_every_transition_of_the_diagram_and_no_other() {
    let faults = Faults { operator: true, ..Faults::default() };
    let mut taken = run_many(600_000..602_000, Faults { wipe: true, ..faults });
    taken.extend(run_many(605_000..610_000, Faults { wipe: true, bypass: true, ..faults }));
    taken.extend(run_many(610_000..612_000, Faults { crash: true, disk: true, stale: true, ..faults }));
    // Too rare for schedules to be sure to meet it.
    taken.extend(burst_in_a_replay().visited);
    assert_eq!(taken, BTreeSet::from(DIAGRAM));
}

/// The table of transitions in docs/architecture.md: rows that begin with two states.
#[test]
fn the_documentation_tells_every_transition_and_no_other() {
    let told = include_str!("../../../../docs/architecture.md");
    let state = |word: &str| State::ALL.into_iter().find(|state| state.word() == word.trim());
    let told: BTreeSet<_> = told
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split('|');
            Some((state(cells.next()?)?, state(cells.next()?)?))
        })
        .collect();
    assert_eq!(told, BTreeSet::from(DIAGRAM));
}
