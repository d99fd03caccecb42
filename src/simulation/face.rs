//! Ravenry's face to the murder: sessions as `mupdate/server` has them, on virtual connections. What is decided about a
//! connection is decided by the same code: what an operation is, what is disarmed, how the list is walked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{Command, CommandBody, Status};

use super::network::{ConnId, Node, Side};
use super::ravenry::{Caller, Running, Step, Waiting};
use super::wire::{self, Hearing};
use super::world::{Happening, World};
use crate::authority::feed::{Published, Subscription};
use crate::authority::machine::{CallId, Event};
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::{Entry, EntryState, MailboxName};
use crate::mupdate::server::disarm::{Disarm, REFUSED, Removal, TOO_MANY};
use crate::mupdate::server::dump::{Dump, Filter, Part};
use crate::mupdate::server::login::strangers_are_welcome;
use crate::mupdate::server::operation::Operation;
use crate::mupdate::server::session::as_write;
use crate::mupdate::server::stream::{last_words, repeats};

/// A connection to the face.
pub(super) struct Session {
    hearing: Hearing,
    queue: VecDeque<Command>,
    /// What is being answered.
    busy: Option<Command>,
    operation: Operation,
    disarm: Disarm,
    stream: Option<Streaming>,
    trusted: bool,
    /// The client is; which shows when the write under way has been done.
    gone: bool,
}

struct Streaming {
    tag: Bytes,
    feed: Subscription,
    /// As of the list that was sent.
    seq: u64,
}

impl Session {
    fn begin(conn: ConnId, trusted: bool) -> Self {
        Self {
            hearing: Hearing::default(),
            queue: VecDeque::new(),
            busy: None,
            operation: Operation::of(SessionId(conn as u64)),
            disarm: Disarm::default(),
            stream: None,
            trusted,
            gone: false,
        }
    }
}

impl Running {
    fn session(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.sessions.get_mut(&conn)
    }
}

impl World {
    pub(super) fn stranger_opened(&mut self, conn: ConnId) {
        let list: Vec<_> = self.plan.list().into_keys().collect();
        let mailbox = list[self.rng.usize(..list.len())].clone();
        let bytes = wire::command("X0", &CommandBody::Delete { mailbox: mailbox.clone().into() });
        self.send(conn, Side::Client, [wire::command("X0", &CommandBody::Noop), bytes].concat());
    }

    pub(super) fn face_heard(&mut self, conn: ConnId, bytes: &[u8]) {
        let trusted = self.net.node(conn, Side::Client) != Node::Outside;
        let Some(running) = &mut self.ravenry.running else { return };
        let session = running.sessions.entry(conn).or_insert_with(|| Session::begin(conn, trusted));
        let commands = session.hearing.take(bytes);
        session.queue.extend(commands);
        self.serve(conn);
    }

    pub(super) fn face_closed(&mut self, conn: ConnId) {
        let Some(running) = &mut self.ravenry.running else { return };
        let Some(session) = running.session(conn) else { return };
        let busy = session.busy.as_ref();
        match busy.is_some_and(|command| as_write(command.body.clone()).is_some()) {
            true => session.gone = true,
            false => self.hang_up(conn),
        }
    }

    fn hang_up(&mut self, conn: ConnId) {
        self.close(conn, Side::Server);
        let Some(running) = &mut self.ravenry.running else { return };
        let Some(mut session) = running.sessions.remove(&conn) else { return };
        if let Some((session, complete)) = session.operation.end(false) {
            self.feed(Event::Ended(session, complete));
        }
    }

    /// Begins to answer the next command, if none is being answered.
    fn serve(&mut self, conn: ConnId) {
        loop {
            let serves = self.ravenry.serves();
            let Some(running) = &mut self.ravenry.running else { return };
            let Some(session) = running.session(conn) else { return };
            if session.busy.is_some() {
                return;
            }
            let Some(Command { tag, body }) = session.queue.pop_front() else { return };
            let mut out = BytesMut::new();
            if !session.trusted {
                session.trusted = strangers_are_welcome();
                let (status, text) = match session.trusted {
                    true => (Status::Ok, "welcome"),
                    false => (Status::Bad, "Please login first"),
                };
                wire::status(&mut out, &tag, status, text);
                self.send(conn, Side::Server, out.to_vec());
                continue;
            }
            if let Some(tag_of_stream) = session.stream.as_ref().map(|stream| stream.tag.clone()) {
                debug_assert_eq!(body, CommandBody::Noop, "{tag_of_stream:?}");
                self.wait_for_barrier(Waiting::Noop(conn, tag));
                continue;
            }
            if !serves {
                return self.hang_up(conn);
            }
            if let CommandBody::Logout = body {
                if let Some((session, complete)) = session.operation.end(true) {
                    self.feed(Event::Ended(session, complete));
                }
                wire::status(&mut out, &tag, Status::Ok, "bye-bye");
                self.send(conn, Side::Server, out.to_vec());
                return self.hang_up(conn);
            }
            if let CommandBody::Update { .. } = body {
                self.begin_stream(conn, tag);
                continue;
            }
            session.operation.heard(&tag);
            match &body {
                CommandBody::List { prefix } => session.disarm.begin(prefix.as_deref()),
                _ => session.disarm.begin(None),
            }
            session.busy = Some(Command { tag, body: body.clone() });
            match as_write(body) {
                Some(write) => self.take_write(conn, write),
                None => self.wait_for_barrier(Waiting::Face(conn)),
            }
        }
    }

    /// The answer to what is being answered.
    fn answer(&mut self, conn: ConnId, mut out: BytesMut, status: Status, text: &str) {
        let Some(running) = &mut self.ravenry.running else { return };
        let Some(session) = running.session(conn) else { return };
        if let Some(command) = session.busy.take() {
            wire::status(&mut out, &command.tag, status, text);
            self.send(conn, Side::Server, out.to_vec());
        }
        // Not at once: whoever answers may be in the middle of something.
        self.after(Node::Ravenry, Duration::ZERO, Happening::Ravenry(Step::Serve(conn)));
    }

    pub(super) fn serve_on(&mut self, conn: ConnId) {
        self.serve(conn);
    }

    /// What a list that fell behind the master's shows nobody.
    fn find_here(&self, name: &MailboxName) -> Option<Option<Entry>> {
        let running = self.ravenry.running.as_ref()?;
        if running.is_behind() {
            return None;
        }
        running.facts.store.get(name).ok()
    }

    fn take_write(&mut self, conn: ConnId, write: Write) {
        let Some(held) = self.find_here(write.name()) else { return self.hang_up(conn) };
        let Some(running) = &mut self.ravenry.running else { return };
        let Some(session) = running.session(conn) else { return };
        let ordinary = session.disarm.server().is_none();
        if !ordinary {
            let removal = match &write {
                Write::Activate { location, .. } if !session.disarm.may_activate(location, held.as_ref()) => {
                    Removal::Elsewhere
                }
                Write::Delete { name } => session.disarm.remove(name, held),
                _ => Removal::Believed,
            };
            match removal {
                Removal::Believed => {}
                Removal::Elsewhere => return self.answer(conn, BytesMut::new(), Status::No, REFUSED),
                Removal::TooMany(removed) => {
                    for (name, Entry { location, state }) in removed.into_iter().rev() {
                        if self.find_here(&name) == Some(None) {
                            let write = match state {
                                EntryState::Active(acl) => Write::Activate { name, location, acl },
                                EntryState::Reserved => Write::Reserve { name, location },
                            };
                            self.call(None, write, None);
                        }
                    }
                    return self.answer(conn, BytesMut::new(), Status::No, TOO_MANY);
                }
            }
        }
        let Some(session) = self.ravenry.running.as_mut().and_then(|running| running.session(conn)) else {
            return;
        };
        let numbered = if ordinary { session.operation.session() } else { None };
        self.call(Some(conn), write, numbered);
    }

    /// Asks the machine for a change; a connection waits for the answer, or nobody.
    pub(super) fn call(&mut self, conn: Option<ConnId>, write: Write, session: Option<SessionId>) {
        let (now, patience) = (self.now, super::ravenry::policy(&self.plan).patience);
        let Some(running) = &mut self.ravenry.running else { return };
        running.next_call += 1;
        let id = CallId(running.next_call);
        running.callers.insert(id, Caller { conn });
        let expires = now + patience - running.started;
        let peer = ([127, 0, 0, 1], 1).into();
        let origin = Origin { identity: Arc::from("murder"), peer, session };
        self.after(Node::Ravenry, patience, Happening::Ravenry(Step::Expires(id)));
        self.feed(Event::Call(id, write, origin, expires));
    }

    /// The machine, or the clock, has answered a call.
    pub(super) fn reply(&mut self, id: CallId, outcome: &Outcome) {
        let Some(running) = &mut self.ravenry.running else { return };
        let Some(caller) = running.callers.remove(&id) else { return };
        let Some(conn) = caller.conn else { return };
        let Some(session) = running.session(conn) else { return };
        session.operation.answered(*outcome == Outcome::Done);
        if session.gone {
            return self.hang_up(conn);
        }
        let (status, text) = match outcome {
            Outcome::Done => (Status::Ok, "done"),
            Outcome::Refused(refusal) => (Status::No, refusal.text()),
            Outcome::Unavailable => (Status::No, REFUSED),
        };
        self.answer(conn, BytesMut::new(), status, text);
    }

    /// A barrier that a command waited for has passed, or was given up: the list is looked at.
    pub(super) fn looked(&mut self, conn: ConnId) {
        let Some(running) = &mut self.ravenry.running else { return };
        let Some(command) = running.session(conn).and_then(|session| session.busy.clone()) else { return };
        match command.body {
            CommandBody::Find { mailbox } => {
                let name = MailboxName::new(&mailbox).unwrap();
                let Some(held) = self.find_here(&name) else { return self.hang_up(conn) };
                let session = self.ravenry.running.as_mut().and_then(|running| running.session(conn));
                if session.is_none_or(|session| !session.disarm.may_find(held.as_ref())) {
                    return self.answer(conn, BytesMut::new(), Status::No, REFUSED);
                }
                let mut out = BytesMut::new();
                if let Some(entry) = &held {
                    wire::line(&mut out, &command.tag, &mailbox, Some(entry));
                }
                self.answer(conn, out, Status::Ok, "Search completed");
            }
            CommandBody::List { prefix } => {
                let filter = prefix.map(Filter::Prefix);
                let Some((out, entries, _)) = self.walk(&command.tag, filter, Part::Whole) else {
                    return self.hang_up(conn);
                };
                let allowed = &mut self.ravenry.allowed;
                let session = self.ravenry.running.as_mut().and_then(|running| running.session(conn));
                if let Some(session) = session
                    && let Some(server) = session.disarm.server()
                {
                    let permitted = std::mem::take(&mut allowed[usize::from(server == b"be2")]);
                    session.disarm.listed(entries, permitted);
                }
                self.answer(conn, out, Status::Ok, "list complete");
            }
            _ => self.answer(conn, BytesMut::new(), Status::Ok, "Noop done"),
        }
    }

    /// Walks over the list: lines, how many, and whether a part is to be repeated.
    fn walk(&self, tag: &[u8], filter: Option<Filter>, part: Part) -> Option<(BytesMut, u64, bool)> {
        let running = self.ravenry.running.as_ref()?;
        if running.is_behind() {
            return None;
        }
        let snapshot = running.facts.store.snapshot().ok()?;
        let mut dump = Dump::new(snapshot, Bytes::copy_from_slice(tag), filter, part);
        let mut out = BytesMut::new();
        while dump.chunk(&mut out).ok()? {}
        let sent = dump.sent();
        Some((out, sent.entries, repeats(&sent)))
    }

    fn begin_stream(&mut self, conn: ConnId, tag: Bytes) {
        let Some(running) = &self.ravenry.running else { return };
        let feed = running.feed.subscribe();
        let Ok(seq) = running.facts.store.snapshot().map(|snapshot| snapshot.seq()) else {
            return self.end_stream(conn, &tag);
        };
        let Some((mut out, _, repeats)) = self.walk(&tag, None, Part::Whole) else {
            return self.end_stream(conn, &tag);
        };
        // In pieces, so that a connection can break within the list.
        while out.len() > 64 {
            let piece = out.split_to(1 + self.rng.usize(..out.len() - 1));
            self.send(conn, Side::Server, piece.to_vec());
        }
        wire::status(&mut out, &tag, Status::Ok, "streaming starts");
        if repeats && let Some((again, ..)) = self.walk(&tag, None, Part::InDanger) {
            out.unsplit(again);
        }
        self.send(conn, Side::Server, out.to_vec());
        if let Some(session) = self.ravenry.running.as_mut().and_then(|running| running.session(conn)) {
            session.stream = Some(Streaming { tag, feed, seq });
        }
    }

    /// Everything that was published goes out on every stream; one that is not served any more ends bare.
    pub(super) fn pump_streams(&mut self) {
        let Some(running) = &self.ravenry.running else { return };
        let streams: Vec<ConnId> = running
            .sessions
            .iter()
            .filter(|(_, session)| session.stream.is_some())
            .map(|(conn, _)| *conn)
            .collect();
        for conn in streams {
            self.pump_stream(conn);
        }
    }

    fn pump_stream(&mut self, conn: ConnId) {
        let session = self.ravenry.running.as_mut().and_then(|running| running.session(conn));
        let Some(Streaming { tag, feed, seq }) = session.and_then(|session| session.stream.as_mut()) else {
            return;
        };
        let mut changes: Vec<Arc<Published>> = Vec::new();
        let mut out = BytesMut::new();
        if feed.drain(&mut changes).is_err() {
            let tag = tag.clone();
            return self.end_stream(conn, &tag);
        }
        for change in changes.iter().filter(|change| change.seq > *seq) {
            wire::line(&mut out, tag, change.name.as_bytes(), change.entry.as_ref());
        }
        self.send(conn, Side::Server, out.to_vec());
    }

    fn end_stream(&mut self, conn: ConnId, tag: &[u8]) {
        if let Some((status, text)) = last_words() {
            let mut out = BytesMut::new();
            wire::status(&mut out, tag, status, text);
            self.send(conn, Side::Server, out.to_vec());
        }
        self.hang_up(conn);
    }

    /// The barrier of a slave's NOOP has passed.
    pub(super) fn noop_passed(&mut self, conn: ConnId, tag: &[u8]) {
        self.pump_stream(conn);
        let mut out = BytesMut::new();
        wire::status(&mut out, tag, Status::Ok, "Noop done");
        self.send(conn, Side::Server, out.to_vec());
    }
}
