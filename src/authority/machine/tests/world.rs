//! A small world around the machine: a store, a master that can hang, execute late and die, a stream, and
//! backends that ask one thing at a time per name and remember what they were told.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::super::{
    BarrierId, CallId, CommitId, Decision, Event, Machine, Now, Policy, Restored, SendId, State,
};
use crate::authority::facts::{Difference, Facts, Unreadable};
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::{Origin, Outcome, Write};
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::store::{Change, Conflict, Doubt, JournalRecord, Verb};

pub(super) type List = BTreeMap<Vec<u8>, Entry>;

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::new(text.as_bytes()).unwrap()
}

pub(super) fn at(location: &str) -> Location {
    Location::new(location.as_bytes()).unwrap()
}

pub(super) fn active(location: &str, acl: &str) -> Entry {
    Entry::active(at(location), Acl::new(acl.as_bytes()))
}

/// What is durable.
#[derive(Clone, Default, Debug)]
pub(super) struct ModelStore {
    pub(super) list: List,
    pub(super) journal: BTreeMap<Vec<u8>, Vec<JournalRecord>>,
    pub(super) doubts: BTreeMap<Vec<u8>, Vec<Doubt>>,
    pub(super) conflicts: BTreeMap<Vec<u8>, Conflict>,
    pub(super) unconfirmed: BTreeSet<Vec<u8>>,
    forgotten: BTreeSet<Vec<u8>>,
    /// What the list was when the master's dump began.
    listed: List,
    seq: u64,
}

impl ModelStore {
    fn apply(&mut self, change: &Change) {
        let key = |name: &MailboxName| name.as_bytes().to_vec();
        match change {
            Change::Put { name, entry } => {
                self.list.insert(key(name), entry.clone());
                self.forgotten.remove(name.as_bytes());
            }
            Change::Remove { name } => {
                if self.list.remove(name.as_bytes()).is_some() {
                    self.forgotten.insert(key(name));
                }
            }
            Change::Journal(record) => {
                self.journal.entry(key(&record.name)).or_default().push(record.clone());
            }
            Change::Settle { name, .. } => drop(self.journal.remove(name.as_bytes())),
            Change::Doubt { name, doubt } => self.doubts.entry(key(name)).or_default().push(doubt.clone()),
            Change::Undoubt { name } => drop(self.doubts.remove(name.as_bytes())),
            Change::Conflict(conflict) => drop(self.conflicts.insert(key(&conflict.name), conflict.clone())),
            Change::ResolveConflict { name } => drop(self.conflicts.remove(name.as_bytes())),
            Change::Unconfirmed { name, .. } => drop(self.unconfirmed.insert(key(name))),
            Change::Confirm { name } => drop(self.unconfirmed.remove(name.as_bytes())),
            other => panic!("the machine never commits {other:?}"),
        }
        self.seq += 1;
    }
}

impl Facts for ModelStore {
    fn entry(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.list.get(name.as_bytes()).cloned())
    }
    fn listed(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        Ok(self.listed.get(name.as_bytes()).cloned())
    }
    fn base(&self, name: &MailboxName) -> Result<Option<Option<Entry>>, Unreadable> {
        Ok(self.journal.get(name.as_bytes()).and_then(|records| records.first()).map(|r| r.before.clone()))
    }
    fn deactivated(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        let newest = self.journal.get(name.as_bytes()).and_then(|records| records.last());
        Ok(newest.filter(|record| record.verb == Verb::Deactivate).and_then(|record| record.before.clone()))
    }
    fn doubts(&self, name: &MailboxName) -> Result<Vec<Doubt>, Unreadable> {
        Ok(self.doubts.get(name.as_bytes()).cloned().unwrap_or_default())
    }
    fn conflict(&self, name: &MailboxName) -> Result<Option<Conflict>, Unreadable> {
        Ok(self.conflicts.get(name.as_bytes()).cloned())
    }
    fn unconfirmed(&self, name: &MailboxName) -> Result<bool, Unreadable> {
        Ok(self.unconfirmed.contains(name.as_bytes()))
    }
    fn forgotten(&self, name: &MailboxName) -> Result<bool, Unreadable> {
        Ok(self.forgotten.contains(name.as_bytes()))
    }
    fn unsettled(&self) -> Result<Vec<MailboxName>, Unreadable> {
        let all: BTreeSet<&Vec<u8>> =
            self.journal.keys().chain(self.conflicts.keys()).chain(&self.unconfirmed).collect();
        Ok(all.into_iter().map(|name| MailboxName::new(name).unwrap()).collect())
    }
    fn entries(&self) -> u64 {
        self.list.len() as u64
    }
}

/// What one name may be, as far as its backend can know from the replies it had.
#[derive(Clone, Default, Debug)]
pub(super) struct Belief {
    pub(super) possible: Vec<Option<Entry>>,
    pub(super) asking: Option<(CallId, Write)>,
}

type Pending = (CommitId, Vec<Change>, Option<(MailboxName, Option<Entry>)>);

#[derive(Clone, Debug)]
struct Exchange {
    write: Write,
    executed: Option<MasterReply>,
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) policy: Policy,
    pub(super) store: ModelStore,
    pub(super) master: List,
    pub(super) link: Link,
    pub(super) beliefs: BTreeMap<Vec<u8>, Belief>,
    /// What a slave holds that has seen everything published.
    pub(super) slave: List,
    commits: VecDeque<Pending>,
    exchanges: BTreeMap<SendId, Exchange>,
    /// Writes that were given up but may still be carried out.
    zombies: Vec<Write>,
    stream: VecDeque<(MailboxName, Option<Entry>)>,
    barrier: Option<BarrierId>,
    clock: Duration,
    next_call: u64,
    pub(super) answers: HashMap<CallId, Outcome>,
    pub(super) visited: BTreeSet<(&'static str, &'static str)>,
    pub(super) violations: Vec<String>,
    /// Changes were made at the master behind our back, so that beliefs prove nothing.
    pub(super) bypassed: bool,
    pub(super) crashed: bool,
    /// Names that were being written when Ravenry was killed: nobody was told anything of them.
    pub(super) uncertain: BTreeSet<Vec<u8>>,
    /// What happened, for the message of a failure.
    pub(super) trace: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Link {
    Down,
    /// Connected; the dump was taken by the master, not yet read by us.
    Listing,
    Live,
}

impl World {
    pub(super) fn new(policy: Policy, list: List) -> Self {
        let store = ModelStore { list: list.clone(), ..ModelStore::default() };
        let beliefs = list
            .iter()
            .map(|(name, entry)| (name.clone(), Belief { possible: vec![Some(entry.clone())], asking: None }))
            .collect();
        let mut world = Self {
            machine: Machine::new(policy, Restored::Fresh),
            policy,
            store,
            master: list.clone(),
            link: Link::Down,
            beliefs,
            slave: list,
            commits: VecDeque::new(),
            exchanges: BTreeMap::new(),
            zombies: Vec::new(),
            stream: VecDeque::new(),
            barrier: None,
            clock: Duration::from_secs(1),
            next_call: 0,
            answers: HashMap::new(),
            visited: BTreeSet::new(),
            violations: Vec::new(),
            bypassed: false,
            crashed: false,
            uncertain: BTreeSet::new(),
            trace: Vec::new(),
        };
        world.master_returns();
        world.settle();
        world
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.clock += Duration::from_millis(1);
        let now = Now { since_start: self.clock, unix: self.clock.as_secs() };
        let before = self.machine.state();
        self.trace.push(format!("{} < {event:?}", before.word()));
        for decision in self.machine.handle(event, now, &self.store) {
            self.carry_out(decision);
        }
        let after = self.machine.state();
        if before != after {
            self.visited.insert((before.word(), after.word()));
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        self.trace.push(format!("    > {decision:?}"));
        match decision {
            Decision::Send(id, write, _) => {
                drop(self.exchanges.insert(id, Exchange { write, executed: None }))
            }
            Decision::Commit { id, changes, publish } => self.commits.push_back((id, changes, publish)),
            Decision::Reply(call, outcome, _) => self.hear(call, outcome),
            Decision::Barrier(id, _) => self.barrier = Some(id),
            Decision::Reconnect | Decision::Reload => {
                if self.link != Link::Down {
                    self.drop_link();
                }
            }
            Decision::ForgetListed | Decision::Enter(..) | Decision::Notice(_) => {}
        }
    }

    /// A backend hears an answer and updates what it believes of the name.
    fn hear(&mut self, call: CallId, outcome: Outcome) {
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
                belief.possible.push(effect);
            }
            Outcome::Refused(_) => {}
            Outcome::Unavailable => belief.possible.push(effect),
        }
    }

    pub(super) fn call(&mut self, write: Write) -> Option<CallId> {
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
        self.feed(Event::Call(id, write, origin));
        Some(id)
    }

    /// The store finishes its oldest commit.
    pub(super) fn commit_one(&mut self) -> bool {
        let Some((id, changes, publish)) = self.commits.pop_front() else { return false };
        for change in &changes {
            self.store.apply(change);
        }
        if let Some((name, entry)) = publish {
            match entry {
                Some(entry) => drop(self.slave.insert(name.as_bytes().to_vec(), entry)),
                None => drop(self.slave.remove(name.as_bytes())),
            }
        }
        self.feed(Event::Committed(id, Ok(self.store.seq)));
        true
    }

    /// Cyrus's semantics, through the safe forms that the link uses.
    fn execute(&mut self, write: &Write) -> MasterReply {
        self.trace.push(format!("master executes {write:?}"));
        let key = write.name().as_bytes().to_vec();
        let held = self.master.get(&key).cloned();
        let refused = match (write, &held) {
            (Write::Reserve { location, .. } | Write::Deactivate { location, .. }, Some(held)) => {
                held.location != *location
            }
            _ => false,
        };
        if refused {
            return MasterReply::Refused("mailbox already exists".into());
        }
        match write.effect() {
            Some(entry) => drop(self.master.insert(key, entry)),
            None => drop(self.master.remove(&key)),
        }
        self.tell_stream(write.name().clone());
        MasterReply::Done
    }

    /// The stream carries names; the record is read when it is sent (Cyrus's coalescing).
    fn tell_stream(&mut self, name: MailboxName) {
        if self.link != Link::Down {
            self.stream.push_back((name, None));
        }
    }

    /// The master executes one write that it was sent.
    pub(super) fn execute_one(&mut self, pick: usize) -> bool {
        let open: Vec<SendId> =
            self.exchanges.iter().filter(|(_, e)| e.executed.is_none()).map(|(id, _)| *id).collect();
        if open.is_empty() || self.link == Link::Down {
            return false;
        }
        let id = open[pick % open.len()];
        let write = self.exchanges[&id].write.clone();
        let reply = self.execute(&write);
        self.exchanges.get_mut(&id).unwrap().executed = Some(reply);
        true
    }

    pub(super) fn reply_one(&mut self, pick: usize) -> bool {
        let done: Vec<SendId> =
            self.exchanges.iter().filter(|(_, e)| e.executed.is_some()).map(|(id, _)| *id).collect();
        if done.is_empty() {
            return false;
        }
        let id = done[pick % done.len()];
        let exchange = self.exchanges.remove(&id).unwrap();
        self.feed(Event::Sent(id, Ok(exchange.executed.unwrap())));
        true
    }

    /// The reply of one exchange is lost, whether or not it was executed.
    pub(super) fn lose_one(&mut self, pick: usize) -> bool {
        let ids: Vec<SendId> = self.exchanges.keys().copied().collect();
        if ids.is_empty() {
            return false;
        }
        self.lose(ids[pick % ids.len()]);
        true
    }

    fn lose(&mut self, id: SendId) {
        let exchange = self.exchanges.remove(&id).unwrap();
        if exchange.executed.is_none() {
            self.zombies.push(exchange.write);
        }
        self.feed(Event::Sent(id, Err(Lost::InDoubt("deadline".into()))));
    }

    /// The master executes a write that we gave up.
    pub(super) fn wake_zombie(&mut self, pick: usize) -> bool {
        if self.zombies.is_empty() {
            return false;
        }
        let index = pick % self.zombies.len();
        let write = self.zombies.remove(index);
        self.execute(&write);
        true
    }

    /// Whether the master will still carry out something that we gave up.
    pub(super) fn haunted(&self) -> bool {
        !self.zombies.is_empty()
    }

    pub(super) fn stream_one(&mut self) -> bool {
        if self.link != Link::Live {
            return false;
        }
        let Some((name, _)) = self.stream.pop_front() else { return false };
        let record = self.master.get(name.as_bytes()).cloned();
        self.feed(Event::MasterChanged(name, record));
        true
    }

    pub(super) fn pass_barrier(&mut self) -> bool {
        if self.link != Link::Live || self.barrier.is_none() {
            return false;
        }
        let id = self.barrier.take();
        while self.stream_one() {}
        if let Some(id) = id {
            self.feed(Event::Barrier(id, Ok(())));
        }
        true
    }

    fn drop_link(&mut self) {
        self.link = Link::Down;
        self.stream.clear();
        self.barrier = None;
    }

    /// The master stops answering; what it was sent may or may not have been executed.
    pub(super) fn master_dies(&mut self) -> bool {
        if self.link == Link::Down {
            return false;
        }
        self.drop_link();
        self.feed(Event::MasterLost("connection reset".into()));
        true
    }

    pub(super) fn master_returns(&mut self) -> bool {
        if self.link != Link::Down {
            return false;
        }
        self.link = Link::Listing;
        self.stream.clear();
        self.store.listed = self.store.list.clone();
        true
    }

    /// Our follower has read the list to its end. It was taken by the master when the link came up.
    pub(super) fn list_complete(&mut self) -> bool {
        if self.link != Link::Listing {
            return false;
        }
        self.link = Link::Live;
        // Cyrus takes the snapshot under its lock; what it changed since is on the stream. The model takes it
        // late, which the protocol allows as well, and keeps the lines, which are then repetitions.
        let keys: BTreeSet<&Vec<u8>> = self.master.keys().chain(self.store.listed.keys()).collect();
        let theirs = keys
            .into_iter()
            .filter(|key| self.master.get(*key) != self.store.listed.get(*key))
            .map(|key| (MailboxName::new(key).unwrap(), self.master.get(key).cloned()))
            .collect();
        let listed = self.master.len() as u64;
        self.feed(Event::MasterList(Difference { theirs, listed, ..Difference::default() }));
        true
    }

    /// Ravenry is killed and started again on what was durable.
    pub(super) fn crash(&mut self, execute_unrecorded: bool) {
        self.trace.push("killed".into());
        self.crashed = true;
        self.commits.clear();
        for (_, exchange) in std::mem::take(&mut self.exchanges) {
            self.uncertain.insert(exchange.write.name().as_bytes().to_vec());
            if exchange.executed.is_none() {
                self.zombies.push(exchange.write);
            }
        }
        // What was under way and not recorded as in doubt is carried out now or never: a kill of Ravenry
        // while the master hangs is the one double fault that is not covered (docs/architecture.md).
        let store = &self.store;
        let (recorded, open): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.zombies).into_iter().partition(|w| {
                store
                    .doubts
                    .get(w.name().as_bytes())
                    .is_some_and(|d| d.iter().any(|d| d.effect == w.effect()))
            });
        self.zombies = recorded;
        for write in open {
            self.uncertain.insert(write.name().as_bytes().to_vec());
            if execute_unrecorded {
                self.execute(&write);
            }
        }
        self.drop_link();
        for belief in self.beliefs.values_mut() {
            if let Some((_, write)) = belief.asking.take() {
                belief.possible.push(write.effect());
            }
        }
        self.slave = self.store.list.clone();
        self.machine = Machine::new(self.policy, Restored::Fresh);
    }

    /// Somebody who still knows the master's own address changes it.
    pub(super) fn bypass(&mut self, write: &Write) {
        self.bypassed = true;
        self.execute(write);
    }

    /// No more faults: everything under way comes to its end.
    pub(super) fn settle(&mut self) {
        for round in 0..10_000 {
            let moved = self.commit_one()
                || self.execute_one(0)
                || self.reply_one(0)
                || self.list_complete()
                || self.pass_barrier()
                || self.stream_one();
            if moved {
                continue;
            }
            if self.link == Link::Down {
                let ids: Vec<SendId> = self.exchanges.keys().copied().collect();
                for id in ids {
                    self.lose(id);
                }
                self.master_returns();
                continue;
            }
            if self.machine.state() == State::Replaying && round < 9_000 {
                self.clock += Duration::from_secs(61);
                self.feed(Event::Tick);
                continue;
            }
            return;
        }
        self.violations.push(format!("never quiet: {}", self.machine.state().word()));
    }

    /// What must hold once everything is quiet.
    pub(super) fn check(&mut self) {
        let mut found = Vec::new();
        if self.machine.state() != State::Following {
            found.push(format!("quiet, but {}", self.machine.state().word()));
        }
        if self.slave != self.store.list {
            found.push(format!("a slave holds {:?}, we hold {:?}", self.slave, self.store.list));
        }
        let keys: BTreeSet<&Vec<u8>> = self.master.keys().chain(self.store.list.keys()).collect();
        for key in keys {
            let name = String::from_utf8_lossy(key).into_owned();
            let (theirs, ours) = (self.master.get(key), self.store.list.get(key));
            let recorded = self.store.conflicts.contains_key(key) || self.store.unconfirmed.contains(key);
            if theirs != ours && !recorded {
                found.push(format!("{name}: master {theirs:?}, ours {ours:?}, and no record of it"));
            }
            if !self.bypassed && !self.crashed && self.store.conflicts.contains_key(key) {
                found.push(format!("{name}: a conflict, but nobody went behind our back"));
            }
            if !self.bypassed && !self.crashed && self.store.unconfirmed.contains(key) {
                found.push(format!("{name}: unconfirmed, but nobody went behind our back"));
            }
        }
        if !self.bypassed {
            for (key, belief) in &self.beliefs {
                if !self.uncertain.contains(key)
                    && !belief.possible.contains(&self.store.list.get(key).cloned())
                {
                    let name = String::from_utf8_lossy(key);
                    let ours = self.store.list.get(key);
                    found.push(format!("{name}: acknowledged {:?}, but we hold {ours:?}", belief.possible));
                }
            }
        }
        if let Some((name, belief)) = self.beliefs.iter().find(|(_, belief)| belief.asking.is_some()) {
            found.push(format!("{}: never answered: {belief:?}", String::from_utf8_lossy(name)));
        }
        self.violations.extend(found);
    }
}
