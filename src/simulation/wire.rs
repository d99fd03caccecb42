//! The murder's own protocol between the models, in the bytes that Ravenry reads and writes.

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{
    Command, CommandBody, CommandDecoder, CommandEvent, Limits, ReplyDecoder, ReplyLimits, ServerLine,
    Status, put_command, put_delete, put_mailbox, put_reserve, put_status,
};

use crate::authority::write::Write;
use crate::list::{Acl, Entry, EntryState, Location, MailboxName};

/// What a server has read of a client.
#[derive(Debug)]
pub(super) struct Hearing {
    input: BytesMut,
    decoder: CommandDecoder,
}

impl Default for Hearing {
    fn default() -> Self {
        Self { input: BytesMut::new(), decoder: CommandDecoder::new(Limits::default()) }
    }
}

impl Hearing {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<Command> {
        self.input.extend_from_slice(bytes);
        let mut commands = Vec::new();
        while let Some(event) = self.decoder.decode(&mut self.input).expect("what our own encoder wrote") {
            let CommandEvent::Command(command) = event else { panic!("{event:?}") };
            commands.push(command);
        }
        commands
    }
}

/// What a client has read of a server.
#[derive(Debug)]
pub(super) struct Reading {
    input: BytesMut,
    decoder: ReplyDecoder,
}

impl Default for Reading {
    fn default() -> Self {
        Self { input: BytesMut::new(), decoder: ReplyDecoder::new(ReplyLimits::default()) }
    }
}

impl Reading {
    pub(super) fn take(&mut self, bytes: &[u8]) -> Vec<ServerLine> {
        self.input.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(line) = self.decoder.decode(&mut self.input).expect("what our own encoder wrote") {
            lines.push(line);
        }
        lines
    }
}

pub(super) fn command(tag: &str, body: &CommandBody) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_command(&mut out, tag.as_bytes(), body);
    out.to_vec()
}

pub(super) fn status(out: &mut BytesMut, tag: &[u8], status: Status, text: &str) {
    put_status(out, Some(tag), status, text);
}

/// The line that shows what a name is.
pub(super) fn line(out: &mut BytesMut, tag: &[u8], name: &[u8], entry: Option<&Entry>) {
    match entry {
        None => put_delete(out, tag, name),
        Some(Entry { location, state: EntryState::Reserved }) => {
            put_reserve(out, tag, name, location.as_bytes());
        }
        Some(Entry { location, state: EntryState::Active(acl) }) => {
            put_mailbox(out, tag, name, location.as_bytes(), acl.as_bytes());
        }
    }
}

/// What a line shows: a name and what it is, or nothing of the kind.
pub(super) fn shown(line: &ServerLine) -> Option<(MailboxName, Option<Entry>)> {
    let name = |bytes: &Bytes| MailboxName::new(bytes).unwrap();
    let place = |bytes: &Bytes| Location::new(bytes).unwrap();
    match line {
        ServerLine::Mailbox { mailbox, location, acl, .. } => {
            Some((name(mailbox), Some(Entry::active(place(location), Acl::new(acl)))))
        }
        ServerLine::Reserve { mailbox, location, .. } => {
            Some((name(mailbox), Some(Entry::reserved(place(location)))))
        }
        ServerLine::Delete { mailbox, .. } => Some((name(mailbox), None)),
        _ => None,
    }
}

/// A write as a backend asks for it.
pub(super) fn asking(write: &Write) -> CommandBody {
    let text = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let mailbox = text(write.name().as_bytes());
    match write {
        Write::Reserve { location, .. } => {
            CommandBody::Reserve { mailbox, location: text(location.as_bytes()) }
        }
        Write::Activate { location, acl, .. } | Write::Revive { location, acl, .. } => {
            CommandBody::Activate { mailbox, location: text(location.as_bytes()), acl: text(acl.as_bytes()) }
        }
        Write::Deactivate { location, .. } => {
            CommandBody::Deactivate { mailbox, location: text(location.as_bytes()) }
        }
        Write::Delete { .. } | Write::Forget { .. } => CommandBody::Delete { mailbox },
    }
}
