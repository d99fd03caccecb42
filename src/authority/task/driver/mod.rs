//! The loop: one event at a time into the machine, its decisions carried out in their order.
//!
//! | file | what |
//! |---|---|
//! | `link` | what the link to the master tells |
//! | `orders` | what is asked: writes, and an operator's orders |

mod link;
mod orders;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};

use super::age::{Steady, expired_doubts, worth};
use super::committer::Committer;
use super::comparer::Aside;
use super::handle::{Options, Order, Passage, Standing};
use super::intake::{Intake, synced};
use super::monitor;
use super::pulse::Pulse;
use crate::authority::facts::Facts;
use crate::authority::feed::Feed;
use crate::authority::machine::{
    BarrierId, CallId, CommitId, Decision, Event, Keep, Machine, Now, Policy, Restored, SendId, State, Task,
};
use crate::authority::master::{LinkEvent, Lost, Master, MasterReply};
use crate::authority::recorded::Recorded;
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::MailboxName;
use crate::store::{Change, LeftOver, Loader, Store};

/// How long a caller waits for streams that keep up. A frontend that hears of a mailbox after its backend
/// had the OK can deadlock with itself (Cyrus issue 5926). With the disk's share a write stays below 20 ms.
const STREAM_BOUND: Duration = Duration::from_millis(10);

/// How long the machine's next barrier gathers what it is to cover. Nobody waits for it: it ends the time in which the
/// master's lines about names just written are passed over. A NOOP after every write would take the master's time.
const BARRIER_GATHERS: Duration = Duration::from_millis(5);

/// How often the time is recorded at which the list was last served.
const ATTENDED_EVERY: Duration = Duration::from_secs(30);

/// How long what is under way may take when the process stops.
const STOP_BOUND: Duration = Duration::from_secs(1);

/// Names left under way that the log names at the start.
const NAMED: usize = 100;

/// Changes of state that are remembered for people.
const PASSAGES: usize = 20;

/// What the handle asks of the task.
pub(super) enum Command {
    Write { origin: Origin, write: Write, expires: Instant, caller: Caller },
    Ended(SessionId, bool),
    Verdict { name: MailboxName, version: Option<u64>, stands: bool },
    Fence(oneshot::Sender<()>),
    Silent(Lost),
    Order(Order, oneshot::Sender<Result<(), String>>),
    Resolve { name: MailboxName, keep: Keep, caller: Caller },
    Believe { loader: Loader, from: String, reply: oneshot::Sender<Result<(), String>> },
    Policy(Policy),
    Stop(oneshot::Sender<()>),
}

/// Who waits for an answer, and its place among those that may.
pub(super) struct Caller {
    pub(super) reply: oneshot::Sender<Outcome>,
    pub(super) _turn: OwnedSemaphorePermit,
}

/// What the task began and has ended.
pub(super) enum Done {
    Committed(CommitId, Result<u64, String>),
    Sent(SendId, Result<MasterReply, Lost>),
    Barrier(BarrierId, Result<(), Lost>),
}

pub(super) struct Driver {
    machine: Machine,
    facts: Recorded,
    master: Arc<dyn Master>,
    feed: Feed,
    committer: Committer,
    done: mpsc::UnboundedSender<Done>,
    finished: mpsc::UnboundedReceiver<Done>,
    callers: HashMap<CallId, Caller>,
    next_call: u64,
    /// Exchanges with the master that are under way.
    sends: HashSet<SendId>,
    intake: Intake,
    aside: Aside,
    /// The next list replaces ours.
    replace: bool,
    started: Instant,
    steady: Steady,
    attended: Instant,
    standing: watch::Sender<Standing>,
    pulse: Pulse,
    shadow: bool,
}

/// What an earlier run left under way, which the log names.
fn left_over(store: &Store) -> Vec<LeftOver> {
    let left = match store.snapshot().and_then(|snapshot| snapshot.left_over()) {
        Ok(left) => left,
        Err(error) => {
            tracing::error!(%error, "what was under way cannot be read");
            return Vec::new();
        }
    };
    for LeftOver { name, underway, .. } in left.iter().take(NAMED) {
        let before =
            underway.before.as_ref().map_or("nowhere".to_owned(), |entry| entry.location.to_string());
        tracing::warn!(%name, %before, peer = %underway.peer,
            "an operation was cut off with an earlier run: nobody knows yet how it ended");
    }
    if left.len() > NAMED {
        tracing::warn!("and so were {} more", left.len() - NAMED);
    }
    left
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Driver {
    pub(super) fn new(
        store: Store,
        master: Arc<dyn Master>,
        feed: Feed,
        options: Options,
        pulse: Pulse,
        aside: Aside,
    ) -> (Self, watch::Receiver<Standing>) {
        let stats = store.stats();
        let (restored, reason) = worth(&stats, unix(), options.max_unattended);
        let machine = Machine::new(options.policy, restored)
            .takes_up(left_over(&store))
            .resuming(stats.reseeding.map(|removals| Task::Reseed { removals }))
            .knows_master(stats.synced.map(|synced| synced.master).filter(|master| !master.is_empty()));
        let (standing, watching) = watch::channel(Standing {
            state: machine.state(),
            since_unix: unix(),
            reason,
            held: stats.held,
            poisoned: false,
            master: None,
            connected: false,
            last_error: None,
            last_barrier_unix: None,
            replaying: 0,
            reading: None,
            progress: None,
            history: VecDeque::new(),
        });
        let (done, finished) = mpsc::unbounded_channel();
        let committer = Committer::spawn(store.clone(), feed.clone(), done.clone());
        let now = Instant::now();
        let mut driver = Self {
            machine,
            facts: Recorded { store, listed: None },
            master,
            feed,
            committer,
            done,
            finished,
            callers: HashMap::new(),
            next_call: 0,
            sends: HashSet::new(),
            intake: Intake::Idle,
            aside,
            replace: restored == Restored::Nothing,
            started: now,
            steady: Steady::new(unix()),
            attended: now,
            standing,
            pulse,
            shadow: options.shadow,
        };
        if stats.held {
            driver.feed_machine(Event::StandIn);
        }
        for (server, until) in stats.servers.expected() {
            let left = until.saturating_sub(unix());
            if left > 0 {
                driver.feed_machine(Event::Expect(server.to_vec(), Duration::from_secs(left)));
            }
        }
        (driver, watching)
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut link: mpsc::Receiver<LinkEvent>,
    ) {
        {
            let standing = self.standing.borrow();
            tracing::info!(state = standing.state.word(), reason = %standing.reason, "authority started");
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.pulse.beat();
            // Not biased: a long list of the master's must not keep callers waiting, nor they it.
            tokio::select! {
                Some(done) = self.finished.recv() => {
                    if matches!(done, Done::Barrier(..)) {
                        self.catch_up(&mut link).await;
                    }
                    self.finished(done);
                }
                Some(arrival) = self.intake.next(&mut link) => self.arrived(arrival).await,
                command = commands.recv() => match command {
                    None => return,
                    Some(Command::Stop(reply)) => {
                        self.stop(link).await;
                        let _ = reply.send(());
                        return;
                    }
                    Some(Command::Fence(reply)) => {
                        self.catch_up(&mut link).await;
                        let at = unix();
                        self.standing.send_if_modified(|s| s.last_barrier_unix.replace(at) != Some(at));
                        self.committer.fence(reply);
                    }
                    Some(Command::Believe { loader, from, reply }) => {
                        let _ = reply.send(self.believe(loader, from).await);
                    }
                    Some(command) => self.command(command),
                },
                _ = tick.tick() => self.tick(),
            }
        }
    }

    fn finished(&mut self, done: Done) {
        let event = match done {
            Done::Committed(id, result) => Event::Committed(id, result),
            Done::Sent(id, result) => {
                self.sends.remove(&id);
                Event::Sent(id, result)
            }
            Done::Barrier(id, result) => {
                if result.is_ok() {
                    self.standing.send_modify(|standing| standing.last_barrier_unix = Some(unix()));
                }
                Event::Barrier(id, result)
            }
        };
        self.feed_machine(event);
    }

    fn tick(&mut self) {
        self.feed_machine(Event::Tick);
        let replaying = self.machine.replaying();
        self.standing.send_if_modified(|s| std::mem::replace(&mut s.replaying, replaying) != replaying);
        let reading = self.intake.read();
        self.standing.send_if_modified(|s| std::mem::replace(&mut s.reading, reading) != reading);
        if self.attended.elapsed() >= ATTENDED_EVERY && self.machine.state() != State::Learning {
            self.attended = Instant::now();
            let mut changes = vec![Change::Attended { at_unix: unix() }];
            let steady = self.steady.look(unix(), self.started.elapsed());
            if self.machine.state() == State::Following {
                changes.extend(self.expired_doubts(steady));
            }
            self.committer.submit(None, changes, None);
        }
    }

    fn expired_doubts(&self, steady: Duration) -> Vec<Change> {
        let store = &self.facts.store;
        if store.stats().doubts == 0 {
            return Vec::new();
        }
        let expired = store.snapshot().and_then(|list| expired_doubts(&list, unix(), steady));
        expired.unwrap_or_default()
    }

    fn feed_machine(&mut self, event: Event) {
        let now = Now { since_start: self.started.elapsed(), unix: unix() };
        // What is dated by a clock was dated by one that was looked at.
        self.steady.look(now.unix, now.since_start);
        let facts: &dyn Facts = &self.facts;
        let decisions = self.machine.handle(event, now, facts);
        for decision in decisions {
            self.carry_out(decision);
        }
        self.tell_progress();
        if self.machine.poisoned() && !self.standing.borrow().poisoned {
            self.standing.send_modify(|standing| standing.poisoned = true);
            if self.machine.state().falls_behind() {
                self.feed.close_all();
            }
        }
    }

    fn carry_out(&mut self, decision: Decision) {
        match decision {
            Decision::Send(id, write, deadline) => {
                self.sends.insert(id);
                let (exchange, done) = (self.master.send(write, deadline), self.done.clone());
                tokio::spawn(async move {
                    let _ = done.send(Done::Sent(id, exchange.await));
                });
            }
            Decision::Commit { id, changes, publish } => self.committer.submit(Some(id), changes, publish),
            Decision::Reply(call, outcome, seq) => self.reply(call, outcome, seq),
            Decision::Barrier(id, deadline) => {
                let (master, done) = (self.master.clone(), self.done.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(BARRIER_GATHERS).await;
                    let _ = done.send(Done::Barrier(id, master.barrier(deadline).await));
                });
            }
            Decision::Reconnect => self.reconnect(),
            Decision::Reload => {
                self.replace = true;
                self.reconnect();
            }
            Decision::ForgetListed => self.facts.listed = None,
            Decision::Enter(state, reason) => self.entered(state, reason),
            Decision::Notice(text) => tracing::warn!("{text}"),
            Decision::Count(counted) => monitor::count(&counted, self.shadow),
        }
    }

    /// Takes a fresh list. What the present one amounts to is not waited for any more.
    fn reconnect(&mut self) {
        self.intake = Intake::Idle;
        self.master.reconnect();
    }

    fn entered(&mut self, state: State, reason: String) {
        tracing::warn!(state = state.word(), %reason, "state");
        if state == State::Learning {
            self.feed.close_all();
        } else if !self.machine.is_accepting() {
            self.replace = false;
        }
        if state == State::Following {
            let record = synced(self.standing.borrow().master.as_ref(), unix());
            self.committer.submit(None, vec![Change::Synced(record)], None);
        }
        let (held, poisoned) = (self.machine.held(), self.machine.poisoned());
        monitor::entered(self.standing.borrow().state, state);
        self.standing.send_modify(|standing| {
            if standing.state != state {
                standing.since_unix = unix();
            }
            if standing.history.len() >= PASSAGES {
                standing.history.pop_front();
            }
            standing.history.push_back(Passage { at_unix: unix(), state, reason: reason.clone() });
            standing.state = state;
            standing.reason = reason;
            standing.held = held;
            standing.poisoned = poisoned;
        });
    }

    fn reply(&mut self, call: CallId, outcome: Outcome, seq: Option<u64>) {
        let Some(caller) = self.callers.remove(&call) else { return };
        match seq {
            Some(seq) if !self.feed.is_written(seq) => {
                let feed = self.feed.clone();
                tokio::spawn(async move {
                    feed.written(seq, STREAM_BOUND).await;
                    let _ = caller.reply.send(outcome);
                });
            }
            // A caller that does not wait any more has been told that the outcome is unknown.
            _ => drop(caller.reply.send(outcome)),
        }
    }

    /// What is under way comes to its end, or is put on record as in doubt; then the time is recorded, and
    /// the streams end.
    async fn stop(&mut self, mut link: mpsc::Receiver<LinkEvent>) {
        link.close();
        let deadline = tokio::time::Instant::now() + STOP_BOUND;
        while !self.sends.is_empty() {
            match tokio::time::timeout_at(deadline, self.finished.recv()).await {
                // Nobody listens to the stream any more: lines that wait for a barrier may be old.
                Ok(Some(Done::Barrier(..))) => {}
                Ok(Some(done)) => self.finished(done),
                Ok(None) | Err(_) => break,
            }
        }
        for id in std::mem::take(&mut self.sends) {
            self.feed_machine(Event::Sent(id, Err(Lost::InDoubt("stopping".into()))));
        }
        // What has ended is not to be taken for cut off by the next run.
        self.feed_machine(Event::Tick);
        let (reply, committed) = oneshot::channel();
        self.committer.fence(reply);
        if tokio::time::timeout(STOP_BOUND, committed).await.is_err() {
            tracing::error!("the disk does not answer: stopping without it");
            return;
        }
        while let Ok(done) = self.finished.try_recv() {
            if !matches!(done, Done::Barrier(..)) {
                self.finished(done);
            }
        }
        if self.machine.state() != State::Learning {
            let attended = vec![Change::Attended { at_unix: unix() }];
            if let Err(error) = self.facts.store.commit(attended).await {
                tracing::error!(%error, "the time of stopping could not be recorded");
            }
        }
        self.feed.close_all();
    }
}
