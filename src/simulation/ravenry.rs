//! Ravenry: the real state machine on the real store, on a disk in memory. What is asynchronous in the running
//! process (`authority/task`) is laid out in virtual time here: commits, their order and their groups, what the master's
//! list is compared with and when, answers and their deadlines.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::disk::Job;
use super::face::Session;
use super::faults::Plan;
use super::link::Link;
use super::network::{ConnId, Node};
use super::world::{Happening, List, World, name, wall};
use crate::authority::feed::Feed;
use crate::authority::machine::{
    BarrierId, CallId, CommitId, Decision, Event, Machine, Now, Policy, Progress, Restored, State, Task,
};
use crate::authority::recorded::{Recorded, unconfirmed};
use crate::authority::task::age::{Steady, expired_doubts, worth};
use crate::authority::write::Outcome;
use crate::list::{Entry, MailboxName, takes_away};
use crate::store::tests::files::{Files, Scribe};
use crate::store::{Change, Options, Synced};

/// Patience with a list that was not served; as by default.
const MAX_UNATTENDED: Duration = Duration::from_secs(3600);
const ATTENDED_EVERY: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Up,
    Tick,
    /// The disk is done with what it was given.
    Written,
    Committed(CommitId, Result<u64, String>),
    /// A call is not waited for any more.
    Expires(CallId),
    Serve(ConnId),
    /// A step of the link to the master.
    Link(super::link::Step),
    /// Everything committed before has been published.
    Fenced(Waiting),
}

/// Who waits for a barrier.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    Machine(BarrierId),
    /// A command of a connection.
    Face(ConnId),
    /// A NOOP of a stream.
    Noop(ConnId, Bytes),
}

/// Who asked for a change; nobody waits where there is no connection.
pub(super) struct Caller {
    pub(super) conn: Option<ConnId>,
}

/// The process.
pub(super) struct Running {
    pub(super) machine: Machine,
    pub(super) facts: Recorded,
    pub(super) scribe: Scribe,
    pub(super) feed: Feed,
    pub(super) started: Duration,
    steady: Steady,
    attended: Duration,
    pub(super) waiting: VecDeque<Job>,
    pub(super) writing: Vec<Job>,
    pub(super) callers: BTreeMap<CallId, Caller>,
    pub(super) next_call: u64,
    pub(super) sessions: BTreeMap<ConnId, Session>,
    pub(super) link: Link,
    /// The next list replaces ours.
    pub(super) replace: bool,
    entered: State,
    /// Names that the master's lists before the present one took away.
    lacking: HashSet<MailboxName>,
    told_poisoned: bool,
    told_reseeding: Option<u64>,
}

impl Running {
    /// Whether the list fell behind the master's since the disk failed.
    pub(super) fn is_behind(&self) -> bool {
        self.machine.poisoned() && self.machine.state().falls_behind()
    }

    /// Names on record that the master's list takes away from their users.
    fn taken_away(&self) -> HashSet<MailboxName> {
        let store = &self.facts.store;
        let lacking = store.snapshot().and_then(|list| list.unconfirmed(None, 100)).unwrap_or_default();
        let takes = |name: &MailboxName, theirs: Option<&Entry>| {
            takes_away(theirs, store.get(name).ok().flatten().as_ref())
        };
        lacking
            .into_iter()
            .filter(|(name, theirs)| takes(name, theirs.as_ref()))
            .map(|(name, _)| name)
            .collect()
    }

    /// What is under way.
    pub(super) fn unquiet(&self) -> Option<&'static str> {
        let stats = self.facts.store.stats();
        let at_work = [
            (self.machine.state() != State::Following, "Ravenry does not follow"),
            (!self.waiting.is_empty(), "somebody waits for a barrier"),
            (!self.writing.is_empty(), "a commit is under way"),
            (!self.callers.is_empty(), "somebody waits for an answer"),
            (stats.journal_records > 0, "something is owed to the master"),
            (stats.conflicts > 0, "there are conflicts"),
            (stats.unconfirmed > 0, "something is unconfirmed"),
            (!self.link.is_quiet(), "the link is at work"),
        ];
        at_work.into_iter().find_map(|(is, what)| is.then_some(what))
    }
}

/// Ravenry's host.
pub(super) struct Ravenry {
    pub(super) running: Option<Running>,
    pub(super) files: Files,
    /// The mark that the disk failed, which is kept beside the store.
    pub(super) suspect: bool,
    pub(super) slow_until: Duration,
    /// How many removals a person allowed each backend.
    pub(super) allowed: [u64; 2],
    /// Since when a person has something to decide.
    pub(super) puzzled: Option<Duration>,
}

pub(super) fn policy(plan: &Plan) -> Policy {
    Policy { guard: plan.guard, replay_concurrency: plan.replay_concurrency, ..Policy::default() }
}

fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        hot_entries: 64,
        log_bytes: 16 << 10,
        history_seconds: 0,
        now_unix: wall,
        ..Options::default()
    }
}

pub(super) fn synced() -> Synced {
    Synced { master: "mm".into(), version: "3.6.1".into(), at_unix: wall() }
}

/// Why a name may be what nobody wanted.
pub(super) const DISK_FAILED: &str = "Ravenry's disk failed in the middle";

thread_local! {
    /// Disks with a list that was just served; to make one takes longer than a seed.
    static DISKS: RefCell<BTreeMap<usize, [Vec<u8>; 2]>> = const { RefCell::new(BTreeMap::new()) };
}

impl Ravenry {
    pub(super) fn holding(list: &List) -> Self {
        let bytes = DISKS.with_borrow_mut(|disks| {
            disks
                .entry(list.len())
                .or_insert_with(|| {
                    let files = Files::holding(Default::default());
                    let (store, mut scribe) = files.open_inline(options()).unwrap();
                    let entries = list.iter().map(|(key, entry)| (name(key), entry.clone())).collect();
                    scribe.replace(entries, synced()).unwrap();
                    scribe.commit(vec![vec![Change::Attended { at_unix: wall() }]]).remove(0).unwrap();
                    drop((store, scribe));
                    files.bytes()
                })
                .clone()
        });
        Self {
            running: None,
            files: Files::holding(bytes),
            suspect: false,
            slow_until: Duration::ZERO,
            allowed: [0; 2],
            puzzled: None,
        }
    }

    pub(super) fn state(&self) -> Option<State> {
        self.running.as_ref().map(|running| running.machine.state())
    }

    /// Whether the port is open.
    pub(super) fn serves(&self) -> bool {
        self.state().is_some_and(|state| state != State::Learning)
    }

    pub(super) fn entries(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.facts.store.stats().entries)
    }

    /// Names that the list keeps although the master's lacked them.
    pub(super) fn unconfirmed(&self) -> Vec<MailboxName> {
        let snapshot = self.running.as_ref().and_then(|running| running.facts.store.snapshot().ok());
        let names = snapshot.and_then(|snapshot| unconfirmed(&snapshot).ok());
        names.unwrap_or_default()
    }

    pub(super) fn disk_fails(&mut self) {
        if self.running.is_some() {
            self.files.fail();
        }
    }
}

impl World {
    /// The process starts, on what is on the disk.
    pub(super) fn ravenry_up(&mut self) {
        self.comes_up(Node::Ravenry);
        let (store, scribe) = (self.ravenry.files.open_inline(options()))
            .unwrap_or_else(|error| panic!("what a power cut left does not open: {error}"));
        let mut stats = store.stats();
        stats.suspect = self.ravenry.suspect.then(|| "its disk failed".into());
        let (restored, _) = worth(&stats, wall(), MAX_UNATTENDED);
        self.note(|| format!("Ravenry starts: {restored:?}, {stats:?}"));
        let left_over =
            store.snapshot().and_then(|list| list.left_over()).expect("what was opened can be read");
        let machine = Machine::new(policy(&self.plan), restored)
            .takes_up(left_over)
            .resuming(stats.reseeding.map(|removals| Task::Reseed { removals }))
            .knows_master(stats.synced.map(|synced| synced.master).filter(|master| !master.is_empty()));
        let entered = machine.state();
        self.ravenry.running = Some(Running {
            machine,
            facts: Recorded { store, listed: None },
            scribe,
            feed: Feed::default(),
            started: self.now,
            steady: Steady::new(wall()),
            attended: self.now,
            waiting: VecDeque::new(),
            writing: Vec::new(),
            callers: BTreeMap::new(),
            next_call: 0,
            sessions: BTreeMap::new(),
            link: Link::default(),
            replace: restored == Restored::Nothing,
            entered,
            lacking: HashSet::new(),
            told_poisoned: false,
            told_reseeding: stats.reseeding,
        });
        if stats.held {
            self.feed(Event::StandIn);
        }
        self.link_up_soon(Duration::from_millis(1));
        self.after(Node::Ravenry, Duration::from_secs(1), Happening::Ravenry(Step::Tick));
    }

    pub(super) fn ravenry_step(&mut self, step: Step) {
        if let Step::Up = step {
            return self.ravenry_up();
        }
        if self.ravenry.running.is_none() {
            return;
        }
        match step {
            Step::Up => {}
            Step::Tick => self.tick(),
            Step::Written => self.written(),
            Step::Committed(id, result) => self.feed(Event::Committed(id, result)),
            Step::Expires(id) => self.expires(id),
            Step::Serve(conn) => self.serve_on(conn),
            Step::Link(step) => self.link_step(step),
            Step::Fenced(waiting) => self.fenced(waiting),
        }
    }

    fn expires(&mut self, id: CallId) {
        let Some(running) = &self.ravenry.running else { return };
        let patience = policy(&self.plan).patience;
        if running.callers.contains_key(&id)
            && !running.machine.poisoned()
            && self.now > self.ravenry.slow_until + patience
        {
            self.violated(format!("{id:?} was never answered, in {:?}", running.machine.state()));
        }
        self.reply(id, &Outcome::Unavailable);
    }

    pub(super) fn feed(&mut self, event: Event) {
        let now = self.now;
        let Some(running) = &mut self.ravenry.running else { return };
        if let Some(trace) = &mut self.trace {
            let state = running.machine.state().word();
            // Its tables are in no order.
            let told = match &event {
                Event::MasterList(list) => {
                    format!("MasterList of {}, {}", list.difference.listed, list.unexplained)
                }
                event => format!("{event:?}"),
            };
            trace.push(format!("{:>10.6} {state} < {told}", now.as_secs_f64()));
        }
        let time = Now { since_start: now - running.started, unix: wall() };
        running.steady.look(time.unix, time.since_start);
        let decisions = running.machine.handle(event, time, &running.facts);
        for decision in decisions {
            self.note(|| format!("    > {decision:?}"));
            self.carry_out(decision);
        }
        self.tell_progress();
    }

    fn carry_out(&mut self, decision: Decision) {
        let Some(running) = &mut self.ravenry.running else { return };
        match decision {
            Decision::Send(id, write, deadline) => self.exchange(id, write, deadline),
            Decision::Commit { id, changes, publish } => self.submit(Some(id), changes, publish),
            Decision::Reply(call, outcome, _) => self.reply(call, &outcome),
            Decision::Barrier(id, deadline) => self.ask_barrier(Waiting::Machine(id), deadline),
            Decision::Reconnect => self.reconnect(),
            Decision::Reload => {
                running.replace = true;
                self.reconnect();
            }
            Decision::ForgetListed => running.facts.listed = None,
            Decision::Enter(state, _) => self.entered(state),
            Decision::Notice(_) | Decision::Count(_) => {}
        }
    }

    fn entered(&mut self, state: State) {
        let Some(running) = &mut self.ravenry.running else { return };
        let before = std::mem::replace(&mut running.entered, state);
        if state == State::Learning {
            running.feed.close_all();
        } else if !running.machine.is_accepting() {
            running.replace = false;
        }
        if state == State::Replaying {
            running.lacking = running.taken_away();
        }
        if state == State::Following {
            let entries = running.facts.store.stats().entries;
            let lacking = running.taken_away();
            let taken = lacking.iter().filter(|name| !running.lacking.contains(*name)).count() as u64;
            let asked = matches!(running.machine.progress(), Some(Progress::Done(_)));
            if before == State::Replaying && self.plan.guard.trips(taken, entries) && !asked {
                self.violated(format!(
                    "the master took {taken} names of {entries} away, and nobody was asked"
                ));
            }
            self.submit(None, vec![Change::Synced(synced())], None);
        }
        self.count(match state {
            State::Learning => "learning",
            State::Following => "following",
            State::StandingIn => "standing in",
            State::Replaying => "replaying",
            State::Holding => "holding",
        });
        self.pump_streams();
    }

    fn tell_progress(&mut self) {
        let Some(running) = &mut self.ravenry.running else { return };
        if running.machine.poisoned() && !std::mem::replace(&mut self.ravenry.suspect, true) {
            self.not_taken_back(DISK_FAILED);
        }
        let Some(running) = &mut self.ravenry.running else { return };
        if running.is_behind() && !std::mem::replace(&mut running.told_poisoned, true) {
            running.feed.close_all();
        }
        let unfinished = match running.machine.progress().and_then(Progress::open) {
            Some(Task::Reseed { removals }) => Some(removals),
            Some(Task::Accept { .. }) | None => None,
        };
        if running.told_reseeding != unfinished {
            running.told_reseeding = unfinished;
            self.submit(None, vec![Change::Reseeding(unfinished)], None);
        }
    }

    fn tick(&mut self) {
        self.feed(Event::Tick);
        let Some(running) = &mut self.ravenry.running else { return };
        if self.now - running.attended >= ATTENDED_EVERY && running.machine.state() != State::Learning {
            running.attended = self.now;
            let mut changes = vec![Change::Attended { at_unix: wall() }];
            let steady = running.steady.look(wall(), self.now - running.started);
            if running.machine.state() == State::Following {
                let list = running.facts.store.snapshot();
                let expired = list.and_then(|list| expired_doubts(&list, wall(), steady));
                changes.extend(expired.unwrap_or_default());
            }
            self.submit(None, changes, None);
        }
        self.after(Node::Ravenry, Duration::from_secs(1), Happening::Ravenry(Step::Tick));
    }

    /// An operator's order to stand in, or the end of it.
    pub(super) fn order(&mut self, stand_in: bool) {
        self.feed(if stand_in { Event::StandIn } else { Event::Follow });
        if let Some(running) = &self.ravenry.running {
            let held = running.machine.held();
            self.submit(None, vec![Change::Held { held }], None);
        }
    }

    fn fenced(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Machine(_) => {}
            Waiting::Face(conn) => self.looked(conn),
            Waiting::Noop(conn, tag) => self.noop_passed(conn, &tag),
        }
    }
}
