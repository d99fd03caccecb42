//! A small world around the machine: a store, a master that can hang, execute late and die, a stream, and
//! backends that ask one thing at a time per name and remember what they were told.

mod callers;
mod check;
mod left_over;
mod master;
mod store;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use super::super::{
    BarrierId, CallId, CommitId, Decision, Event, Machine, Now, Policy, Progress, Restored, SendId, State,
    Task,
};
use crate::authority::facts::{Comparison, Difference};
use crate::authority::write::{Outcome, SessionId, Write};
use crate::list::{Acl, Entry, Location, MailboxName, is_delete_mark, takes_away};
use crate::store::Change;
use callers::Belief;
use master::Exchange;
use store::ModelStore;

pub(super) use master::Link;

/// What a person orders who has looked at everything.
pub(super) const RESEED: Task = Task::Reseed { removals: u64::MAX };
/// The other way about.
pub(super) const ACCEPT: Task = Task::Accept { forgotten: u64::MAX };

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

type Pending = (CommitId, Vec<Change>, Option<(MailboxName, Option<Entry>)>);

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) policy: Policy,
    pub(super) store: ModelStore,
    pub(super) master: List,
    pub(super) link: Link,
    pub(super) beliefs: BTreeMap<Vec<u8>, Belief>,
    /// What a slave holds that has seen everything published while it was let in.
    pub(super) slave: List,
    streaming: bool,
    /// Our next list of the master's replaces ours.
    reloading: bool,
    /// The master's list is whole, and being compared with ours; or is to replace it.
    judging: Option<(Comparison, Option<List>)>,
    /// What the master calls itself.
    pub(super) servername: String,
    commits: VecDeque<Pending>,
    exchanges: BTreeMap<SendId, Exchange>,
    /// Writes that were given up but may still be carried out.
    zombies: Vec<Write>,
    stream: VecDeque<(MailboxName, Option<Entry>)>,
    barrier: Option<BarrierId>,
    clock: Duration,
    /// The operation of all calls, where a situation wants one.
    session: Option<SessionId>,
    next_call: u64,
    pub(super) answers: HashMap<CallId, Outcome>,
    /// The transitions taken.
    pub(super) visited: BTreeSet<(State, State)>,
    /// As announced; the machine's own may be further in the midst of an event.
    state: State,
    pub(super) notices: Vec<String>,
    pub(super) violations: Vec<String>,
    /// Changes were made at the master behind our back, or a person took its list, so that beliefs prove nothing.
    pub(super) bypassed: bool,
    /// The master lost names, or we lost what it granted, so that a person may have to look.
    pub(super) wounded: bool,
    pub(super) crashed: bool,
    /// Whether backends hold the mailboxes that were under way when Ravenry was killed.
    pub(super) truth: BTreeMap<Vec<u8>, bool>,
    /// What somebody found out about those, and has not said yet.
    found: Vec<Event>,
    /// Names that were being written when Ravenry was killed: nobody was told anything of them.
    pub(super) uncertain: BTreeSet<Vec<u8>>,
    /// What happened, for the message of a failure.
    pub(super) trace: Vec<String>,
}

impl World {
    /// Following a master that holds the same list.
    pub(super) fn new(policy: Policy, list: List) -> Self {
        let mut world = Self::restored(policy, list, Restored::Fresh);
        world.master_returns();
        world.settle();
        world
    }

    /// Just started, with this list on disk and at the master, which is not connected yet.
    pub(super) fn restored(policy: Policy, list: List, restored: Restored) -> Self {
        let store = ModelStore { list: list.clone(), ..ModelStore::default() };
        let beliefs =
            list.iter().map(|(name, entry)| (name.clone(), Belief::of(Some(entry.clone())))).collect();
        let machine = Machine::new(policy, restored);
        let state = machine.state();
        Self {
            machine,
            policy,
            store,
            master: list.clone(),
            link: Link::Down,
            beliefs,
            slave: list,
            streaming: state != State::Learning,
            reloading: false,
            judging: None,
            servername: "mm".into(),
            commits: VecDeque::new(),
            exchanges: BTreeMap::new(),
            zombies: Vec::new(),
            stream: VecDeque::new(),
            barrier: None,
            clock: Duration::from_secs(1),
            session: None,
            next_call: 0,
            answers: HashMap::new(),
            visited: BTreeSet::new(),
            state,
            notices: Vec::new(),
            violations: Vec::new(),
            bypassed: false,
            wounded: false,
            crashed: false,
            truth: BTreeMap::new(),
            found: Vec::new(),
            uncertain: BTreeSet::new(),
            trace: Vec::new(),
        }
    }

    pub(super) fn feed(&mut self, event: Event) {
        self.clock += Duration::from_millis(1);
        let now = Now { since_start: self.clock, unix: self.clock.as_secs() };
        self.trace.push(format!("{} < {event:?}", self.machine.state().word()));
        for decision in self.machine.handle(event, now, &self.store) {
            self.carry_out(decision);
        }
        self.stream_if_served();
    }

    pub(super) fn pass_time(&mut self, time: Duration) {
        self.clock += time;
    }

    /// Slaves are let in, and given the whole list, whenever there is one that may be served.
    fn stream_if_served(&mut self) {
        let behind =
            self.machine.poisoned() && matches!(self.machine.state(), State::Following | State::Replaying);
        let served = self.machine.state() != State::Learning && !behind;
        if served && !self.streaming {
            self.slave = self.store.list.clone();
        }
        self.streaming = served;
    }

    fn carry_out(&mut self, decision: Decision) {
        self.trace.push(format!("    > {decision:?}"));
        match decision {
            Decision::Send(id, write, deadline) => {
                if deadline >= self.policy.patience {
                    self.violations
                        .push(format!("{write:?} may take {deadline:?}: the caller is gone by then"));
                }
                self.exchanges.insert(id, Exchange { write, executed: None });
            }
            Decision::Commit { id, changes, publish } => self.commits.push_back((id, changes, publish)),
            Decision::Reply(call, outcome, _) => self.hear(call, outcome),
            Decision::Barrier(id, _) => self.barrier = Some(id),
            Decision::Reconnect => self.give_list_up(),
            Decision::Reload => {
                self.reloading = true;
                self.give_list_up();
            }
            Decision::Enter(state, _) => {
                if state != self.state {
                    self.visited.insert((self.state, state));
                }
                self.state = state;
                if state == State::Following {
                    self.completed();
                }
            }
            Decision::Notice(text) => self.notices.push(text),
            Decision::ForgetListed | Decision::Count(_) => {}
        }
    }

    /// The store finishes its oldest commit.
    pub(super) fn commit_one(&mut self) -> bool {
        let Some((id, changes, publish)) = self.commits.pop_front() else { return false };
        if self.store.broken {
            self.feed(Event::Committed(id, Err("the disk failed".into())));
            return true;
        }
        for change in &changes {
            self.store.apply(change);
        }
        if let Some((name, entry)) = publish.filter(|_| self.streaming) {
            match entry {
                Some(entry) => drop(self.slave.insert(name.as_bytes().to_vec(), entry)),
                None => drop(self.slave.remove(name.as_bytes())),
            }
        }
        self.feed(Event::Committed(id, Ok(self.store.seq)));
        true
    }

    /// Our follower has read the list to its end, and it was compared with ours in no time.
    pub(super) fn list_complete(&mut self) -> bool {
        self.list_read() && self.compared()
    }

    /// Our follower has read the list to its end. It was taken by the master when the link came up.
    pub(super) fn list_read(&mut self) -> bool {
        if self.link != Link::Listing {
            return false;
        }
        self.link = Link::Live;
        // Cyrus takes the snapshot under its lock; what it changed since is on the stream. The model takes it
        // late, which the protocol allows as well, and keeps the lines, which are then repetitions.
        let then = self.store.then();
        let keys: BTreeSet<&Vec<u8>> = self.master.keys().chain(then.list.keys()).collect();
        let mut difference = Difference { listed: self.master.len() as u64, ..Difference::default() };
        let mut comparison = Comparison { unsettled: then.unsettled(), ..Comparison::default() };
        for key in keys {
            let (theirs, ours) = (self.master.get(key), then.list.get(key));
            if theirs == ours {
                continue;
            }
            let name = MailboxName::new(key).unwrap();
            if takes_away(theirs, ours) {
                difference.taken += 1;
                if then.explains(key, theirs) {
                    comparison.explained.insert(name.clone());
                } else {
                    comparison.unexplained.add(&name, ours, theirs);
                }
            }
            let only_theirs = ours.is_none() && theirs.is_some_and(|theirs| !is_delete_mark(theirs));
            difference.only_theirs += u64::from(only_theirs);
            difference.theirs.insert(name, theirs.cloned());
        }
        comparison.difference = difference;
        let replaces = std::mem::take(&mut self.reloading);
        self.judging = Some((comparison, replaces.then(|| self.master.clone())));
        true
    }

    /// The comparison has come to its end. What the master told or did since then was not heard before.
    pub(super) fn compared(&mut self) -> bool {
        let Some((comparison, replacement)) = self.judging.take() else { return false };
        match replacement {
            Some(list) => self.take_over(&comparison.difference, &list),
            None => self.feed(Event::MasterList(comparison)),
        }
        if self.link == Link::Down {
            self.feed(Event::MasterLost("connection reset".into()));
        }
        true
    }

    /// Whether a list is being compared with ours.
    pub(super) fn is_judging(&self) -> bool {
        self.judging.is_some()
    }

    /// The connection is made anew, and its list with it.
    fn give_list_up(&mut self) {
        self.judging = None;
        self.drop_link();
    }

    /// The master's list takes the place of ours, unless a person has not said so, or not any more.
    fn take_over(&mut self, difference: &Difference, list: &List) {
        if self.machine.state() != State::Learning && !self.machine.is_accepting() {
            return self.drop_link();
        }
        if let Err(why) = self.machine.may_accept(difference, self.store.list.len() as u64) {
            self.feed(Event::GiveUp(why));
            return self.drop_link();
        }
        // Nothing that was decided before lands on the list that replaces ours.
        while self.commit_one() {}
        self.store.replace(list);
        self.completed();
        self.streaming = false;
        self.feed(Event::Loaded(Duration::ZERO));
    }

    /// The disk takes nothing more until Ravenry is started again.
    pub(super) fn break_store(&mut self) {
        self.wounded = true;
        self.store.broken = true;
        self.store.suspect = true;
    }

    /// Our list is the master's, and that is on record: an earlier failure matters no more.
    fn completed(&mut self) {
        self.store.suspect &= self.store.broken;
    }

    /// Ravenry is killed and started again on what was durable.
    pub(super) fn crash(&mut self, execute_unrecorded: bool, restored: Restored) {
        // The store keeps a mark of its failure.
        let restored = if self.store.suspect { Restored::Suspect } else { restored };
        self.trace.push(format!("killed, started again: {restored:?}"));
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
        self.leave_over();
        for belief in self.beliefs.values_mut() {
            belief.cut_off();
        }
        self.store.broken = false;
        self.reloading = false;
        self.judging = None;
        self.streaming = false;
        // As the driver keeps it on record.
        let open = self.machine.progress().and_then(Progress::open);
        let task = open.filter(|task| matches!(task, Task::Reseed { .. }));
        let left = self.store.underway.values().cloned().collect();
        self.machine = Machine::new(self.policy, restored).takes_up(left).resuming(task);
        self.state = self.machine.state();
        self.stream_if_served();
    }

    /// The master's list is lost, but for what is kept.
    pub(super) fn wipe_master(&mut self, keep: impl Fn(&[u8]) -> bool) {
        self.wounded = true;
        self.master_dies();
        self.trace.push("the master loses its list".into());
        self.master.retain(|name, _| keep(name));
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
                || self.compared()
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
            if self.machine.poisoned() {
                self.crash(true, Restored::Suspect);
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
}
