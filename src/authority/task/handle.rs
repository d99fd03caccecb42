//! What the faces and the operator hold of the authority.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::comparer::{Aside, on_a_blocking_thread};
use super::driver::{Caller, Command, Driver};
use super::pulse::Pulse;
use crate::authority::facts::Unreadable;
use crate::authority::feed::{Feed, Subscription};
use crate::authority::machine::{Keep, Policy, Progress, State, Task};
use crate::authority::master::{BoxFuture, LinkEvent, Master, MasterIdentity};
use crate::authority::namespace::{BARRIER_BOUND, Namespace};
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::{Entry, MailboxName};
use crate::store::{Loader, Snapshot, Store};
use crate::telemetry::metric::Metric;

/// How many writes may be under way; more wait their turn. Half of what the store lets wait for its disk.
const WRITES_UNDER_WAY: usize = 8192;

/// What the authority is run with.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// See [`Policy`].
    pub policy: Policy,
    /// A list on disk that was not served for longer than this is not believed.
    pub max_unattended: Duration,
    /// The murder is not pointed at us: what the master changes did not go past us, it never came.
    pub shadow: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { policy: Policy::default(), max_unattended: Duration::from_secs(3600), shadow: false }
    }
}

/// Where things stand, for people and monitors.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Who decides.
    pub state: State,
    /// Since when: seconds since 1970.
    pub since_unix: u64,
    /// Why.
    pub reason: String,
    /// A person keeps Ravenry standing in.
    pub held: bool,
    /// The store has failed.
    pub poisoned: bool,
    /// What the master last said of itself.
    pub master: Option<MasterIdentity>,
    /// Whether the link to it is up.
    pub connected: bool,
    /// Why it last went down, or did not come up.
    pub last_error: Option<String>,
    /// When a barrier last passed: seconds since 1970.
    pub last_barrier_unix: Option<u64>,
    /// Names still to be compared, while replaying.
    pub replaying: usize,
    /// Names of the master's list that were read so far, while it arrives.
    pub reading: Option<u64>,
    /// How far the last change of the whole list is that a person ordered.
    pub progress: Option<Progress>,
    /// The last changes of state, the newest last.
    pub history: VecDeque<Passage>,
}

/// A change of state.
#[derive(Clone, PartialEq, Debug)]
pub struct Passage {
    /// When: seconds since 1970.
    pub at_unix: u64,
    /// Who decides since then.
    pub state: State,
    /// Why.
    pub reason: String,
}

/// What a person can order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Order {
    /// Stand in, whatever the master says.
    StandIn,
    /// Let the master decide again.
    Follow,
    /// Change the whole list; [`Standing::progress`] says how far it is.
    Begin(Task),
    /// Wait for that no more, and why.
    GiveUp(String),
    /// The names of a server will be deleted within a time: no reason to distrust the master.
    Expect {
        /// The server's name, as in locations.
        server: Vec<u8>,
        /// How long that is expected.
        time: Duration,
    },
}

/// The authority's task has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the authority has stopped")]
pub struct Stopped;

/// A handle to the authority; clones are the same one.
#[derive(Clone)]
pub struct Authority {
    commands: mpsc::Sender<Command>,
    store: Store,
    feed: Feed,
    master: Arc<dyn Master>,
    standing: watch::Receiver<Standing>,
    admission: Arc<Semaphore>,
    /// A write is answered within this, whatever happens.
    patience: Duration,
    pulse: Pulse,
}

impl Authority {
    /// Starts the task. `events` is the other end of what `master` reports to.
    pub fn spawn(
        store: Store,
        master: Arc<dyn Master>,
        events: mpsc::Receiver<LinkEvent>,
        options: Options,
    ) -> Self {
        Self::spawn_with(store, master, events, options, on_a_blocking_thread())
    }

    /// As [`Self::spawn`]; `aside` carries out what takes long.
    pub(super) fn spawn_with(
        store: Store,
        master: Arc<dyn Master>,
        events: mpsc::Receiver<LinkEvent>,
        options: Options,
        aside: Aside,
    ) -> Self {
        let (commands, received) = mpsc::channel(1024);
        let feed = Feed::default();
        let pulse = Pulse::default();
        let (driver, standing) =
            Driver::new(store.clone(), master.clone(), feed.clone(), options, pulse.clone(), aside);
        tokio::spawn(driver.run(received, events));
        let admission = Arc::new(Semaphore::new(WRITES_UNDER_WAY));
        let patience = options.policy.patience;
        Self { commands, store, feed, master, standing, admission, patience, pulse }
    }

    /// Where things stand, now and whenever it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// For how long the task has not come round: it does so every second, or it is stuck.
    pub fn silence(&self) -> Duration {
        self.pulse.silence()
    }

    /// The store, for statistics.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Every change that becomes durable.
    pub fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Gives an order; returns when it was taken. The error is a sentence for the operator.
    pub async fn order(&self, order: Order) -> Result<(), String> {
        let (reply, taken) = oneshot::channel();
        let stopped = |_| Stopped.to_string();
        self.commands.send(Command::Order(order, reply)).await.map_err(|_| Stopped.to_string())?;
        taken.await.map_err(stopped)?
    }

    /// Decides by another policy from now on. What is under way goes on.
    pub async fn change(&self, policy: Policy) {
        // A task that has ended decides nothing any more.
        let _ = self.commands.send(Command::Policy(policy)).await;
    }

    /// Puts a list in the place of ours that is not served, and serves it from now on. The error is a sentence for
    /// the operator.
    pub async fn believe(&self, loader: Loader, from: String) -> Result<(), String> {
        let (reply, taken) = oneshot::channel();
        let stopped = |_| Stopped.to_string();
        let command = Command::Believe { loader, from, reply };
        self.commands.send(command).await.map_err(|_| Stopped.to_string())?;
        taken.await.map_err(stopped)?
    }

    /// Decides about a name that is in conflict or unconfirmed; returns when that is durable.
    pub async fn resolve(&self, name: MailboxName, keep: Keep) -> Outcome {
        let answered = tokio::time::timeout(self.patience, async {
            let turn = self.admission.clone().acquire_owned().await.ok()?;
            let (reply, answer) = oneshot::channel();
            let caller = Caller { reply, _turn: turn };
            self.commands.send(Command::Resolve { name, keep, caller }).await.ok()?;
            answer.await.ok()
        });
        answered.await.ok().flatten().unwrap_or(Outcome::Unavailable)
    }

    /// Says how an operation ended that an earlier run left over, as far as this name goes: what it did stands, or is
    /// taken back, if the name is still of this version. Whether that was done shows in the store.
    pub async fn pronounce(&self, name: MailboxName, version: Option<u64>, stands: bool) {
        // Where the task has stopped, the next run asks again.
        let _ = self.commands.send(Command::Verdict { name, version, stands }).await;
    }

    /// Ends the task: what was acknowledged is durable already; the time is recorded, streams end.
    pub async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(reply)).await.is_ok() {
            let _ = stopped.await;
        }
    }

    /// A list that fell behind the master's since the disk failed is not shown (rules 3 and 4): who asks is
    /// closed bare, keeps what it has, and comes back.
    fn readable(&self) -> Result<(), Unreadable> {
        let standing = self.standing.borrow();
        // Also while learning: whoever was waiting when the master was lost is not to hear of an old list.
        if standing.poisoned && standing.state.falls_behind() {
            return Err(Unreadable("the store failed, and the master has gone on without it".into()));
        }
        Ok(())
    }

    /// Whether a barrier passed, and the list reflects it.
    async fn pass_barrier(self) -> bool {
        let state = self.standing.borrow().state;
        if !matches!(state, State::Following | State::Replaying) {
            return false;
        }
        if let Err(lost) = self.master.barrier(BARRIER_BOUND * 2 / 3).await {
            let _ = self.commands.send(Command::Silent(lost)).await;
            return false;
        }
        let (reply, passed) = oneshot::channel();
        self.commands.send(Command::Fence(reply)).await.is_ok() && passed.await.is_ok()
    }

    fn follows(&self) -> bool {
        let standing = self.standing.borrow();
        standing.state == State::Following && !standing.poisoned
    }
}

impl Namespace for Authority {
    fn write(&self, origin: Origin, write: Write) -> BoxFuture<Outcome> {
        let (commands, admission, patience) = (self.commands.clone(), self.admission.clone(), self.patience);
        let (standing, command, asked) = (self.standing.clone(), write.verb(), Instant::now());
        Box::pin(async move {
            let expires = Instant::now() + patience;
            let answered = tokio::time::timeout_at(expires.into(), async move {
                // Kept until the machine has answered, so that what waits in there has a bound.
                let turn = admission.acquire_owned().await.ok()?;
                let (reply, answer) = oneshot::channel();
                let caller = Caller { reply, _turn: turn };
                commands.send(Command::Write { origin, write, expires, caller }).await.ok()?;
                answer.await.ok()
            });
            let outcome = answered.await.ok().flatten().unwrap_or(Outcome::Unavailable);
            let state = standing.borrow().state.word();
            Metric::Writes
                .count_for(&[("command", command), ("outcome", outcome.word()), ("state", state)], 1);
            Metric::WriteDuration.observe_for(&[("state", state)], asked.elapsed());
            outcome
        })
    }

    fn ended(&self, session: SessionId, complete: bool) -> BoxFuture<()> {
        let commands = self.commands.clone();
        Box::pin(async move { drop(commands.send(Command::Ended(session, complete)).await) })
    }

    fn barrier(&self) -> BoxFuture<()> {
        let passing = self.clone().pass_barrier();
        Box::pin(async move {
            let _ = tokio::time::timeout(BARRIER_BOUND, passing).await;
        })
    }

    fn may_serve(&self) -> bool {
        self.standing.borrow().state != State::Learning
    }

    fn snapshot(&self) -> Result<Snapshot, Unreadable> {
        self.readable()?;
        Ok(self.store.snapshot()?)
    }

    fn find(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable> {
        self.readable()?;
        Ok(self.store.get(name)?)
    }

    fn versioned(&self, name: &MailboxName) -> Result<Option<(Entry, u64)>, Unreadable> {
        self.readable()?;
        Ok(self.store.snapshot()?.versioned(name)?)
    }

    fn is_current(&self) -> BoxFuture<bool> {
        let authority = self.clone();
        Box::pin(async move {
            let passing = authority.clone().pass_barrier();
            let passed = tokio::time::timeout(BARRIER_BOUND, passing).await.unwrap_or(false);
            // Looked at afterwards, so that what changed meanwhile is noticed.
            passed && authority.follows()
        })
    }

    fn is_in_doubt(&self, name: &MailboxName) -> bool {
        if self.store.stats().doubts == 0 {
            return false;
        }
        let doubts = self.store.snapshot().and_then(|list| list.doubts(None, usize::MAX));
        !doubts.is_ok_and(|doubts| doubts.iter().all(|(doubted, _)| doubted != name))
    }

    fn subscribe(&self) -> Subscription {
        self.feed.subscribe()
    }
}
