//! Who looks every second: a person who decides what is for a person to decide; and, when everything is quiet, whether
//! all that was promised holds.

use std::collections::BTreeSet;
use std::time::Duration;

use super::backend;
use super::faults::BUSY;
use super::world::{Happening, Key, List, World, acl, at, name};
use crate::authority::machine::{CallId, Event, Keep, State, Task};
use crate::list::Entry;

/// How long everything may take to come to its end.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long a person takes to decide.
const THOUGHT: Duration = Duration::from_secs(4);
/// How often each backend compares its list in the end: an XFER that failed can leave a name to the other one.
const COMPARISONS: u64 = 2;

/// How far the end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum End {
    #[default]
    NotYet,
    /// Backend so and so compares its list, for so many more times in all.
    Comparing(u64),
    Over,
}

impl World {
    pub(super) fn look(&mut self) {
        self.person();
        if self.now >= BUSY && !self.calm {
            self.calm = true;
            self.heal();
            self.ravenry.slow_until = self.now;
            self.order(false);
        }
        if self.calm && self.end != End::Over {
            self.finish();
        }
        if self.now > BUSY + PATIENCE && self.end != End::Over {
            self.end = End::Over;
            let state = self.ravenry.state();
            let why = self.unquiet();
            self.violated(format!("never quiet: {state:?}, {why:?}"));
        }
        if self.end != End::Over {
            self.at(self.now + Duration::from_secs(1), Happening::Look);
        }
    }

    /// A person sees to what is for a person.
    fn person(&mut self) {
        let Some(running) = &self.ravenry.running else { return };
        if self.calm && running.machine.held() {
            return self.order(false);
        }
        let puzzle = running.machine.poisoned()
            || running.machine.state() == State::Holding
            || running.machine.state() == State::Learning && !running.link.is_dialing();
        if !puzzle {
            self.ravenry.puzzled = None;
            return self.resolve();
        }
        let since = *self.ravenry.puzzled.get_or_insert(self.now);
        let (poisoned, thought) = match running.machine.poisoned() {
            true => (true, THOUGHT * 8),
            false => (false, THOUGHT),
        };
        if self.now < since + thought {
            return;
        }
        self.ravenry.puzzled = None;
        if poisoned {
            self.count("restarted after its disk had failed");
            return self.ravenry_dies(Duration::from_secs(2));
        }
        let task = Task::Reseed { removals: u64::MAX };
        if running.machine.objection(task).is_none() {
            let learning = running.machine.state() == State::Learning;
            self.count("reseeded by a person");
            if learning {
                // The list on disk is from before its disk failed: a person gives the master back what went since.
                for key in self.history.names() {
                    self.taint(&key, "a person believed an old list");
                }
            }
            self.feed(Event::Begin(task));
        }
    }

    /// Names in conflict, or missing at the master, are decided as their backends have them.
    fn resolve(&mut self) {
        let Some(running) = &mut self.ravenry.running else { return };
        if !self.calm || running.machine.state() != State::Following {
            return;
        }
        let Ok(list) = running.facts.store.snapshot() else { return };
        let conflicts = list.conflicts(None, 100).unwrap_or_default().into_iter();
        let mut open: Vec<_> = conflicts.map(|conflict| (conflict.name, conflict.theirs)).collect();
        open.extend(list.unconfirmed(None, 100).unwrap_or_default());
        for (name, theirs) in open {
            let Some(running) = &mut self.ravenry.running else { return };
            let ours = running.facts.store.get(&name).unwrap_or_default();
            let holder = self.backends.iter().position(|backend| backend.boxes.contains_key(name.as_bytes()));
            let right = |entry: Option<&Entry>| match (holder, entry) {
                (None, None) => true,
                (Some(server), Some(entry)) => entry.location.server() == at(server, "").server(),
                _ => false,
            };
            let keep = if right(ours.as_ref()) { Keep::Ours } else { Keep::Theirs };
            running.next_call += 1;
            let id = CallId(running.next_call);
            let becomes = if keep == Keep::Ours { ours } else { theirs };
            self.history.put_there(name.as_bytes(), becomes, self.now);
            self.taint(name.as_bytes(), "decided by a person");
            self.feed(Event::Resolve(id, name, keep));
        }
    }

    /// What is still under way.
    fn unquiet(&self) -> Option<&'static str> {
        let Some(running) = &self.ravenry.running else { return Some("Ravenry is down") };
        if let Some(at_work) = running.unquiet() {
            return Some(at_work);
        }
        if self.frontends.iter().any(|frontend| !frontend.streams()) {
            return Some("a frontend has no stream");
        }
        if self.backends.iter().any(|backend| !backend.started || !backend.tasks.is_empty()) {
            return Some("a backend is at work");
        }
        None
    }

    fn finish(&mut self) {
        let done: u64 = self.backends.iter().map(|backend| backend.compared).sum();
        if self.unquiet().is_some() {
            self.quiet_since = None;
            return;
        }
        // The master tells what it did every five seconds, and what it did late within twenty.
        let since = *self.quiet_since.get_or_insert(self.now);
        if self.now < since + Duration::from_secs(22) {
            return;
        }
        match self.end {
            End::NotYet => {
                self.compare_all(false);
                self.end = End::Comparing(done + 2 * COMPARISONS);
                self.backend_step(0, backend::Step::Compare);
                self.quiet_since = None;
            }
            End::Comparing(until) if done < until => {
                self.backend_step((until - done) as usize % 2, backend::Step::Compare);
                self.quiet_since = Some(self.now - Duration::from_secs(22));
            }
            End::Comparing(_) => {
                self.compare_all(true);
                let (all, open, torn) = self.history.judge();
                self.counts.more("calls put in an order", (all - open) as u64);
                self.counts.more("calls in histories too long to be put in an order", open as u64);
                torn.into_iter().for_each(|torn| self.violated(torn));
                self.end = End::Over;
            }
            End::Over => {}
        }
    }

    /// Master, Ravenry, frontends and backends are one and the same, name by name. `healed`: the backends have compared
    /// their lists, so that nothing is excused any more.
    fn compare_all(&mut self, healed: bool) {
        let Some(running) = &self.ravenry.running else { return };
        let mut keys: BTreeSet<Key> = self.history.names();
        keys.extend(self.master.list.keys().cloned());
        keys.extend(self.frontends.iter().flat_map(|frontend| frontend.list.keys().cloned()));
        keys.extend(self.backends.iter().flat_map(|backend| backend.boxes.keys().cloned()));
        let mut found = Vec::new();
        for key in keys {
            let ours = running.facts.store.get(&name(&key)).expect("a disk that is well");
            let shown = String::from_utf8_lossy(&key);
            let theirs = self.master.list.get(&key);
            if theirs != ours.as_ref() {
                found.push(format!("{shown}: master {theirs:?}, Ravenry {ours:?}"));
            }
            for (at, frontend) in self.frontends.iter().enumerate() {
                let theirs = frontend.list.get(&key);
                if theirs != ours.as_ref() {
                    found.push(format!("{shown}: frontend {at} {theirs:?}, Ravenry {ours:?}"));
                }
            }
            let excuse = self.tainted.get(&key).copied();
            if !healed {
                self.counts.more("names compared before the backends announced theirs", 1);
            }
            if excuse.is_some() && !healed {
                self.counts.more("names excused from that", 1);
                continue;
            }
            let holders: Vec<usize> =
                (0..2).filter(|at| self.backends[*at].boxes.contains_key(&key)).collect();
            let right = match holders[..] {
                [] => ours.is_none(),
                [server] => {
                    let rights = acl(&self.backends[server].boxes[&key]);
                    let placed = |partition| Some(Entry::active(at(server, partition), rights.clone()));
                    ours == placed("default") || ours == placed("")
                }
                // Only where a process died in the middle of a move.
                _ => excuse.is_some(),
            };
            if !right {
                found.push(format!(
                    "{shown}: held by {holders:?}, Ravenry {ours:?}, healed {healed}, {excuse:?}"
                ));
            }
        }
        found.into_iter().for_each(|found| self.violated(found));
    }

    /// The master's list took the place of ours, which was too old to be believed.
    pub(super) fn history_forgets(&mut self, before: &List, taken: &List) {
        let keys: BTreeSet<&Key> = before.keys().chain(taken.keys()).collect();
        for key in keys {
            let entry = taken.get(key);
            if entry != before.get(key) {
                self.history.put_there(key, entry.cloned(), self.now);
                self.taint(key, "the master's list replaced an old one");
            }
        }
    }
}
