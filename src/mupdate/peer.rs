//! The other end of a MUPDATE connection, played by a test word for word.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a test is patient for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection, and what came on it that nobody has taken yet.
pub(super) struct Peer {
    pub(super) stream: TcpStream,
    seen: Vec<u8>,
}

impl Peer {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), seen: Vec::new() }
    }

    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = tokio::time::timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Self { stream, seen: Vec::new() }
    }

    pub(super) async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and with `end`; gives back what came, or what there was when the other side hung up.
    pub(super) async fn hear(&mut self, end: &str) -> Result<String, String> {
        let reading = async {
            loop {
                if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                    let rest = self.seen.split_off(at + end.len());
                    return Ok(String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap());
                }
                // What was heard before it hung up stays heard.
                if !matches!(self.stream.read_buf(&mut self.seen).await, Ok(1..)) {
                    return Err(String::from_utf8_lossy(&self.seen).into_owned());
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("it never said {end:?}"))
    }

    /// [`Self::hear`] from somebody who does not hang up.
    pub(super) async fn until(&mut self, end: &str) -> String {
        self.hear(end).await.unwrap_or_else(|seen| panic!("closed before {end:?}: {seen:?}"))
    }

    /// The next line.
    pub(super) async fn line(&mut self) -> String {
        self.until("\r\n").await
    }

    /// One command, and the first line of its answer.
    pub(super) async fn ask(&mut self, command: &str) -> String {
        self.say(&format!("X1 {command}\r\n")).await;
        self.line().await
    }

    /// Reads until the other side hangs up; closed bare, with our bytes unread, it is a reset.
    pub(super) async fn rest(mut self) -> String {
        let reading = async { while matches!(self.stream.read_buf(&mut self.seen).await, Ok(1..)) {} };
        tokio::time::timeout(PATIENCE, reading).await.expect("an end");
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}
