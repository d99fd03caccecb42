//! Backends: each asks one thing at a time per name, and remembers what it was told.

use super::World;
use crate::authority::machine::{CallId, Event};
use crate::authority::write::{Origin, Outcome, Write};
use crate::list::Entry;

/// What one name may be, as far as its backend can know from the replies it had.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct Belief {
    pub(in super::super) possible: Vec<Option<Entry>>,
    pub(in super::super) asking: Option<(CallId, Write)>,
}

impl Belief {
    /// Whether or not it heard so, the backend's write may have been carried out.
    pub(super) fn may_be_done(&mut self, write: &Write) {
        if let Write::Deactivate { location, .. } = write {
            // The master keeps the location that it holds, which may be on another partition.
            let there = self.possible.iter().flatten().filter(|held| held.location.same_server(location));
            let there: Vec<_> = there.map(|held| Some(Entry::reserved(held.location.clone()))).collect();
            self.possible.extend(there);
        }
        self.possible.push(write.effect());
    }
}

impl World {
    /// A backend hears an answer and updates what it believes of the name.
    pub(super) fn hear(&mut self, call: CallId, outcome: Outcome) {
        self.answers.insert(call, outcome.clone());
        let Some(belief) = self.beliefs.values_mut().find(|b| b.asking.as_ref().is_some_and(|a| a.0 == call))
        else {
            return;
        };
        let Some((_, write)) = belief.asking.take() else { return };
        let effect = write.effect();
        match outcome {
            Outcome::Done => {
                if let Write::Reserve { location, .. } = &write {
                    let free = belief.possible.iter().any(|state| match state {
                        None => true,
                        Some(held) => held.location == *location,
                    });
                    if !free && !self.bypassed {
                        self.violations.push(format!("double grant: {write:?} while {:?}", belief.possible));
                    }
                }
                let held: Vec<_> = match &write {
                    // Standing in, a RESERVE at the same place leaves the mailbox active; a DEACTIVATE whose
                    // XFER never ends gives way to the active mailbox.
                    Write::Reserve { .. } | Write::Deactivate { .. } => belief
                        .possible
                        .iter()
                        .filter(|state| {
                            let effect = effect.as_ref().map(|e| e.location.server().to_vec());
                            state.as_ref().is_some_and(|s| Some(s.location.server().to_vec()) == effect)
                        })
                        .cloned()
                        .collect(),
                    _ => Vec::new(),
                };
                belief.possible = held;
                belief.may_be_done(&write);
            }
            Outcome::Refused(_) => {}
            Outcome::Unavailable => belief.may_be_done(&write),
        }
    }

    pub(in super::super) fn call(&mut self, write: Write) -> Option<CallId> {
        let belief = self
            .beliefs
            .entry(write.name().as_bytes().to_vec())
            .or_insert_with(|| Belief { possible: vec![None], asking: None });
        if belief.asking.is_some() {
            return None;
        }
        self.next_call += 1;
        let id = CallId(self.next_call);
        belief.asking = Some((id, write.clone()));
        let origin = Origin { identity: "murder".into(), peer: ([127, 0, 0, 1], 4242).into() };
        let expires = self.clock + self.policy.patience;
        self.feed(Event::Call(id, write, origin, expires));
        Some(id)
    }
}
