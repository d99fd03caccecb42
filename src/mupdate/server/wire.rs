//! One connection's bytes: every read and write bounded in size and time.

use std::time::Duration;

use bytes::BytesMut;
use ravenry_parsers::mupdate::{CommandDecoder, CommandEvent, Limits, SaslLine, Status, put_status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::{Hangup, ServerConfig};
use crate::net::stream::Stream;

/// What is read at a time before the login, so that an idle stranger costs little.
const STRANGER_READ: usize = 2 << 10;
const READ: usize = 16 << 10;
/// More than this is not kept waiting while a client sends one command behind the other.
const OUT: usize = 64 << 10;

/// A client's connection with what was read and not yet understood, and what is to be written.
pub(super) struct Wire {
    stream: Stream,
    input: BytesMut,
    decoder: CommandDecoder,
    read_size: usize,
    read: u64,
    stall: Duration,
    command_timeout: Duration,
    pub(super) out: BytesMut,
}

impl Wire {
    pub(super) fn new(stream: Stream, config: &ServerConfig) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            decoder: CommandDecoder::new(Limits::BEFORE_LOGIN),
            read_size: STRANGER_READ,
            read: 0,
            stall: config.write_stall,
            command_timeout: config.command_timeout,
            out: BytesMut::new(),
        }
    }

    /// The client is known now.
    pub(super) fn trust(&mut self) {
        self.decoder.set_limits(Limits::default());
        self.read_size = READ;
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// Gives up the stream; what the client sent ahead is thrown away.
    pub(super) fn into_stream(self) -> Stream {
        self.stream
    }

    /// The next command that is already here. `{n}` literals are answered on the way.
    pub(super) fn buffered(&mut self) -> Result<Option<CommandEvent>, Hangup> {
        Ok(self.decoder.decode(&mut self.input)?)
    }

    /// Waits for more bytes. Cancelling it loses none.
    pub(super) async fn fill(&mut self) -> Result<(), Hangup> {
        self.input.reserve(self.read_size);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Hangup::Closed),
            read => {
                self.read += read as u64;
                Ok(())
            }
        }
    }

    /// How many bytes have been read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read
    }

    /// The next command; what is waiting to be written goes out before waiting for it. `patience` is for its
    /// first byte; for the rest there is less.
    pub(super) async fn command(&mut self, patience: Duration) -> Result<CommandEvent, Hangup> {
        let mut begun: Option<Instant> = None;
        loop {
            if self.out.len() >= OUT {
                self.flush().await?;
            }
            match self.buffered()? {
                Some(CommandEvent::Continue) => self.out.extend_from_slice(b"+ go ahead\r\n"),
                Some(event) => return Ok(event),
                None => {
                    self.flush().await?;
                    if !self.input.is_empty() {
                        begun.get_or_insert_with(Instant::now);
                    }
                    let (end, late) = match begun {
                        None => (Instant::now() + patience, Hangup::Idle),
                        Some(begun) => (begun + self.command_timeout, Hangup::Slow),
                    };
                    match tokio::time::timeout_at(end, self.fill()).await {
                        Ok(filled) => filled?,
                        Err(_) => return Err(late),
                    }
                }
            }
        }
    }

    /// The next line of a login exchange.
    pub(super) async fn sasl(&mut self) -> Result<SaslLine, Hangup> {
        loop {
            if let Some(line) = self.decoder.decode_sasl(&mut self.input)? {
                return Ok(line);
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    pub(super) fn status(&mut self, tag: Option<&[u8]>, status: Status, text: &str) {
        put_status(&mut self.out, tag, status, text);
    }

    /// Writes what is waiting. A client that takes nothing for too long is given up.
    pub(super) async fn flush(&mut self) -> Result<(), Hangup> {
        while !self.out.is_empty() {
            match tokio::time::timeout(self.stall, self.stream.write_buf(&mut self.out)).await {
                Ok(Ok(0)) => return Err(Hangup::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(Hangup::Stalled),
            }
        }
        match tokio::time::timeout(self.stall, self.stream.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(Hangup::Stalled),
        }
    }

    /// Writes what is waiting and hangs up.
    pub(super) async fn close(mut self) {
        if self.flush().await.is_ok() {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        }
    }
}
