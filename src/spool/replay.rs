//! The task that works off the queue: it tells the schedule what happens and makes the attempts that it asks for.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{self, JoinSet};
use tokio::time::Instant;

use super::attempt::{Courier, Done};
use super::schedule::{Decision, LaneStatus, Outcome, Policy, Schedule};
use super::shared::Shared;
use super::{Destination, Handle, Message, QueueId, Wake};
use crate::list::MailboxName;

/// Messages that are read at once while the queue of an earlier process is taken over.
const PAGE: usize = 256;
/// How often the log says how a backlog shrinks.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// A look at the schedule at least so often.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// What the task is told.
pub(super) enum Event {
    /// A new message, with its recipients' mailboxes.
    Queued(QueueId, Box<[Option<MailboxName>]>),
    Wake(Wake),
    /// A new message for this mailbox was delivered: its backend is there.
    Reached(MailboxName),
    /// A person wants all of them tried.
    RetryAll,
    /// Forgotten or held: nothing more is tried.
    Out(QueueId),
    /// Released, or to be tried at once.
    In(QueueId),
    /// What became of an attempt is known, and being written down.
    Settling(QueueId, Destination),
    Lanes(oneshot::Sender<Vec<LaneStatus>>),
    Policy(Policy),
}

pub(super) struct Replay {
    shared: Arc<Shared>,
    courier: Arc<Courier>,
    schedule: Schedule,
    events: mpsc::UnboundedReceiver<Event>,
    attempts: JoinSet<Done>,
    running: HashMap<task::Id, (QueueId, Destination)>,
    /// A checksum of each mailbox that is waited for, with the message; may hold some that wait no more.
    names: BTreeSet<(u64, QueueId)>,
    hasher: RandomState,
    /// What is still to be read of an earlier process's queue: behind this message.
    loading: Option<Option<QueueId>>,
    /// How many have been read of it.
    loaded: usize,
    /// The clock of the schedule: this many milliseconds since 1970 at that instant.
    epoch: (u64, Instant),
    settled: u64,
    told: (Instant, u64),
}

impl Replay {
    pub(super) fn new(
        handle: &Arc<Handle>,
        courier: Courier,
        events: mpsc::UnboundedReceiver<Event>,
    ) -> Self {
        let shared = handle.shared.clone();
        let epoch = ((shared.options.get().now_unix_ms)(), Instant::now());
        Self {
            schedule: Schedule::new(shared.options.get().policy, fastrand::u64(..)),
            courier: Arc::new(courier),
            events,
            attempts: JoinSet::new(),
            running: HashMap::new(),
            names: BTreeSet::new(),
            hasher: RandomState::new(),
            loading: Some(None),
            loaded: 0,
            epoch,
            settled: 0,
            told: (Instant::now(), 0),
            shared,
        }
    }

    fn now(&self) -> u64 {
        self.epoch.0 + u64::try_from(self.epoch.1.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Works until the spool is dropped.
    pub(super) async fn run(mut self, handle: Weak<Handle>) {
        loop {
            while let Some(decision) = self.schedule.next(self.now()) {
                self.begin(decision, &handle);
            }
            self.tell();
            let due = self.schedule.next_due();
            let pause = due.map_or(HEARTBEAT, |due| Duration::from_millis(due.saturating_sub(self.now())));
            let loading = self.loading.is_some();
            tokio::select! {
                event = self.events.recv() => match event {
                    Some(event) => self.hear(event).await,
                    None => return,
                },
                Some(ended) = self.attempts.join_next_with_id() => self.ended(ended),
                () = std::future::ready(()), if loading => self.load().await,
                () = tokio::time::sleep(pause.min(HEARTBEAT)), if !loading => {}
            }
        }
    }

    fn begin(&mut self, decision: Decision, handle: &Weak<Handle>) {
        let (id, destination, expired) = match decision {
            Decision::Try(id, destination) => (id, destination, false),
            Decision::Expire(id, destination) => (id, destination, true),
        };
        let (courier, handle, now) = (self.courier.clone(), handle.clone(), self.now());
        let of = (id, destination.clone());
        let task =
            self.attempts.spawn(async move { courier.make(id, &destination, expired, now, &handle).await });
        self.running.insert(task.id(), of);
    }

    /// An attempt came to its end; a panic in whoever delivers costs the attempt, not the queue.
    fn ended(&mut self, ended: Result<(task::Id, Done), task::JoinError>) {
        let (task, done) = match ended {
            Ok((task, done)) => (task, done),
            Err(error) => {
                tracing::error!(%error, "an attempt to deliver ended badly");
                (error.id(), Outcome::Untried.into())
            }
        };
        if let Some((id, destination)) = self.running.remove(&task) {
            self.finish(id, &destination, done);
        }
    }

    fn finish(&mut self, id: QueueId, destination: &Destination, done: Done) {
        self.settled += u64::from(done.outcome == Outcome::Settled);
        self.schedule.done(self.now(), id, destination, done.outcome);
        for (elsewhere, attempts) in done.elsewhere {
            self.schedule.add(id, &elsewhere, attempts);
        }
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Queued(id, mailboxes) => {
                let destinations: BTreeSet<_> =
                    mailboxes.iter().map(|mailbox| self.courier.destination(mailbox.as_ref())).collect();
                let due = self.later();
                for destination in destinations {
                    self.schedule.add_later(id, &destination, 0, due);
                }
                for mailbox in mailboxes.iter().flatten() {
                    self.names.insert((self.hasher.hash_one(mailbox), id));
                }
            }
            Event::Wake(Wake::All) => self.schedule.wake_all(self.now()),
            Event::Wake(Wake::Destination(server)) => {
                self.schedule.wake(self.now(), &Destination::Backend(server))
            }
            Event::Wake(Wake::Mailbox(name)) => self.look_again(&name).await,
            Event::Reached(name) => self.schedule.reached(self.now(), &self.courier.destination(Some(&name))),
            Event::RetryAll => self.schedule.retry_all(),
            Event::Out(id) => self.schedule.forget(id),
            Event::Settling(id, destination) => self.schedule.settling(id, &destination),
            Event::In(id) => {
                match self.read(vec![id]).await.pop() {
                    Some(message) => self.add(&message, self.now()),
                    // The disk may give it later; the attempt finds out where it has to go.
                    None => self.schedule.add(id, &Destination::Unlisted, 0),
                }
                self.schedule.wake_message(id);
            }
            Event::Lanes(reply) => {
                let _ = reply.send(self.schedule.lanes());
            }
            Event::Policy(policy) => self.schedule.change(policy),
        }
    }

    /// The list changed for a mailbox: whoever waits for it may have another destination now.
    async fn look_again(&mut self, name: &MailboxName) {
        let hash = self.hasher.hash_one(name);
        let of_this_name = (hash, QueueId(0))..=(hash, QueueId(u64::MAX));
        let ids: Vec<_> = self.names.range(of_this_name).map(|(_, id)| *id).collect();
        for page in ids.chunks(PAGE) {
            for message in self.read(page.to_vec()).await {
                self.add(&message, self.now());
                self.schedule.wake_message(message.id);
            }
            let known = self.shared.index();
            for id in page.iter().filter(|id| known.get(**id).is_none()) {
                self.names.remove(&(hash, *id));
            }
        }
    }

    /// Reads messages that are still queued; of those that cannot be read, the attempt will say why.
    async fn read(&self, ids: Vec<QueueId>) -> Vec<Message> {
        let shared = self.shared.clone();
        let read =
            task::spawn_blocking(move || ids.into_iter().filter_map(|id| shared.message(id).ok()).collect());
        read.await.unwrap_or_default()
    }

    /// When what was queued a moment ago, or by a process that died a moment ago, is tried.
    fn later(&self) -> u64 {
        self.now() + self.shared.options.get().policy.retry_min
    }

    fn add(&mut self, message: &Message, due: u64) {
        if message.progress.held {
            return;
        }
        for destination in self.courier.destinations(message) {
            self.schedule.add_later(message.id, &destination, message.progress.attempts, due);
        }
        for mailbox in message.envelope.recipients.iter().filter_map(|recipient| recipient.mailbox.as_ref()) {
            self.names.insert((self.hasher.hash_one(mailbox), message.id));
        }
    }

    /// Takes over a part of what an earlier process left.
    async fn load(&mut self) {
        let Some(after) = self.loading else { return };
        let ids: Vec<_> = self.shared.index().after(after).take(PAGE).map(|(id, _)| id).collect();
        self.loading = ids.last().map(|last| Some(*last));
        self.loaded += ids.len();
        if self.loading.is_none() && self.loaded > 0 {
            let (messages, seconds) = (self.loaded, self.epoch.1.elapsed().as_secs_f32());
            tracing::info!(messages, seconds, "the queue of an earlier process is taken over");
        }
        let read = self.read(ids.clone()).await;
        let missing: Vec<_> =
            ids.into_iter().filter(|id| !read.iter().any(|message| message.id == *id)).collect();
        let due = self.later();
        read.iter().for_each(|message| self.add(message, due));
        for id in missing {
            // It is looked at by the attempt, which keeps it aside if it is damaged.
            self.schedule.add(id, &Destination::Unlisted, 0);
        }
    }

    /// Says how a backlog shrinks, and forgets names that nobody waits for.
    fn tell(&mut self) {
        if self.told.0.elapsed() < TELL_EVERY {
            return;
        }
        let queued = self.shared.index().len();
        if self.names.len() > 2 * queued + 1024 {
            let known = self.shared.index();
            self.names.retain(|(_, id)| known.get(*id).is_some());
        }
        let settled = self.settled - self.told.1;
        if settled > 0 && queued > 0 {
            let seconds = self.told.0.elapsed().as_secs();
            tracing::info!(settled, seconds, queued, "working off the queue");
        }
        self.told = (Instant::now(), self.settled);
    }
}
