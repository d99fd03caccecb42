//! One conversation with one backend.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Buf, BytesMut};
use ravenry_parsers::imap::{Condition, Listed, ReplyHead, ServerEvent, ServerFramer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::names::{from_wire, to_wire};
use super::words::texts;
use super::{BackendError, Backends};
use crate::list::{Acl, MailboxName};
use crate::net::clock::clock_of_session;
use crate::net::stream::Stream;
use crate::net::tls::{ClientTls, server_name};

/// The longest reply that is taken; a mailbox's name is far shorter.
const MAX_REPLY: usize = 64 << 10;

/// Where Cyrus tells a mailbox's partition.
const PARTITION: &[u8] = b"/shared/vendor/cmu/cyrus-imapd/partition";

/// An administrator's session.
#[derive(Debug)]
pub struct Session {
    server: String,
    stream: Stream,
    input: BytesMut,
    framer: ServerFramer,
    deadline: Duration,
    separator: u8,
    count: u32,
    clock: Option<u64>,
}

impl Session {
    pub(super) async fn open(backends: &Backends, server: &str) -> Result<Self, BackendError> {
        let waited = backends.deadline;
        // Besides, each answer has its own deadline.
        match tokio::time::timeout(waited * 2, Self::begin(backends, server)).await {
            Ok(opened) => opened,
            Err(_) => Err(BackendError::Late { server: server.into(), waited }),
        }
    }

    async fn begin(backends: &Backends, server: &str) -> Result<Self, BackendError> {
        let failed = |error| BackendError::Io { server: server.into(), error };
        let address = backends.address(server);
        let tcp = TcpStream::connect(&address).await.map_err(failed)?;
        let stream = match &backends.tls {
            ClientTls::AtOnce(tls) => encrypted(tls, &address, tcp).await.map_err(failed)?,
            ClientTls::Off | ClientTls::StartTls(_) => Stream::Plain(tcp),
        };
        let mut session = Self {
            server: server.into(),
            stream,
            input: BytesMut::new(),
            framer: ServerFramer::default(),
            deadline: backends.deadline,
            separator: b'.',
            count: 0,
            clock: None,
        };
        let greeting = session.reply().await?;
        if !greeting.starts_with(b"* OK") {
            return Err(session.said(&greeting));
        }
        if let ClientTls::StartTls(tls) = &backends.tls {
            session = session.start_tls(tls, &address).await?;
        }
        let secret = format!("\0{}\0{}", backends.user, backends.password.expose());
        let login = format!("AUTHENTICATE PLAIN {}", BASE64.encode(secret));
        let welcome = session.command(login.as_bytes(), |_, _| {}).await?;
        session.clock = clock_of_session(&welcome);
        // The answer to an empty pattern is the separator alone (RFC 9051 §6.3.9).
        let mut separator = None;
        let learn =
            |reply: &[u8], _| separator = separator.or(Listed::parse(reply).and_then(|root| root.separator));
        session.command(b"LIST \"\" \"\"", learn).await?;
        session.separator = separator.ok_or_else(|| session.said(b"it does not tell its separator"))?;
        Ok(session)
    }

    /// The backend's clock when we logged in, in seconds since 1970, where it shows it.
    pub fn clock(&self) -> Option<u64> {
        self.clock
    }

    /// Whether the backend takes us for an administrator. Anybody else may not ask for quotas (observed on 3.2 to 3.12).
    pub async fn is_admin(&mut self) -> Result<bool, BackendError> {
        match self.command(b"GETQUOTA user.ravenry-asks-whether-it-is-an-administrator", |_, _| {}).await {
            Ok(_) => Ok(true),
            Err(BackendError::Refused { said, .. }) => Ok(!said.contains("Permission denied")),
            Err(error) => Err(error),
        }
    }

    async fn start_tls(mut self, tls: &Arc<ClientConfig>, address: &str) -> Result<Self, BackendError> {
        self.command(b"STARTTLS", |_, _| {}).await?;
        // Something behind the OK in clear could be anybody's.
        if !self.input.is_empty() {
            return Err(self.said(b"it sent more than its answer to STARTTLS in clear"));
        }
        let Stream::Plain(tcp) = self.stream else {
            return Err(BackendError::Said { server: self.server, said: "TLS within TLS".into() });
        };
        let failed = |error| BackendError::Io { server: self.server.clone(), error };
        let stream = encrypted(tls, address, tcp).await.map_err(failed)?;
        Ok(Self { stream, framer: ServerFramer::default(), ..self })
    }

    /// Whether the backend holds a mailbox.
    pub async fn holds(&mut self, name: &MailboxName) -> Result<bool, BackendError> {
        let wire = to_wire(name, self.separator);
        let command = [format!("LIST \"\" {{{}+}}\r\n", wire.len()).as_bytes(), &wire].concat();
        let mut held = false;
        self.command(&command, |reply, _| {
            // The name can hold `%` or `*` and so match others.
            held |= Listed::parse(reply).is_some_and(|listed| listed.exists() && *listed.name == *wire);
        })
        .await?;
        Ok(held)
    }

    /// Every mailbox that the backend holds, in its own order. Returns how many there were; those whose names
    /// cannot be names of the list are left out of `each` and counted.
    pub async fn mailboxes(&mut self, mut each: impl FnMut(MailboxName)) -> Result<u64, BackendError> {
        let mut count = 0;
        self.command(b"LIST \"\" *", |reply, separator| {
            if let Some(listed) = Listed::parse(reply).filter(Listed::exists) {
                count += 1;
                if let Some(name) = from_wire(&listed.name, separator) {
                    each(name);
                }
            }
        })
        .await?;
        Ok(count)
    }

    /// Who may do what with a mailbox that the backend holds. The administrator need not have a right on it.
    pub async fn acl(&mut self, name: &MailboxName) -> Result<Acl, BackendError> {
        let wire = to_wire(name, self.separator);
        let command = [format!("GETACL {{{}+}}\r\n", wire.len()).as_bytes(), &wire].concat();
        let mut acl = None;
        self.command(&command, |reply, _| {
            if let Some([kind, _, rights @ ..]) = texts(reply).as_deref()
                && kind == b"ACL"
            {
                acl = Some(Acl::new(
                    &rights.iter().flat_map(|word| [word, &b"\t"[..]].concat()).collect::<Vec<_>>(),
                ));
            }
        })
        .await?;
        acl.ok_or_else(|| self.said(b"it does not tell the ACL"))
    }

    /// The partition of a mailbox that the backend holds.
    pub async fn partition(&mut self, name: &MailboxName) -> Result<String, BackendError> {
        let wire = to_wire(name, self.separator);
        let asked =
            [format!("GETMETADATA {{{}+}}\r\n", wire.len()).as_bytes(), &wire, b" ", PARTITION].concat();
        let mut partition = None;
        self.command(&asked, |reply, _| {
            if let Some([_, _, key, value]) = texts(reply).as_deref()
                && key == PARTITION
            {
                partition = String::from_utf8(value.clone()).ok().filter(|value| !value.contains('!'));
            }
        })
        .await?;
        partition.ok_or_else(|| self.said(b"it does not tell the partition"))
    }

    /// Ends the conversation in order.
    pub async fn close(mut self) {
        // It ends either way.
        let _ = self.command(b"LOGOUT", |_, _| {}).await;
    }

    /// Runs a command to its end and shows each untagged reply, with the separator. Returns the tagged one.
    async fn command(
        &mut self,
        command: &[u8],
        mut each: impl FnMut(&[u8], u8),
    ) -> Result<BytesMut, BackendError> {
        self.count += 1;
        let tag = format!("r{}", self.count);
        let line = [tag.as_bytes(), b" ", command, b"\r\n"].concat();
        let late = BackendError::Late { server: self.server.clone(), waited: self.deadline };
        let sent = async {
            self.stream.write_all(&line).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(self.deadline, sent).await {
            Err(_) => return Err(late),
            Ok(Err(error)) => return Err(BackendError::Io { server: self.server.clone(), error }),
            Ok(Ok(())) => {}
        }
        loop {
            let reply = self.reply().await?;
            let mut rest: &[u8] = &reply;
            let head = ServerFramer::default().next(&mut rest);
            match head {
                Ok(Some(ServerEvent::Begin(ReplyHead::Status { tag: Some(ended), condition, .. })))
                    if ended == tag.as_bytes() =>
                {
                    return if condition == Condition::Ok { Ok(reply) } else { Err(self.refused(&reply)) };
                }
                Ok(Some(ServerEvent::Begin(ReplyHead::Continue))) => return Err(self.said(&reply)),
                _ => each(&reply, self.separator),
            }
        }
    }

    /// The next reply, whole. Each has its own deadline: a long list takes its time and is never silent.
    async fn reply(&mut self) -> Result<BytesMut, BackendError> {
        let (server, waited) = (self.server.clone(), self.deadline);
        match tokio::time::timeout(self.deadline, self.next_reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(BackendError::Late { server, waited }),
        }
    }

    async fn next_reply(&mut self) -> Result<BytesMut, BackendError> {
        let mut reply = BytesMut::new();
        loop {
            let mut rest: &[u8] = &self.input;
            let event =
                self.framer.next(&mut rest).map_err(|fault| self.said(fault.to_string().as_bytes()))?;
            let (part, end) = match event {
                Some(ServerEvent::Begin(_)) => continue,
                Some(ServerEvent::Part { bytes, end }) => (bytes.len(), end),
                Some(ServerEvent::Partial) | None => {
                    self.fill().await?;
                    continue;
                }
            };
            if reply.len() + part > MAX_REPLY {
                return Err(self.said(b"a reply that is too long"));
            }
            reply.extend_from_slice(self.input.get(..part).unwrap_or_default());
            self.input.advance(part);
            if end {
                return Ok(reply);
            }
        }
    }

    async fn fill(&mut self) -> Result<(), BackendError> {
        self.input.reserve(16 << 10);
        let failed = |error| BackendError::Io { server: self.server.clone(), error };
        match self.stream.read_buf(&mut self.input).await.map_err(failed)? {
            0 => Err(failed(std::io::ErrorKind::UnexpectedEof.into())),
            _ => Ok(()),
        }
    }

    fn said(&self, what: &[u8]) -> BackendError {
        BackendError::Said { server: self.server.clone(), said: shortened(what) }
    }

    fn refused(&self, reply: &[u8]) -> BackendError {
        BackendError::Refused { server: self.server.clone(), said: shortened(reply) }
    }
}

fn shortened(words: &[u8]) -> String {
    String::from_utf8_lossy(words).trim().chars().take(200).collect()
}

/// TLS with the host that the address names, and nobody else.
async fn encrypted(tls: &Arc<ClientConfig>, address: &str, tcp: TcpStream) -> std::io::Result<Stream> {
    let name = server_name(address).map_err(std::io::Error::other)?;
    Ok(Stream::Client(Box::new(TlsConnector::from(tls.clone()).connect(name, tcp).await?)))
}
