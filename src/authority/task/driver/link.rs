//! What the link to the master tells: that it is up or down, the master's list, and every change.

use tokio::sync::{mpsc, oneshot};

use super::{Driver, unix};
use crate::authority::facts::Comparison;
use crate::authority::machine::{Event, State};
use crate::authority::master::{LinkEpoch, LinkEvent, MasterIdentity};
use crate::authority::task::intake::{Arrival, Began, Intake, replace_ours, synced};
use crate::list;
use crate::store::{Change, Loader, Snapshot, StoreError};

impl Driver {
    /// Takes in what a barrier that has passed covers: it was handed over before, but on another way. Otherwise
    /// a line that is older than a write of ours would be taken for the master's last word.
    pub(super) async fn catch_up(&mut self, link: &mut mpsc::Receiver<LinkEvent>) {
        for _ in 0..link.len() {
            // What waits behind a list is of another connection than the barrier.
            if !self.intake.listens() {
                return;
            }
            let Ok(event) = link.try_recv() else { return };
            self.linked(event).await;
        }
    }

    pub(super) async fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Told(event) => self.linked(event).await,
            Arrival::Compared(compared, loader, began) => {
                let used = match compared {
                    Ok(compared) => self.compared(compared, loader, began).await,
                    Err(error) => Err(error),
                };
                self.taken_in(used);
            }
        }
    }

    fn taken_in(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::error!(%error, "the master's list could not be taken in");
            self.intake = Intake::Idle;
        }
    }

    pub(super) async fn linked(&mut self, event: LinkEvent) {
        let result = match event {
            LinkEvent::Up(epoch, identity) => self.link_up(epoch, identity).await,
            LinkEvent::Listed(epoch, part) => self.intake.push(epoch, part).await,
            LinkEvent::Complete(epoch) => {
                self.intake.complete(epoch);
                Ok(())
            }
            LinkEvent::Changed(_, changes) => {
                for (name, entry) in changes {
                    self.feed_machine(Event::MasterChanged(name, entry));
                }
                Ok(())
            }
            LinkEvent::Down(_, reason) => {
                let loading = self.intake.is_loading();
                self.intake = Intake::Idle;
                if loading && self.machine.state() != State::Learning {
                    self.replace = false;
                    self.feed_machine(Event::GiveUp(format!("the master's list broke off: {reason}")));
                }
                self.standing.send_if_modified(|standing| {
                    let known = !standing.connected && standing.last_error.as_ref() == Some(&reason);
                    standing.connected = false;
                    standing.last_error = Some(reason.clone());
                    if !known {
                        tracing::warn!(%reason, "no link to the master");
                    }
                    !known
                });
                self.feed_machine(Event::MasterLost(reason));
                Ok(())
            }
        };
        self.taken_in(result);
    }

    async fn link_up(&mut self, epoch: LinkEpoch, identity: MasterIdentity) -> Result<(), StoreError> {
        if let Some(order) = list::Order::of_version(&identity.version)
            && order != self.facts.store.stats().order
        {
            tracing::warn!(?order, version = %identity.version, "the master keeps another order: re-keying");
            self.facts.store.commit(vec![Change::SetOrder(order)]).await?;
        }
        self.standing.send_modify(|standing| {
            standing.master = Some(identity.clone());
            standing.connected = true;
            standing.last_error = None;
        });
        let replace = self.replace && self.may_be_replaced();
        if replace {
            // Nothing that was decided before may land on the list that replaces ours.
            let (reply, committed) = oneshot::channel();
            self.committer.fence(reply);
            let _ = committed.await;
        }
        self.intake = Intake::begin(&self.facts.store, epoch, replace, &self.aside).await?;
        self.feed_machine(Event::MasterUp(identity));
        Ok(())
    }

    /// The list of a connection is whole, and compared with ours.
    async fn compared(
        &mut self,
        (comparison, listed): (Comparison, Snapshot),
        loader: Option<Loader>,
        began: Began,
    ) -> Result<(), StoreError> {
        let Some(loader) = loader else {
            self.facts.listed = Some(listed);
            self.feed_machine(Event::MasterList(comparison));
            return Ok(());
        };
        if !self.may_be_replaced() {
            // A person decided for our list while this one was under way to replace it.
            self.master.reconnect();
            return Ok(());
        }
        let store = &self.facts.store;
        if let Err(why) = self.machine.may_accept(&comparison.difference, store.stats().entries) {
            self.replace = false;
            self.feed_machine(Event::GiveUp(why));
            self.master.reconnect();
            return Ok(());
        }
        let record = synced(self.standing.borrow().master.as_ref(), unix());
        replace_ours(store, loader, record).await?;
        self.replace = false;
        store.commit(vec![Change::Attended { at_unix: unix() }]).await?;
        // Slaves come back and take the new list.
        self.feed.close_all();
        self.feed_machine(Event::Loaded(began.at.elapsed()));
        Ok(())
    }

    /// Whether the next list may take the place of ours: there is none that is served, or a person said so.
    fn may_be_replaced(&self) -> bool {
        self.machine.state() == State::Learning || self.machine.is_accepting()
    }
}
