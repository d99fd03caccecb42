//! A TCP connection that is read line by line, with a limit on every wait, and that can be recorded.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::deadline::within;
use crate::frames::Frames;
use crate::transcript::{Side, Transcript};

/// How long a peer may take to say something, unless a story says otherwise. Backends wait 10 s for a hung
/// master, so a client of theirs must wait longer to see what they make of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The client's end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    frames: Frames,
    patience: Duration,
    transcript: Transcript,
    records: bool,
}

impl Wire {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = within(PATIENCE, format!("connecting to {address}"), async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        Ok(Self {
            stream: stream.await?,
            frames: Frames::default(),
            patience: PATIENCE,
            transcript: Transcript::default(),
            records: true,
        })
    }

    /// Sets how long the peer may take to say something.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Keeps nothing of what is said from now on, as for very many messages.
    pub fn record_nothing(&mut self) {
        self.records = false;
    }

    /// Everything said so far.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// Puts a remark into the transcript.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.transcript.remark(text);
    }

    /// Sends bytes as they are, in one segment if they fit.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.record(Side::Client, bytes);
        within(self.patience, "sending", async { Ok(self.stream.write_all(bytes).await?) }).await
    }

    /// The next line with its literals; `None` when the peer has closed.
    pub async fn frame(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Ok(Some(frame));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// The next line with its literals; closing is an error.
    pub async fn expect_frame(&mut self) -> Result<Bytes> {
        self.frame().await?.context("the peer closed the connection")
    }

    /// The next line as text, where the protocol has no literals. Closing is an error.
    pub async fn expect_line(&mut self) -> Result<String> {
        loop {
            if let Some(line) = self.frames.next_line() {
                return Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned());
            }
            anyhow::ensure!(self.read().await?, "the peer closed the connection");
        }
    }

    /// Reads until the peer closes, and returns what came.
    pub async fn drain(&mut self) -> Result<Bytes> {
        while self.read().await? {}
        Ok(self.frames.rest())
    }

    /// The socket itself, nonblocking, for who must see at an exact moment what has arrived. Nothing may be unread.
    pub fn into_std(mut self) -> Result<std::net::TcpStream> {
        anyhow::ensure!(self.frames.rest().is_empty(), "something was left unread");
        Ok(self.stream.into_std()?)
    }

    fn record(&mut self, side: Side, bytes: &[u8]) {
        if self.records {
            self.transcript.say(side, bytes);
        }
    }

    async fn read(&mut self) -> Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let length = within(self.patience, "waiting for the peer to say something", async {
            match self.stream.read(&mut buffer).await {
                // A process that died with unread input resets its connections.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(0),
                other => Ok(other?),
            }
        });
        let length = length.await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        self.record(Side::Server, bytes);
        self.frames.feed(bytes);
        Ok(length > 0)
    }
}
