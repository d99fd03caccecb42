//! A master that can hang, execute late, die, and come back.

use super::World;
use crate::authority::machine::{Event, SendId};
use crate::authority::master::{Lost, MasterIdentity, MasterReply};
use crate::authority::write::Write;
use crate::list::MailboxName;

/// The connection to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Link {
    Down,
    /// Connected; the list was taken by the master, not yet read by us.
    Listing,
    Live,
}

/// A write on its way.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) write: Write,
    pub(super) executed: Option<MasterReply>,
}

impl World {
    /// Cyrus's semantics, through the safe forms that the link uses.
    pub(super) fn execute(&mut self, write: &Write) -> MasterReply {
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
    pub(in super::super) fn execute_one(&mut self, pick: usize) -> bool {
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

    pub(in super::super) fn reply_one(&mut self, pick: usize) -> bool {
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
    pub(in super::super) fn lose_one(&mut self, pick: usize) -> bool {
        let ids: Vec<SendId> = self.exchanges.keys().copied().collect();
        if ids.is_empty() {
            return false;
        }
        self.lose(ids[pick % ids.len()]);
        true
    }

    pub(super) fn lose(&mut self, id: SendId) {
        let exchange = self.exchanges.remove(&id).unwrap();
        if exchange.executed.is_none() {
            self.zombies.push(exchange.write);
        }
        self.feed(Event::Sent(id, Err(Lost::InDoubt("deadline".into()))));
    }

    /// The master executes a write that we gave up.
    pub(in super::super) fn wake_zombie(&mut self, pick: usize) -> bool {
        if self.zombies.is_empty() {
            return false;
        }
        let index = pick % self.zombies.len();
        let write = self.zombies.remove(index);
        self.execute(&write);
        true
    }

    /// Whether the master will still carry out something that we gave up.
    pub(in super::super) fn haunted(&self) -> bool {
        !self.zombies.is_empty()
    }

    pub(in super::super) fn stream_one(&mut self) -> bool {
        if self.link != Link::Live || self.is_judging() {
            return false;
        }
        let Some((name, _)) = self.stream.pop_front() else { return false };
        let record = self.master.get(name.as_bytes()).cloned();
        self.feed(Event::MasterChanged(name, record));
        true
    }

    pub(in super::super) fn pass_barrier(&mut self) -> bool {
        if self.link != Link::Live || self.is_judging() || self.barrier.is_none() {
            return false;
        }
        let id = self.barrier.take();
        while self.stream_one() {}
        if let Some(id) = id {
            self.feed(Event::Barrier(id, Ok(())));
        }
        true
    }

    pub(super) fn drop_link(&mut self) {
        self.link = Link::Down;
        self.stream.clear();
        self.barrier = None;
    }

    /// The master stops answering; what it was sent may or may not have been executed.
    pub(in super::super) fn master_dies(&mut self) -> bool {
        if self.link == Link::Down {
            return false;
        }
        let broken_off = self.link == Link::Listing && self.reloading && self.machine.is_accepting();
        self.drop_link();
        if broken_off {
            self.reloading = false;
            self.feed(Event::GiveUp("the master's list broke off".into()));
        }
        if !self.is_judging() {
            self.feed(Event::MasterLost("connection reset".into()));
        }
        true
    }

    pub(in super::super) fn master_returns(&mut self) -> bool {
        if self.link != Link::Down || self.is_judging() {
            return false;
        }
        self.link = Link::Listing;
        self.stream.clear();
        self.store.remember();
        let (servername, version) = (self.servername.clone(), "3.6.1".to_owned());
        self.feed(Event::MasterUp(MasterIdentity { servername, version, role: "(master)".into() }));
        true
    }
}
