//! A fast mail client.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;

use super::ways::Way;
use crate::deadline::within;

const PATIENCE: Duration = Duration::from_secs(60);

/// What is read at a time.
const CHUNK: usize = 256 << 10;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A session.
pub(super) struct Client {
    stream: Box<dyn Duplex>,
    input: Vec<u8>,
}

impl Client {
    /// Connects and logs in.
    pub(super) async fn log_in(way: &Way, tls: &Arc<ClientConfig>) -> Result<Self> {
        within(PATIENCE, format!("a login through {}", way.name), async {
            let tcp = TcpStream::connect(way.address).await?;
            tcp.set_nodelay(true)?;
            let stream: Box<dyn Duplex> = if way.tls {
                let connector = TlsConnector::from(tls.clone());
                Box::new(connector.connect("localhost".try_into()?, tcp).await?)
            } else {
                Box::new(tcp)
            };
            let mut client = Self { stream, input: Vec::new() };
            let greeting = client.line().await?;
            ensure!(greeting.starts_with("* OK"), "{greeting}");
            client.exchange("a LOGIN alice secret\r\n").await?;
            Ok(client)
        })
        .await
    }

    /// A command that is answered by one line; how long that took, in microseconds.
    pub(super) async fn exchange(&mut self, command: &str) -> Result<f64> {
        let began = Instant::now();
        self.send(command.as_bytes()).await?;
        let answer = self.line().await?;
        ensure!(answer.starts_with("a OK"), "{answer}");
        Ok(began.elapsed().as_secs_f64() * 1e6)
    }

    /// Takes in a message; how long it was.
    pub(super) async fn fetch(&mut self, chunk: &mut Vec<u8>) -> Result<usize> {
        self.send(b"a FETCH 1 BODY[]\r\n").await?;
        let head = self.line().await?;
        let size = head.strip_suffix('}').and_then(|head| head.rsplit('{').next()).context("no literal")?;
        let size: usize = size.parse()?;
        let here = size.min(self.input.len());
        self.input.drain(..here);
        chunk.resize(CHUNK, 0);
        let mut left = size - here;
        while left > 0 {
            let most = left.min(CHUNK);
            let read = self.stream.read(chunk.get_mut(..most).unwrap_or_default()).await?;
            left = left.checked_sub(read).filter(|_| read > 0).context("hung up in a message")?;
        }
        ensure!(self.line().await? == ")");
        let answer = self.line().await?;
        ensure!(answer.starts_with("a OK"), "{answer}");
        Ok(size)
    }

    /// Files a message.
    pub(super) async fn append(&mut self, message: &[u8]) -> Result<()> {
        self.send(format!("a APPEND INBOX {{{}+}}\r\n", message.len()).as_bytes()).await?;
        self.stream.write_all(message).await?;
        self.exchange("\r\n").await.map(drop)
    }

    pub(super) async fn log_out(mut self) -> Result<()> {
        self.send(b"b LOGOUT\r\n").await?;
        while !self.line().await?.starts_with("b ") {}
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = memchr(b'\n', &self.input) {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "hung up");
        }
    }
}
