//! A connection before the relay takes over: lines and commands, bounded in size and time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use memchr::memchr;
use ravenry_parsers::imap::{ClientEvent, ClientFault, ClientFramer, Stop, Verb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::net::stream::Stream;

/// The longest line or command before and during a login. An ID may have thirty fields, with names of 30 bytes and values of
/// 1024 (RFC 2971, section 3.3).
pub(super) const MAX_LINE: usize = 40 << 10;

/// What is read at a time: an idle stranger costs little.
const READ: usize = 2 << 10;

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("hung up")]
    Closed,
    #[error("{0}")]
    Fault(#[from] ClientFault),
    #[error("more than {MAX_LINE} bytes without an end")]
    TooLong,
    #[error("nothing for {} s", .0.as_secs())]
    Silent(Duration),
}

/// A command as a client sent it, literals in place.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) tag: Vec<u8>,
    pub(super) verb: Verb,
    pub(super) bytes: Vec<u8>,
}

/// A stream and what was read from it.
#[derive(Debug)]
pub(super) struct Wire {
    /// `None` once a TLS handshake failed.
    stream: Option<Stream>,
    pub(super) input: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream: Some(stream), input: BytesMut::new() }
    }

    /// When the certificate that the other side showed us ends, in seconds since 1970.
    pub(super) fn shown_until(&self) -> Option<u64> {
        self.stream.as_ref().and_then(Stream::shown_until)
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.as_ref().is_some_and(Stream::is_encrypted)
    }

    /// The stream, and what was read too much.
    pub(super) fn into_parts(self) -> Option<(Stream, BytesMut)> {
        Some((self.stream?, self.input))
    }

    fn stream(&mut self) -> Result<&mut Stream, WireError> {
        self.stream.as_mut().ok_or(WireError::Closed)
    }

    /// Goes on under TLS. What the other side sent ahead in clear could be anybody's (CVE-2011-0411): it is
    /// thrown away.
    pub(super) async fn start_tls(&mut self, tls: Arc<ServerConfig>) -> Result<(), WireError> {
        self.input.clear();
        let Some(Stream::Plain(tcp)) = self.stream.take() else { return Err(WireError::Closed) };
        let stream = TlsAcceptor::from(tls).accept(tcp).await?;
        self.stream = Some(Stream::Server(Box::new(stream)));
        Ok(())
    }

    pub(super) async fn fill(&mut self) -> Result<(), WireError> {
        self.input.reserve(READ);
        let stream = self.stream.as_mut().ok_or(WireError::Closed)?;
        match stream.read_buf(&mut self.input).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let stream = self.stream()?;
        stream.write_all(bytes).await?;
        Ok(stream.flush().await?)
    }

    /// The next line, its end included.
    pub(super) async fn line(&mut self) -> Result<BytesMut, WireError> {
        loop {
            match memchr(b'\n', &self.input) {
                Some(at) if at < MAX_LINE => return Ok(self.input.split_to(at + 1)),
                None if self.input.len() < MAX_LINE => self.fill().await?,
                _ => return Err(WireError::TooLong),
            }
        }
    }

    /// The next command, literals and all; those that wait for it are asked for. IDLE and AUTHENTICATE end
    /// with their line.
    pub(super) async fn command(&mut self) -> Result<Whole, WireError> {
        let mut framer = ClientFramer::default();
        let mut whole: Option<Whole> = None;
        loop {
            let mut rest: &[u8] = &self.input;
            let event = framer.next(&mut rest)?;
            let mut ask = false;
            match (event, &mut whole) {
                (Some(ClientEvent::Begin { tag, verb }), _) => {
                    whole = Some(Whole { tag: tag.to_vec(), verb, bytes: Vec::new() });
                }
                (Some(ClientEvent::Part { bytes, stop }), Some(command)) => {
                    command.bytes.extend_from_slice(bytes);
                    let size = match stop {
                        Stop::Announced(size) | Stop::Literal(size) => size,
                        _ => 0,
                    };
                    if (command.bytes.len() as u64).saturating_add(size) > MAX_LINE as u64 {
                        return Err(WireError::TooLong);
                    }
                    ask = matches!(stop, Stop::Announced(_));
                    let taken = self.input.len() - rest.len();
                    self.input.advance(taken);
                    if matches!(stop, Stop::Command | Stop::Exchange)
                        && let Some(command) = whole.take()
                    {
                        return Ok(command);
                    }
                }
                (Some(ClientEvent::Part { .. } | ClientEvent::Partial) | None, _) => self.fill().await?,
            }
            if ask {
                framer.go_ahead();
                self.send(b"+ go ahead\r\n").await?;
            }
        }
    }

    /// Hangs up in order.
    pub(super) async fn close(self, last_words: &[u8]) {
        if let Some(stream) = self.stream {
            hang_up(stream, last_words).await;
        }
    }
}

/// Says the last words, and hangs up in order.
pub(super) async fn hang_up(mut stream: Stream, last_words: &[u8]) {
    let goodbye = async {
        stream.write_all(last_words).await?;
        stream.flush().await?;
        stream.shutdown().await
    };
    // Whoever does not listen any more misses them.
    let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
}
