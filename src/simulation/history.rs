//! What was asked about each name and what was answered, as the callers saw it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::linear::{Call, Deed, Judged, Said, Session, judge};
use super::world::{Key, List};
use crate::authority::write::Write;
use crate::list::Entry;

/// Where a call is in the history.
pub(super) type Asked = (Key, usize);

#[derive(Debug)]
pub(super) struct History {
    first: List,
    calls: BTreeMap<Key, Vec<Call>>,
    /// Names that a master holds although they are shown to nobody.
    haunted: BTreeSet<Key>,
    /// Names that are not judged.
    left_out: BTreeSet<Key>,
}

impl History {
    pub(super) fn beginning(list: &List) -> Self {
        Self {
            first: list.clone(),
            calls: BTreeMap::new(),
            haunted: BTreeSet::new(),
            left_out: BTreeSet::new(),
        }
    }

    fn put(&mut self, key: &[u8], call: Call) -> Asked {
        let calls = self.calls.entry(key.to_vec()).or_default();
        calls.push(call);
        (key.to_vec(), calls.len() - 1)
    }

    /// Somebody asks.
    pub(super) fn ask(&mut self, session: Session, write: &Write, now: Duration) -> Asked {
        let deed = match write {
            Write::Reserve { location, .. } => Deed::Reserve(location.clone()),
            Write::Activate { location, acl, .. } | Write::Revive { location, acl, .. } => {
                Deed::Activate(location.clone(), acl.clone())
            }
            Write::Deactivate { location, .. } => Deed::Deactivate(location.clone()),
            Write::Delete { .. } | Write::Forget { .. } => Deed::Delete,
        };
        let call = Call { asked: now, heard: None, session, deed, said: Said::Nothing };
        self.put(write.name().as_bytes(), call)
    }

    /// He is answered.
    pub(super) fn hear(&mut self, (key, at): &Asked, said: Said, now: Duration) {
        let haunted = said == Said::Exists && self.haunted.contains(key);
        if let Some(call) = self.calls.get_mut(key).and_then(|calls| calls.get_mut(*at)) {
            call.heard = Some(now);
            call.said = said;
            if haunted {
                // Not there for anybody who looks, but not to be had either: nothing was done.
                (call.deed, call.said) = (Deed::Find(None), Said::Nothing);
            }
        }
    }

    /// A name's history may be torn.
    pub(super) fn leave_out(&mut self, key: Key) {
        self.left_out.insert(key);
    }

    /// The master has an old list: while it is not known what is right, names in it are nobody's to take.
    pub(super) fn haunt<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        self.haunted.extend(keys.into_iter().cloned());
    }

    /// FIND was answered with this.
    pub(super) fn found(&mut self, key: &[u8], shown: Option<Entry>, asked: Duration, heard: Duration) {
        let deed = Deed::Find(shown);
        self.put(key, Call { asked, heard: Some(heard), session: 0, deed, said: Said::Done });
    }

    /// What the operation did to these names may be taken back.
    pub(super) fn taken_back(&mut self, session: Session, calls: &[Asked]) {
        for (key, at) in calls {
            let Some(asked) = self.calls.get(key).and_then(|calls| calls.get(*at)).map(|call| call.asked)
            else {
                continue;
            };
            let call = Call { asked, heard: None, session, deed: Deed::TakeBack, said: Said::Nothing };
            self.put(key, call);
        }
    }

    /// Somebody else may put this there.
    pub(super) fn put_there(&mut self, key: &[u8], entry: Option<Entry>, now: Duration) {
        let call = Call { asked: now, heard: None, session: 0, deed: Deed::Put(entry), said: Said::Nothing };
        self.put(key, call);
    }

    /// Every name that was ever spoken of.
    pub(super) fn names(&self) -> BTreeSet<Key> {
        self.first.keys().chain(self.calls.keys()).cloned().collect()
    }

    /// Looks for an order in each name's history: how many calls there were, how many of them in histories whose search
    /// was given up, and the histories that have none.
    pub(super) fn judge(&self) -> (usize, usize, Vec<String>) {
        let (mut all, mut open, mut torn) = (0, 0, Vec::new());
        for (key, calls) in self.calls.iter().filter(|(key, _)| !self.left_out.contains(*key)) {
            all += calls.len();
            match judge(&self.first.get(key).cloned(), calls) {
                Judged::Linearizable => {}
                Judged::Open => open += calls.len(),
                Judged::Torn => torn.push(self.told(key, calls)),
            }
        }
        (all, open, torn)
    }

    fn told(&self, key: &Key, calls: &[Call]) -> String {
        let mut calls = calls.to_vec();
        calls.sort_by_key(|call| call.asked);
        let line = |call: &Call| {
            let asked = call.asked.as_secs_f64();
            let heard = call.heard.map_or("     never".into(), |at| format!("{:>10.6}", at.as_secs_f64()));
            format!("  {asked:>10.6} – {heard} [{}] {:?}: {:?}", call.session, call.deed, call.said)
        };
        let lines: Vec<String> = calls.iter().map(line).collect();
        let name = String::from_utf8_lossy(key);
        format!("{name} is not linearizable, from {:?}:\n{}", self.first.get(key), lines.join("\n"))
    }
}
