//! Backends: each asks one thing at a time per name, and remembers what it was told.

use super::World;
use crate::authority::machine::{CallId, Event};
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::Entry;

/// What one name may be, as far as its backend can know from the replies it had.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct Belief {
    pub(in super::super) possible: Vec<Option<Entry>>,
    pub(in super::super) asking: Option<(CallId, Write)>,
    /// The connection that its operation runs on, and what the name may have been since it began.
    pub(super) session: u64,
    start: Vec<Option<Entry>>,
}

impl Belief {
    pub(super) fn of(entry: Option<Entry>) -> Self {
        Self { possible: vec![entry.clone()], start: vec![entry], ..Self::default() }
    }

    /// Its connection is gone, and what it asked for last may have been done.
    pub(super) fn cut_off(&mut self) {
        if let Some((_, write)) = self.asking.take() {
            self.may_be_done(&write);
        }
        if std::mem::take(&mut self.session) > 0 {
            self.start.extend(self.possible.iter().cloned());
        } else {
            self.start = self.possible.clone();
        }
    }
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
                let past = std::mem::replace(&mut belief.possible, held);
                belief.start.extend(past);
                belief.may_be_done(&write);
            }
            Outcome::Refused(_) => {}
            Outcome::Unavailable => belief.may_be_done(&write),
        }
    }

    pub(in super::super) fn call(&mut self, write: Write) -> Option<CallId> {
        let belief = self.beliefs.entry(write.name().as_bytes().to_vec()).or_insert_with(|| Belief::of(None));
        if belief.asking.is_some() {
            return None;
        }
        self.next_call += 1;
        let id = CallId(self.next_call);
        if belief.session == 0 {
            belief.session = self.next_call;
        }
        let session = self.session.unwrap_or(SessionId(belief.session));
        if let Some(left) = self.store.underway.get(write.name().as_bytes())
            && left.life != self.store.life
        {
            // Where this try fails, the name becomes what it was before the first one.
            belief.start.push(left.underway.before.clone());
        }
        belief.asking = Some((id, write.clone()));
        let peer = ([127, 0, 0, 1], 4242).into();
        let origin = Origin { identity: "murder".into(), peer, session: Some(session) };
        let expires = self.clock + self.policy.patience;
        self.feed(Event::Call(id, write, origin, expires));
        Some(id)
    }

    /// From now on all calls are one operation's.
    pub(in super::super) fn one_session(&mut self) {
        self.next_session();
    }

    /// From now on all calls are another operation's; gives back the last one.
    pub(in super::super) fn next_session(&mut self) -> SessionId {
        let last = self.session.unwrap_or(SessionId(0));
        self.session = Some(SessionId(last.0 + 1_000_000));
        last
    }

    /// The present operation ends.
    pub(in super::super) fn end_session(&mut self, complete: bool) {
        if let Some(session) = self.session.take() {
            self.end_of(session, complete);
        }
    }

    /// An operation ends.
    pub(in super::super) fn end_of(&mut self, session: SessionId, complete: bool) {
        if !complete {
            for belief in self.beliefs.values_mut() {
                let start = belief.start.clone();
                belief.possible.extend(start);
            }
        }
        self.feed(Event::Ended(session, complete));
    }

    /// A backend's connection ends: after its farewell, or the backend takes back what it did.
    pub(in super::super) fn end(&mut self, pick: usize, complete: bool) -> bool {
        let idle = self.beliefs.values_mut().filter(|belief| belief.asking.is_none() && belief.session > 0);
        let mut idle: Vec<&mut Belief> = idle.collect();
        if idle.is_empty() {
            return false;
        }
        let pick = pick % idle.len();
        let belief = &mut idle[pick];
        let session = SessionId(std::mem::take(&mut belief.session));
        if !complete {
            let start = std::mem::take(&mut belief.start);
            belief.possible.extend(start);
        }
        belief.start = belief.possible.clone();
        self.feed(Event::Ended(session, complete));
        true
    }
}
