//! What the machine decided, counted.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use crate::authority::machine::{Counted, State};
use crate::list::Location;
use crate::telemetry::metric::Metric;

/// Servers that are counted one by one; a murder has some tens. The rest are counted as `other`.
const SERVERS: usize = 256;

pub(super) fn count(counted: &Counted, shadow: bool) {
    match counted {
        Counted::Bypassed(place) => {
            let metric = if shadow { Metric::ShadowedChanges } else { Metric::BypassedChanges };
            metric.count_for(&[("server", server(place.as_ref()))], 1);
        }
        Counted::Conflict => Metric::ConflictsFound.count(1),
        Counted::GuardTripped => Metric::GuardTrips.count(1),
        Counted::ReplayStep => Metric::ReplaySteps.count(1),
    }
}

pub(super) fn entered(from: State, to: State) {
    if from != to {
        Metric::StateChanges.count_for(&[("from", from.word()), ("to", to.word())], 1);
    }
}

/// The server of a location, as a label. Names come from the murder: only so many become series.
fn server(place: Option<&Location>) -> String {
    static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);
    let Some(place) = place else { return "unknown".to_owned() };
    let bytes = place.as_bytes().split(|byte| *byte == b'!').next().unwrap_or_default();
    let name = String::from_utf8_lossy(bytes).into_owned();
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.get_or_insert_default();
    if seen.contains(&name) || seen.len() < SERVERS {
        seen.insert(name.clone());
        name
    } else {
        "other".to_owned()
    }
}
