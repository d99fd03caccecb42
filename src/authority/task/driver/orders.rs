//! What is asked of the task: writes, and an operator's orders.

use tokio::sync::oneshot;

use super::{Command, Driver, unix};
use crate::authority::machine::{CallId, Event, Progress, State, Task};
use crate::authority::task::handle::Order;
use crate::authority::task::intake::{Intake, forget_what_is_overtaken, synced};
use crate::store::{Change, Loader, StoreError};

impl Driver {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Write { origin, write, expires, caller } => {
                self.next_call += 1;
                let id = CallId(self.next_call);
                self.callers.insert(id, caller);
                let expires = expires.saturating_duration_since(self.started);
                self.feed_machine(Event::Call(id, write, origin, expires));
            }
            Command::Ended(session, complete) => self.feed_machine(Event::Ended(session, complete)),
            Command::Verdict { name, version, stands } => {
                self.feed_machine(Event::Verdict { name, version, stands });
            }
            Command::Silent(lost) => {
                if matches!(self.machine.state(), State::Following | State::Replaying) {
                    self.feed_machine(Event::MasterLost(lost.to_string()));
                    self.master.reconnect();
                }
            }
            Command::Order(order, reply) => {
                tracing::warn!(?order, "an operator's order");
                self.ordered(order, reply);
            }
            Command::Resolve { name, keep, caller } => {
                tracing::warn!(%name, ?keep, "an operator's decision");
                self.next_call += 1;
                let id = CallId(self.next_call);
                self.callers.insert(id, caller);
                self.feed_machine(Event::Resolve(id, name, keep));
            }
            Command::Policy(policy) => self.machine.change(policy),
            Command::Fence(_) | Command::Believe { .. } | Command::Stop(_) => {}
        }
    }

    pub(super) async fn believe(&mut self, loader: Loader, from: String) -> Result<(), String> {
        if self.machine.state() != State::Learning {
            return Err("there is a list that is served by now; nothing was changed".into());
        }
        self.intake = Intake::Idle;
        let failed = |error: StoreError| error.to_string();
        loader.finish(synced(None, unix())).await.map_err(failed)?;
        forget_what_is_overtaken(&self.facts.store).await.map_err(failed)?;
        self.facts.store.commit(vec![Change::Attended { at_unix: unix() }]).await.map_err(failed)?;
        self.replace = false;
        self.feed_machine(Event::Learned(from));
        Ok(())
    }

    /// An order to stand in, the end of it, and an announcement count as taken when they are durable: they outlive the
    /// process.
    fn ordered(&mut self, order: Order, reply: oneshot::Sender<Result<(), String>>) {
        let before = self.machine.held();
        let announced = match &order {
            Order::Expect { server, time } => {
                let until_unix = unix().saturating_add(time.as_secs());
                Some(Change::Expected { server: server.clone(), until_unix })
            }
            _ => None,
        };
        let taken = self.order(order);
        let held = self.machine.held();
        let changed = (held != before).then_some(Change::Held { held });
        let changes: Vec<Change> = announced.into_iter().chain(changed).collect();
        if changes.is_empty() {
            return drop(reply.send(taken));
        }
        self.standing.send_modify(|standing| standing.held = held);
        let (committed, durable) = oneshot::channel();
        self.committer.submit(None, changes, None);
        self.committer.fence(committed);
        tokio::spawn(async move {
            let _ = durable.await;
            let _ = reply.send(taken);
        });
    }

    fn order(&mut self, order: Order) -> Result<(), String> {
        let event = match order {
            Order::StandIn => Event::StandIn,
            Order::Follow => Event::Follow,
            Order::Begin(task) => match self.machine.objection(task) {
                Some(objection) => return Err(objection),
                None => Event::Begin(task),
            },
            Order::GiveUp(why) => {
                self.replace = !self.facts.store.stats().complete;
                Event::GiveUp(why)
            }
            Order::Expect { server, time } => Event::Expect(server, time),
        };
        self.feed_machine(event);
        Ok(())
    }

    /// What a person ordered is told to who asks, and a reseed is kept on record until it has ended.
    pub(super) fn tell_progress(&mut self) {
        let progress = self.machine.progress();
        if self.standing.borrow().progress.as_ref() == progress {
            return;
        }
        let progress = progress.cloned();
        let unfinished = match progress.as_ref().and_then(Progress::open) {
            Some(Task::Reseed { removals }) => Some(removals),
            Some(Task::Accept { .. }) | None => None,
        };
        if self.facts.store.stats().reseeding != unfinished {
            self.committer.submit(None, vec![Change::Reseeding(unfinished)], None);
        }
        self.standing.send_modify(|standing| standing.progress = progress);
    }
}
