//! What the link to the master tells: that it is up or down, the master's list, and every change.

use tokio::sync::{mpsc, oneshot};

use super::{Driver, unix};
use crate::authority::facts::Difference;
use crate::authority::machine::{Event, State};
use crate::authority::master::{LinkEpoch, LinkEvent, MasterIdentity};
use crate::authority::task::intake::{Intake, Outcome as Arrived, synced};
use crate::list;
use crate::store::{Change, StoreError};

impl Driver {
    /// Takes in what a barrier that has passed covers: it was handed over before, but on another way. Otherwise
    /// a line that is older than a write of ours would be taken for the master's last word.
    pub(super) async fn catch_up(&mut self, link: &mut mpsc::Receiver<LinkEvent>) {
        for _ in 0..link.len() {
            let Ok(event) = link.try_recv() else { return };
            self.linked(event).await;
        }
    }

    pub(super) async fn linked(&mut self, event: LinkEvent) {
        let result = match event {
            LinkEvent::Up(epoch, identity) => self.link_up(epoch, identity).await,
            LinkEvent::Listed(epoch, part) => self.intake.push(epoch, part).await,
            LinkEvent::Complete(epoch) => self.list_complete(epoch).await,
            LinkEvent::Changed(_, changes) => {
                for (name, entry) in changes {
                    self.feed_machine(Event::MasterChanged(name, entry));
                }
                Ok(())
            }
            LinkEvent::Down(_, reason) => {
                if let Intake::Loading { .. } = std::mem::replace(&mut self.intake, Intake::Idle)
                    && self.machine.state() != State::Learning
                {
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
        if let Err(error) = result {
            tracing::error!(%error, "the master's list could not be taken in");
            self.intake = Intake::Idle;
        }
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
        self.intake = Intake::begin(&self.facts.store, epoch, replace).await?;
        self.feed_machine(Event::MasterUp(identity));
        Ok(())
    }

    async fn list_complete(&mut self, epoch: LinkEpoch) -> Result<(), StoreError> {
        if matches!(self.intake, Intake::Loading { .. }) && !self.may_be_replaced() {
            // A person decided for our list while this one was under way to replace it.
            self.intake = Intake::Idle;
            self.master.reconnect();
            return Ok(());
        }
        let record = synced(self.standing.borrow().master.as_ref(), unix());
        let (machine, entries) = (&self.machine, self.facts.store.stats().entries);
        let may_replace = |difference: &Difference| machine.may_accept(difference, entries);
        match self.intake.complete(&self.facts.store, epoch, record, may_replace).await? {
            Arrived::Loaded(began) => {
                self.replace = false;
                self.facts.store.commit(vec![Change::Attended { at_unix: unix() }]).await?;
                // Slaves come back and take the new list.
                self.feed.close_all();
                self.feed_machine(Event::Loaded(began.at.elapsed()));
            }
            Arrived::Compared(difference, snapshot) => {
                self.facts.listed = Some(*snapshot);
                self.feed_machine(Event::MasterList(difference));
            }
            Arrived::Unwanted(why) => {
                self.replace = false;
                self.feed_machine(Event::GiveUp(why));
                self.master.reconnect();
            }
            Arrived::Nothing => {}
        }
        Ok(())
    }

    /// Whether the next list may take the place of ours: there is none that is served, or a person said so.
    fn may_be_replaced(&self) -> bool {
        self.machine.state() == State::Learning || self.machine.is_accepting()
    }
}
