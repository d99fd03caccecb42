//! What must hold once everything is quiet.

use std::collections::BTreeSet;

use super::World;
use crate::authority::machine::State;

impl World {
    /// What must hold once everything is quiet.
    pub(in super::super) fn check(&mut self) {
        let mut found = Vec::new();
        if self.machine.state() != State::Following {
            found.push(format!("quiet, but {}", self.machine.state().word()));
        }
        if self.streaming && self.slave != self.store.list {
            found.push(format!("a slave holds {:?}, we hold {:?}", self.slave, self.store.list));
        }
        let keys: BTreeSet<&Vec<u8>> = self.master.keys().chain(self.store.list.keys()).collect();
        for key in keys {
            let name = String::from_utf8_lossy(key).into_owned();
            let (theirs, ours) = (self.master.get(key), self.store.list.get(key));
            let recorded = self.store.conflicts.contains_key(key) || self.store.unconfirmed.contains_key(key);
            if theirs != ours && !recorded {
                found.push(format!("{name}: master {theirs:?}, ours {ours:?}, and no record of it"));
            }
            if !self.bypassed && !self.wounded && !self.crashed && self.store.conflicts.contains_key(key) {
                found.push(format!("{name}: a conflict, but nobody went behind our back"));
            }
            if !self.bypassed && !self.wounded && !self.crashed && self.store.unconfirmed.contains_key(key) {
                found.push(format!("{name}: unconfirmed, but nobody went behind our back"));
            }
        }
        if !self.bypassed {
            for (key, belief) in &self.beliefs {
                let open = self.uncertain.contains(key)
                    || self.wounded && self.store.unconfirmed.contains_key(key)
                    || self.wounded && self.store.conflicts.contains_key(key);
                if !open && !belief.possible.contains(&self.store.list.get(key).cloned()) {
                    let name = String::from_utf8_lossy(key);
                    let ours = self.store.list.get(key);
                    found.push(format!("{name}: acknowledged {:?}, but we hold {ours:?}", belief.possible));
                }
            }
        }
        if !self.found.is_empty() {
            found.push(format!("known how it ended, and not done: {:?}", self.found));
        }
        if let Some((name, belief)) = self.beliefs.iter().find(|(_, belief)| belief.asking.is_some()) {
            found.push(format!("{}: never answered: {belief:?}", String::from_utf8_lossy(name)));
        }
        self.violations.extend(found);
    }
}
