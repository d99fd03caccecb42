//! A server that takes every message at once and keeps none: what the way itself costs shows before it.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Listens until it is dropped; then its connections are closed.
#[derive(Debug)]
pub(crate) struct Counter {
    pub(crate) address: SocketAddr,
    _listening: JoinSet<()>,
}

/// Begins to listen; port 0 is any.
pub(crate) async fn start(at: SocketAddr) -> Result<Counter> {
    let listener = TcpListener::bind(at).await?;
    let address = listener.local_addr()?;
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let _ = tcp.set_nodelay(true);
            // A client that hangs up has counted.
            sessions.spawn(async move { drop(count(tcp).await) });
            while sessions.try_join_next().is_some() {}
        }
    });
    Ok(Counter { address, _listening: listening })
}

async fn count(mut tcp: TcpStream) -> Result<()> {
    tcp.write_all(b"220 counter ready\r\n").await?;
    let (mut input, mut out) = (Vec::with_capacity(64 << 10), String::new());
    let mut in_text = false;
    loop {
        if tcp.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        if in_text {
            if input.ends_with(b"\r\n.\r\n") {
                input.clear();
                in_text = false;
                tcp.write_all(b"250 2.1.5 Success\r\n").await?;
            }
            continue;
        }
        let Some(end) = input.iter().rposition(|byte| *byte == b'\n') else { continue };
        out.clear();
        let commands: Vec<u8> = input.drain(..=end).collect();
        for line in String::from_utf8_lossy(&commands).lines() {
            match line.get(..4).unwrap_or_default() {
                "LHLO" => out.push_str("250-counter\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 0\r\n"),
                "DATA" => {
                    out.push_str("354 go ahead\r\n");
                    in_text = true;
                }
                _ => out.push_str("250 2.0.0 ok\r\n"),
            }
        }
        tcp.write_all(out.as_bytes()).await?;
    }
}
