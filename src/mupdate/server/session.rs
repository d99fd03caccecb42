//! The commands of somebody who is logged in.

use std::sync::Arc;

use bytes::Bytes;
use ravenry_parsers::mupdate::{Command, CommandBody, CommandEvent, Status, put_mailbox, put_reserve};
use tokio::sync::mpsc;

use super::disarm::{Disarm, REFUSED, Removal, TOO_MANY};
use super::dump::{Dump, Filter, Part, Sent};
use super::listener::Streams;
use super::operation::Operation;
use super::removals::Removals;
use super::stream;
use super::wire::Wire;
use super::{Hangup, Peer, ServerConfig};
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Write};
use crate::list::{Acl, Entry, EntryState, Location, MailboxName};

/// Parts of the list that may wait for a client.
const PARTS: usize = 2;

/// What a session works with.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) user: Arc<str>,
    pub(super) peer: Peer,
    pub(super) config: Arc<ServerConfig>,
    pub(super) namespace: Arc<dyn Namespace>,
    pub(super) streams: Streams,
    removals: Removals,
    disarm: Disarm,
    operation: Operation,
    /// How much had been read when the last barrier was begun.
    barrier_at: Option<u64>,
}

impl Session {
    pub(super) fn new(
        wire: Wire,
        user: Arc<str>,
        peer: Peer,
        config: Arc<ServerConfig>,
        namespace: Arc<dyn Namespace>,
        streams: Streams,
        removals: Removals,
    ) -> Self {
        let (disarm, operation) = (Disarm::default(), Operation::begin());
        Self { wire, user, peer, config, namespace, streams, removals, disarm, operation, barrier_at: None }
    }

    /// Answers commands until the connection ends.
    pub(super) async fn run(mut self) -> Hangup {
        loop {
            let hangup = match self.next().await {
                Ok(Next::Command) => continue,
                Ok(Next::Stream { tag, hosts }) => return stream::run(self, tag, hosts).await,
                Err(hangup) => hangup,
            };
            self.end(false).await;
            if matches!(hangup, Hangup::Logout | Hangup::Fault(_)) {
                self.wire.close().await;
            }
            return hangup;
        }
    }

    async fn end(&mut self, farewell: bool) {
        if let Some((session, complete)) = self.operation.end(farewell) {
            self.namespace.ended(session, complete).await;
        }
    }

    async fn next(&mut self) -> Result<Next, Hangup> {
        let event = match self.wire.command(self.config.idle_timeout).await {
            Ok(event) => event,
            Err(Hangup::Fault(fault)) => {
                self.wire.status(None, Status::Bad, fault.text());
                return Err(Hangup::Fault(fault));
            }
            Err(hangup) => return Err(hangup),
        };
        let (tag, body) = match event {
            CommandEvent::Continue => return Ok(Next::Command),
            CommandEvent::Bad { tag, text } => {
                self.wire.status(tag.as_deref(), Status::Bad, text);
                return Ok(Next::Command);
            }
            CommandEvent::Command(Command { tag, body }) => (tag, body),
        };
        if !self.namespace.may_serve() {
            return Err(Hangup::Unserved);
        }
        match body {
            CommandBody::Logout => {
                // First: whoever hears the farewell may try again at once.
                self.end(true).await;
                self.wire.status(Some(&tag), Status::Ok, "bye-bye");
                Err(Hangup::Logout)
            }
            CommandBody::Update { hosts } => Ok(Next::Stream { tag, hosts }),
            body => {
                self.operation.heard(&tag);
                self.answer(&tag, body).await?;
                Ok(Next::Command)
            }
        }
    }

    async fn answer(&mut self, tag: &[u8], body: CommandBody) -> Result<(), Hangup> {
        if let CommandBody::List { prefix } = &body {
            self.disarm.begin(prefix.as_deref());
        } else {
            self.disarm.begin(None);
        }
        match body {
            CommandBody::Noop => {
                self.namespace.barrier().await;
                self.wire.status(Some(tag), Status::Ok, "Noop done");
            }
            CommandBody::Find { mailbox } => self.find(tag, &mailbox).await?,
            CommandBody::List { prefix } => self.list(tag, prefix).await?,
            CommandBody::Authenticate { .. } => {
                self.wire.status(Some(tag), Status::Bad, "already authenticated");
            }
            CommandBody::StartTls => {
                self.wire.status(Some(tag), Status::Bad, "Can't Starttls after authentication");
            }
            CommandBody::Compress { .. } => self.wire.status(Some(tag), Status::Bad, "Unrecognized command"),
            other => match as_write(other) {
                Some(write) => self.write(tag, write).await?,
                None => self.wire.status(Some(tag), Status::Bad, "Badly formed arguments"),
            },
        }
        Ok(())
    }

    async fn write(&mut self, tag: &[u8], write: Write) -> Result<(), Hangup> {
        if let Some(refusal) = self.refused_to_a_comparing_backend(&write).await? {
            self.wire.status(Some(tag), Status::No, refusal);
            return Ok(());
        }
        // What was answered so far does not wait for this one.
        self.wire.flush().await?;
        let session = if matches!(self.disarm, Disarm::Ordinary) { self.operation.session() } else { None };
        let origin = Origin { identity: self.user.clone(), peer: self.peer.address, session };
        let outcome = self.namespace.write(origin, write).await;
        self.operation.answered(outcome == Outcome::Done);
        match outcome {
            Outcome::Done => self.wire.status(Some(tag), Status::Ok, "done"),
            Outcome::Refused(refusal) => self.wire.status(Some(tag), Status::No, refusal.text()),
            Outcome::Unavailable => self.wire.status(Some(tag), Status::No, REFUSED),
        }
        Ok(())
    }

    /// Why a backend that compares its list with ours must not have this done (rule 4).
    async fn refused_to_a_comparing_backend(
        &mut self,
        write: &Write,
    ) -> Result<Option<&'static str>, Hangup> {
        if self.disarm.server().is_none() {
            return Ok(None);
        }
        let held = self.namespace.find(write.name())?;
        let removal = match write {
            Write::Activate { location, .. } if !self.disarm.may_activate(location, held.as_ref()) => {
                Removal::Elsewhere
            }
            Write::Delete { name } => self.disarm.remove(name, held),
            Write::Activate { .. }
            | Write::Reserve { .. }
            | Write::Deactivate { .. }
            | Write::Forget { .. }
            | Write::Revive { .. } => Removal::Believed,
        };
        let server = String::from_utf8_lossy(self.disarm.server().unwrap_or_default()).into_owned();
        let (peer, name) = (self.peer.address, write.name());
        match removal {
            Removal::Believed => Ok(None),
            Removal::Elsewhere => {
                tracing::warn!(%peer, server, %name, verb = write.verb(),
                    "refused to a backend that compares its list: another server holds the name");
                Ok(Some(REFUSED))
            }
            Removal::TooMany(removed) => {
                tracing::warn!(%peer, server, %name, put_back = removed.len(),
                    "a backend wants to remove more than it may, as one does that lost its list: refused, and put \
                     back; to allow it: ravenry allow-removals --server SERVER --count N");
                self.put_back(removed).await?;
                Ok(Some(TOO_MANY))
            }
        }
    }

    /// What was deleted becomes what it was, unless somebody has the name by now.
    async fn put_back(&mut self, removed: Vec<(MailboxName, Entry)>) -> Result<(), Hangup> {
        for (name, Entry { location, state }) in removed.into_iter().rev() {
            if self.namespace.find(&name)?.is_some() {
                continue;
            }
            let write = match state {
                EntryState::Active(acl) => Write::Activate { name, location, acl },
                EntryState::Reserved => Write::Reserve { name, location },
            };
            let name = write.name().clone();
            let origin = Origin { identity: self.user.clone(), peer: self.peer.address, session: None };
            let outcome = self.namespace.write(origin, write).await;
            if outcome != Outcome::Done {
                tracing::error!(%name, ?outcome, "what a backend removed could not be put back");
            }
        }
        Ok(())
    }

    /// One barrier serves every command that had arrived when it began: those that a client pipelines.
    async fn barrier(&mut self) {
        let read = self.wire.bytes_read();
        if self.barrier_at != Some(read) {
            self.namespace.barrier().await;
            self.barrier_at = Some(read);
        }
    }

    async fn find(&mut self, tag: &[u8], mailbox: &Bytes) -> Result<(), Hangup> {
        self.barrier().await;
        // A name that can be nobody's is not found.
        let held = match MailboxName::new(mailbox) {
            Ok(name) => self.namespace.find(&name)?,
            Err(_) => None,
        };
        if !self.disarm.may_find(held.as_ref()) {
            tracing::warn!(peer = %self.peer.address, name = %String::from_utf8_lossy(mailbox),
                "FIND of a name that is held, by a backend that might wipe its own: refused");
            self.wire.status(Some(tag), Status::No, REFUSED);
            return Ok(());
        }
        match held {
            Some(Entry { location, state: EntryState::Active(acl) }) => {
                put_mailbox(&mut self.wire.out, tag, mailbox, location.as_bytes(), acl.as_bytes());
            }
            Some(Entry { location, state: EntryState::Reserved }) => {
                put_reserve(&mut self.wire.out, tag, mailbox, location.as_bytes());
            }
            None => {}
        }
        self.wire.status(Some(tag), Status::Ok, "Search completed");
        Ok(())
    }

    async fn list(&mut self, tag: &[u8], prefix: Option<Bytes>) -> Result<(), Hangup> {
        self.barrier().await;
        let (snapshot, tag) = (self.namespace.snapshot()?, Bytes::copy_from_slice(tag));
        let dump = Dump::new(snapshot, tag.clone(), prefix.map(Filter::Prefix), Part::Whole);
        let sent = self.send(dump).await?;
        let permitted = self.disarm.server().map_or(0, |server| self.removals.take(server));
        self.disarm.listed(sent.entries, permitted);
        self.wire.status(Some(&tag), Status::Ok, "list complete");
        Ok(())
    }

    /// Sends a walk over the list to its end.
    pub(super) async fn send(&mut self, dump: Dump) -> Result<Sent, Hangup> {
        let (parts, mut arriving) = mpsc::channel(PARTS);
        let walk = self.streams.bulk().walk(dump, parts);
        while let Some(lines) = arriving.recv().await {
            self.wire.out.unsplit(lines);
            self.wire.flush().await?;
        }
        Ok(walk.await.map_err(|_| Hangup::Stopping)??)
    }
}

/// What a client asked for.
enum Next {
    /// A command that was answered.
    Command,
    /// The stream.
    Stream { tag: Bytes, hosts: Vec<Bytes> },
}

/// The write that a command asks for; `None` when its arguments can be no mailbox or place.
pub(crate) fn as_write(body: CommandBody) -> Option<Write> {
    let name = |bytes: &Bytes| MailboxName::new(bytes).ok();
    let place = |bytes: &Bytes| Location::new(bytes).ok();
    Some(match body {
        CommandBody::Activate { mailbox, location, acl } => {
            Write::Activate { name: name(&mailbox)?, location: place(&location)?, acl: Acl::new(&acl) }
        }
        CommandBody::Reserve { mailbox, location } => {
            Write::Reserve { name: name(&mailbox)?, location: place(&location)? }
        }
        CommandBody::Deactivate { mailbox, location } => {
            Write::Deactivate { name: name(&mailbox)?, location: place(&location)? }
        }
        CommandBody::Delete { mailbox } => Write::Delete { name: name(&mailbox)? },
        _ => return None,
    })
}
