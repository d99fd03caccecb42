//! What was under way when Ravenry was killed, and somebody who asks the backends how it ended.

use std::collections::BTreeMap;

use super::World;
use crate::authority::left_over::{Seen, Verdict, judge};
use crate::authority::machine::Event;
use crate::list::Entry;
use crate::store::LeftOver;

impl World {
    /// Ravenry is being killed. A backend whose operation had not ended undoes its side of it.
    pub(super) fn leave_over(&mut self) {
        self.found.clear();
        self.store.life += 1;
        for (name, left) in &self.store.underway {
            let operation = left.underway.operation;
            let open = self.beliefs.get(name).is_some_and(|belief| belief.session == operation)
                || self.session.is_some_and(|session| session.0 == operation);
            let mailbox = |entry: Option<&Entry>| entry.is_some_and(Entry::is_active);
            let (before, now) = (left.underway.before.as_ref(), self.store.list.get(name));
            let held = match open {
                true => mailbox(before),
                // Who has ended with a reservation means to make the mailbox yet.
                false => mailbox(now) || !mailbox(before) && now.is_some(),
            };
            self.truth.insert(name.clone(), held);
        }
    }

    /// What is left over, by operations.
    pub(in super::super) fn left_over(&self) -> Vec<Vec<LeftOver>> {
        let mut operations: BTreeMap<(u64, u64), Vec<LeftOver>> = BTreeMap::new();
        for left in self.store.underway.values().filter(|left| left.life != self.store.life) {
            operations.entry((left.life, left.underway.operation)).or_default().push(left.clone());
        }
        operations.into_values().collect()
    }

    /// The backends are asked; what they say is known to who asked, and to nobody else yet.
    pub(in super::super) fn look(&mut self) {
        for names in self.left_over() {
            let seen = |left: &LeftOver| Seen {
                before: left.underway.before.clone(),
                now: self.store.list.get(left.name.as_bytes()).cloned(),
                held: self.truth.get(left.name.as_bytes()).copied().unwrap_or_default(),
            };
            let Some(verdicts) = judge(&names.iter().map(seen).collect::<Vec<_>>()) else { continue };
            for (LeftOver { name, version, .. }, verdict) in names.into_iter().zip(verdicts) {
                self.found.push(Event::Verdict { name, version, stands: verdict == Verdict::Stands });
            }
        }
    }

    /// Ravenry hears one thing that was found out, maybe long ago.
    pub(in super::super) fn pronounce(&mut self, pick: usize) -> bool {
        if self.found.is_empty() {
            return false;
        }
        let verdict = self.found.remove(pick % self.found.len());
        if let Event::Verdict { name, version, stands: false } = &verdict
            && let Some(left) = self.store.underway.get(name.as_bytes())
            && left.version == *version
            && let Some(belief) = self.beliefs.get_mut(name.as_bytes())
        {
            // Its backend took it back.
            belief.possible.push(left.underway.before.clone().filter(Entry::is_active));
        }
        self.feed(verdict);
        true
    }

    /// Everything that can be found out is, and Ravenry hears it.
    pub(in super::super) fn find_out(&mut self) {
        while self.pronounce(0) {}
        self.look();
        while self.pronounce(0) {}
        // What is over goes off the record.
        self.feed(Event::Tick);
    }
}
