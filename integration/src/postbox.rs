//! A submission host that takes everything and keeps it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// One message that was submitted.
#[derive(Clone, Debug, Default)]
pub struct Submitted {
    /// The line of MAIL.
    pub from: String,
    /// The lines of RCPT.
    pub to: Vec<String>,
    /// The text, without dot-stuffing.
    pub text: Vec<u8>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Postbox {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<Submitted>>>,
    _listening: JoinSet<()>,
}

impl Postbox {
    /// Begins to listen on loopback.
    pub async fn open() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, kept) = (listener.local_addr()?, Arc::new(Mutex::new(Vec::new())));
        let keeping = kept.clone();
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let keeping = keeping.clone();
                // A client that hangs up has submitted nothing more.
                sessions.spawn(async move { drop(attend(stream, &keeping).await) });
            }
        });
        Ok(Self { address, kept, _listening: listening })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that was submitted.
    pub fn kept(&self) -> Vec<Submitted> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn attend(stream: TcpStream, kept: &Mutex<Vec<Submitted>>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 postbox ESMTP\r\n").await?;
    let mut message = Submitted::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        let word = text.split(' ').next().unwrap_or_default().to_ascii_uppercase();
        let reply: &[u8] = match word.as_str() {
            "EHLO" => b"250-postbox\r\n250 8BITMIME\r\n",
            "MAIL" => {
                message = Submitted { from: text, ..Submitted::default() };
                b"250 2.1.0 Ok\r\n"
            }
            "RCPT" => {
                message.to.push(text);
                b"250 2.1.5 Ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go ahead\r\n").await?;
                loop {
                    line.clear();
                    if stream.read_until(b'\n', &mut line).await? == 0 {
                        return Ok(());
                    }
                    if line == b".\r\n" {
                        break;
                    }
                    message.text.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                }
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(std::mem::take(&mut message));
                b"250 2.0.0 Ok\r\n"
            }
            "QUIT" => return Ok(stream.write_all(b"221 2.0.0 Bye\r\n").await?),
            _ => b"502 5.5.2 not here\r\n",
        };
        stream.write_all(reply).await?;
    }
}
