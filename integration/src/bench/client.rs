//! A MUPDATE client that costs little, so that the server is what is measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use memchr::memmem;
use ravenry_parsers::mupdate::{CommandBody, ReplyDecoder, ReplyLimits, ServerLine, Status, put_command};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clients::PASSWORD;
use crate::deadline::within;
use crate::made_up::{LOCATION, acl};

/// A master that sends its list to ten slaves answers nobody else meanwhile.
const PATIENCE: Duration = Duration::from_secs(600);

/// Commands under way in a pipeline.
const WINDOW: usize = 500;

/// What ends a list, at the beginning of a line.
const STREAMING: &[u8] = b"\nU01 OK ";

/// An authenticated connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    input: BytesMut,
    decoder: ReplyDecoder,
    out: BytesMut,
}

impl Client {
    /// Connects, reads the banner, and logs in with PLAIN, as Cyrus's clients do.
    pub(super) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let decoder = ReplyDecoder::new(ReplyLimits::default());
        let mut client = Self { stream, input: BytesMut::new(), decoder, out: BytesMut::new() };
        while !matches!(client.line().await?, ServerLine::Banner { .. }) {}
        let initial = BASE64_STANDARD.encode(format!("\0murder\0{PASSWORD}"));
        client
            .call(&CommandBody::Authenticate { mechanism: "PLAIN".into(), initial: Some(initial.into()) })
            .await?;
        Ok(client)
    }

    /// The next line.
    pub(super) async fn line(&mut self) -> Result<ServerLine> {
        loop {
            if let Some(line) = self.decoder.decode(&mut self.input)? {
                return Ok(line);
            }
            self.input.reserve(16 << 10);
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            ensure!(read.context("the server is silent")?? > 0, "the server closed the connection");
        }
    }

    /// Puts a command among those to be sent.
    pub(super) fn queue(&mut self, command: &CommandBody) {
        put_command(&mut self.out, b"X0", command);
    }

    /// Sends what is queued.
    pub(super) async fn flush(&mut self) -> Result<()> {
        within(PATIENCE, "sending", async { Ok(self.stream.write_all_buf(&mut self.out).await?) }).await
    }

    /// Waits for the end of one command; returns how many entries came before it.
    pub(super) async fn status(&mut self) -> Result<usize> {
        let mut entries = 0;
        loop {
            match self.line().await? {
                ServerLine::Mailbox { .. } | ServerLine::Reserve { .. } => entries += 1,
                ServerLine::Status { status: Status::Ok, .. } => return Ok(entries),
                other => bail!("answered {other:?}"),
            }
        }
    }

    /// One command, to its OK.
    pub(super) async fn call(&mut self, command: &CommandBody) -> Result<usize> {
        self.queue(command);
        self.flush().await?;
        self.status().await
    }

    /// Many commands, [`WINDOW`] of them under way. Returns how many entries came.
    pub(super) async fn pipeline(
        &mut self,
        commands: impl IntoIterator<Item = CommandBody>,
    ) -> Result<usize> {
        let (mut under_way, mut entries) = (0, 0);
        for command in commands {
            self.queue(&command);
            under_way += 1;
            if under_way >= WINDOW {
                self.flush().await?;
                // The half: so that neither side ever waits for the other's next batch.
                for _ in 0..WINDOW / 2 {
                    entries += self.status().await?;
                }
                under_way -= WINDOW / 2;
            }
        }
        self.flush().await?;
        for _ in 0..under_way {
            entries += self.status().await?;
        }
        Ok(entries)
    }

    /// The whole list, taken apart: how many entries it has. Afterwards changes come.
    pub(super) async fn stream(&mut self) -> Result<u64> {
        put_command(&mut self.out, b"U01", &CommandBody::Update { hosts: Vec::new() });
        self.flush().await?;
        Ok(self.status().await? as u64)
    }

    /// The whole list, thrown away: a slave is another machine, and what it does with the list costs nothing here.
    /// Returns how many bytes it has.
    pub(super) async fn drain_list(&mut self) -> Result<usize> {
        put_command(&mut self.out, b"U01", &CommandBody::Update { hosts: Vec::new() });
        self.flush().await?;
        let mut buffer = vec![0; 256 << 10];
        let (mut kept, mut total) = (0, 0);
        loop {
            let free = buffer.get_mut(kept..).unwrap_or_default();
            let read = tokio::time::timeout(PATIENCE, self.stream.read(free)).await;
            let read = read.context("the list stopped coming")??;
            ensure!(read > 0, "the server closed the connection in its list");
            total += read;
            let end = kept + read;
            if memmem::find(buffer.get(..end).unwrap_or_default(), STREAMING).is_some() {
                return Ok(total);
            }
            // Its mark may be cut in two.
            kept = end.min(STREAMING.len() - 1);
            buffer.copy_within(end - kept..end, 0);
        }
    }

    /// Says goodbye, and waits for the answer as Cyrus's clients do.
    pub(super) async fn logout(mut self) -> Result<()> {
        self.call(&CommandBody::Logout).await?;
        // The conversation is over. Without this a run would use up the ports of the machine.
        self.stream.set_zero_linger()?;
        Ok(())
    }
}

/// The commands that a backend sends.
pub(super) fn reserve(name: &str) -> CommandBody {
    CommandBody::Reserve { mailbox: text(name), location: text(LOCATION) }
}

pub(super) fn activate(name: &str) -> CommandBody {
    CommandBody::Activate { mailbox: text(name), location: text(LOCATION), acl: text(&acl(name)) }
}

pub(super) fn find(name: &str) -> CommandBody {
    CommandBody::Find { mailbox: text(name) }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
