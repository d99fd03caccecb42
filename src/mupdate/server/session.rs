//! The commands of somebody who is logged in.

use std::sync::Arc;

use bytes::Bytes;
use ravenry_parsers::mupdate::{Command, CommandBody, CommandEvent, Status, put_mailbox, put_reserve};

use super::disarm::{Disarm, REFUSED};
use super::listener::Streams;
use super::stream;
use super::wire::Wire;
use super::{Hangup, Peer, ServerConfig};
use crate::authority::namespace::Namespace;
use crate::authority::write::{Origin, Outcome, Write};
use crate::list::{Acl, Entry, EntryState, Location, MailboxName};
use crate::store::{Cursor, Snapshot};

/// How much of the list is read and encoded at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// What a session works with.
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) user: Arc<str>,
    pub(super) peer: Peer,
    pub(super) config: Arc<ServerConfig>,
    pub(super) namespace: Arc<dyn Namespace>,
    pub(super) streams: Streams,
    disarm: Disarm,
}

impl Session {
    pub(super) fn new(
        wire: Wire,
        user: Arc<str>,
        peer: Peer,
        config: Arc<ServerConfig>,
        namespace: Arc<dyn Namespace>,
        streams: Streams,
    ) -> Self {
        Self { wire, user, peer, config, namespace, streams, disarm: Disarm::default() }
    }

    /// Answers commands until the connection ends.
    pub(super) async fn run(mut self) -> Hangup {
        loop {
            let event = match self.wire.command(self.config.idle_timeout).await {
                Ok(event) => event,
                Err(Hangup::Fault(fault)) => {
                    self.wire.status(None, Status::Bad, fault.text());
                    self.wire.close().await;
                    return Hangup::Fault(fault);
                }
                Err(hangup) => return hangup,
            };
            let (tag, body) = match event {
                CommandEvent::Continue => continue,
                CommandEvent::Bad { tag, text } => {
                    self.wire.status(tag.as_deref(), Status::Bad, text);
                    continue;
                }
                CommandEvent::Command(Command { tag, body }) => (tag, body),
            };
            if !self.namespace.may_serve() {
                return Hangup::Unserved;
            }
            match body {
                CommandBody::Logout => {
                    self.wire.status(Some(&tag), Status::Ok, "bye-bye");
                    self.wire.close().await;
                    return Hangup::Logout;
                }
                CommandBody::Update { hosts } => return stream::run(self, tag, hosts).await,
                body => {
                    if let Err(hangup) = self.answer(&tag, body).await {
                        return hangup;
                    }
                }
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
        if !matches!(self.disarm, Disarm::Ordinary) {
            let held = self.namespace.find(write.name())?;
            let believed = match &write {
                Write::Activate { location, .. } => self.disarm.may_activate(location, held.as_ref()),
                Write::Delete { .. } | Write::Forget { .. } => self.disarm.may_delete(held.as_ref()),
                Write::Reserve { .. } | Write::Deactivate { .. } => true,
            };
            if !believed {
                tracing::warn!(peer = %self.peer.address, name = %write.name(), verb = write.verb(),
                    "refused to a backend that compares its list with ours");
                self.wire.status(Some(tag), Status::No, REFUSED);
                return Ok(());
            }
        }
        // What was answered so far does not wait for this one.
        self.wire.flush().await?;
        let origin = Origin { identity: self.user.clone(), peer: self.peer.address };
        match self.namespace.write(origin, write).await {
            Outcome::Done => self.wire.status(Some(tag), Status::Ok, "done"),
            Outcome::Refused(refusal) => self.wire.status(Some(tag), Status::No, refusal.text()),
            Outcome::Unavailable => self.wire.status(Some(tag), Status::No, REFUSED),
        }
        Ok(())
    }

    async fn find(&mut self, tag: &[u8], mailbox: &Bytes) -> Result<(), Hangup> {
        self.namespace.barrier().await;
        // A name that can be nobody's is not found.
        let held = match MailboxName::new(mailbox) {
            Ok(name) => self.namespace.find(&name)?,
            Err(_) => None,
        };
        if !self.disarm.may_find(held.as_ref()) {
            tracing::warn!(peer = %self.peer.address, name = %String::from_utf8_lossy(mailbox),
                "FIND of a name held elsewhere, by a backend that would wipe its own: refused");
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
        self.namespace.barrier().await;
        let tag = Bytes::copy_from_slice(tag);
        let mut dump = Dump::new(self.namespace.snapshot()?, tag.clone());
        let mut listed = 0;
        loop {
            let (next, out, sent, more) = dump.chunk(prefix.clone().map(Filter::Prefix)).await?;
            listed += sent;
            self.wire.out.unsplit(out);
            self.wire.flush().await?;
            if !more {
                break;
            }
            dump = next;
        }
        self.disarm.listed(listed);
        self.wire.status(Some(&tag), Status::Ok, "list complete");
        Ok(())
    }
}

/// Which entries of the list are sent.
#[derive(Clone, Debug)]
pub(super) enum Filter {
    /// Those whose `server!partition` begins like this.
    Prefix(Bytes),
    /// Those on these servers.
    Hosts(Arc<[Bytes]>),
}

impl Filter {
    pub(super) fn passes(&self, location: &[u8]) -> bool {
        match self {
            Self::Prefix(prefix) => location.starts_with(prefix),
            Self::Hosts(hosts) => {
                let server = location.split(|b| *b == b'!').next().unwrap_or_default();
                hosts.iter().any(|host| host == server)
            }
        }
    }
}

/// A walk over the whole list, part by part, away from the threads that serve connections.
pub(super) struct Dump {
    snapshot: Snapshot,
    cursor: Cursor,
    tag: Bytes,
}

impl Dump {
    pub(super) fn new(snapshot: Snapshot, tag: Bytes) -> Self {
        Self { snapshot, cursor: Cursor::default(), tag }
    }

    /// Encodes the next part: the walk itself, the lines, how many entries they are, and whether more follow.
    pub(super) async fn chunk(
        mut self,
        filter: Option<Filter>,
    ) -> Result<(Self, bytes::BytesMut, u64, bool), Hangup> {
        let read = tokio::task::spawn_blocking(move || {
            let mut out = bytes::BytesMut::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
            let mut sent = 0;
            let tag = self.tag.clone();
            let more = self.snapshot.read_chunk(&mut self.cursor, CHUNK_BYTES, &mut |name, entry| {
                if filter.as_ref().is_none_or(|filter| filter.passes(entry.location)) {
                    sent += 1;
                    match entry.acl {
                        Some(acl) => put_mailbox(&mut out, &tag, name, entry.location, acl),
                        None => put_reserve(&mut out, &tag, name, entry.location),
                    }
                }
            });
            more.map(|more| (self, out, sent, more))
        });
        let read = read.await.map_err(|_| Hangup::Stopping)?;
        Ok(read.map_err(crate::authority::facts::Unreadable::from)?)
    }
}

/// The write that a command asks for; `None` when its arguments can be no mailbox or place.
fn as_write(body: CommandBody) -> Option<Write> {
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
