//! One client's bytes: every read and write bounded in size and time.

use std::time::Duration;

use bytes::BytesMut;
use ravenry_parsers::lmtp::{
    CommandDecoder, CommandEvent, DataDecoder, DataEvent, Reply, SaslLine, put_reply,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Hangup;
use crate::net::stream::Stream;

/// What is read at a time outside of messages, so that an idle client costs little.
const READ: usize = 4 << 10;
/// What is read at a time within a message.
const READ_DATA: usize = 64 << 10;
/// Replies are written when there are so many of them, so that a client that reads none cannot pile them up.
const WRITE: usize = 16 << 10;

/// A client's connection with what was read and not yet understood, and what is to be written.
pub(super) struct Wire {
    stream: Stream,
    input: BytesMut,
    decoder: CommandDecoder,
    out: BytesMut,
    /// Taken from the input, and given back.
    pending: Option<CommandEvent>,
    patience: Duration,
}

impl Wire {
    pub(super) fn new(stream: Stream, patience: Duration) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            decoder: CommandDecoder::default(),
            out: BytesMut::new(),
            pending: None,
            patience,
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.stream.is_encrypted()
    }

    /// The connection alone; `None` when the client has sent more than it should have.
    pub(super) fn into_stream(self) -> Option<Stream> {
        (self.input.is_empty() && self.pending.is_none()).then_some(self.stream)
    }

    /// The next command that is already here.
    pub(super) fn buffered(&mut self) -> Option<CommandEvent> {
        self.pending.take().or_else(|| self.decoder.decode(&mut self.input))
    }

    /// Gives the last one back.
    pub(super) fn put_back(&mut self, event: CommandEvent) {
        self.pending = Some(event);
    }

    /// The next command; what is waiting to be written goes out before waiting for it. Cancelling it loses nothing.
    pub(super) async fn command(&mut self) -> Result<CommandEvent, Hangup> {
        let patience = self.patience;
        let ready = async {
            loop {
                if let Some(event) = self.buffered() {
                    return Ok(event);
                }
                self.flush().await?;
                if self.input.is_empty() {
                    // What a long command or message left behind is not kept for an idle client.
                    self.input = BytesMut::new();
                    self.out = BytesMut::new();
                }
                self.fill(READ).await?;
            }
        };
        tokio::time::timeout(patience, ready).await.unwrap_or(Err(Hangup::Slow))
    }

    /// The next line of a login exchange.
    pub(super) async fn sasl(&mut self) -> Result<SaslLine, Hangup> {
        let patience = self.patience;
        let ready = async {
            loop {
                if let Some(line) = self.decoder.decode_sasl(&mut self.input) {
                    return Ok(line);
                }
                self.flush().await?;
                self.fill(READ).await?;
            }
        };
        tokio::time::timeout(patience, ready).await.unwrap_or(Err(Hangup::Slow))
    }

    /// The next part of a message that is already here.
    pub(super) fn buffered_data(&mut self, decoder: &mut DataDecoder) -> Option<DataEvent> {
        decoder.decode(&mut self.input)
    }

    /// Waits for more of a message.
    pub(super) async fn fill_data(&mut self, patience: Duration) -> Result<(), Hangup> {
        match tokio::time::timeout(patience, self.fill(READ_DATA)).await {
            Ok(Err(Hangup::Closed)) => Err(Hangup::CutOff),
            Ok(filled) => filled,
            Err(_) => Err(Hangup::Slow),
        }
    }

    async fn fill(&mut self, size: usize) -> Result<(), Hangup> {
        self.input.reserve(size);
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(Hangup::Closed),
            _ => Ok(()),
        }
    }

    pub(super) async fn reply(&mut self, reply: &Reply) -> Result<(), Hangup> {
        put_reply(&mut self.out, reply);
        if self.out.len() < WRITE { Ok(()) } else { self.flush().await }
    }

    pub(super) async fn say(&mut self, code: u16, text: &str) -> Result<(), Hangup> {
        self.reply(&Reply::new(code, text)).await
    }

    /// Writes what is waiting. A client that takes nothing for too long is given up.
    pub(super) async fn flush(&mut self) -> Result<(), Hangup> {
        while !self.out.is_empty() {
            match tokio::time::timeout(self.patience, self.stream.write_buf(&mut self.out)).await {
                Ok(Ok(0)) => return Err(Hangup::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(Hangup::Stalled),
            }
        }
        match tokio::time::timeout(self.patience, self.stream.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(Hangup::Stalled),
        }
    }

    /// Says a last word and hangs up.
    pub(super) async fn close(mut self, last: Option<(u16, &str)>) {
        if let Some((code, text)) = last {
            put_reply(&mut self.out, &Reply::new(code, text));
        }
        self.patience = self.patience.min(Duration::from_secs(1));
        if self.flush().await.is_ok() {
            let _ = tokio::time::timeout(self.patience, self.stream.shutdown()).await;
        }
    }
}
