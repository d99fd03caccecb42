//! Deliveries through Ravenry, measured beside a frontend asked directly and beside HAProxy before it, in one run.
//!
//! What is compared alternates, round by round, so that a busy machine disturbs all alike; a ratio is the median of
//! the ratios within each round. Two servers stand behind: a real frontend with two real backends, and one that only
//! counts, which shows what the way itself can carry.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::clients::Lmtp;
use crate::deadline::within;
use crate::mail_figures::Measured;
use crate::mail_load::{Dialect, Load, USERS};
use crate::murder::{Murder, Plan};
use crate::peers::{self, Peer};
use crate::post::Post;

const PATIENCE: Duration = Duration::from_secs(60);

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Rounds of each measure.
    pub rounds: usize,
    /// Messages of each round through Cyrus.
    pub messages: usize,
    /// The same to the server that only counts.
    pub counted: usize,
}

/// One way to a server.
fn way(name: &'static str, address: SocketAddr, pid: Option<u32>) -> Measured {
    Measured::new(name, Load::new(address, Dialect::Lmtp), pid)
}

/// Measures, and returns a table.
pub async fn run(scale: Scale) -> Result<String> {
    let counter = counter().await?;
    let murder = Murder::prepare(Plan::chosen()?).await?;
    let frontend = murder.fe1.lmtp_address();
    let gateway = murder.gateway();
    let post = Post::start_in(murder, &[frontend], "").await?;
    let murder = &post.stage.murder;
    for (n, backend) in (0..USERS).zip(murder.backends().into_iter().cycle()) {
        murder.create_user(&format!("u{n:03}"), backend).await?;
    }
    let other = Post::beside(&post, &[counter]).await?;
    let at = |port| SocketAddr::from((gateway, port));
    let way_to = |from, to| peers::Way { from, to, identity: None };
    let proxy = Peer::haproxy(&[way_to(at(2501), frontend), way_to(at(2502), counter)]).await?;
    let mut table = String::from(
        "| behind | sessions | way | messages/s | of direct | p50 ms | p99 ms | CPU s per 1,000 |\n\
         |---|---:|---|---:|---:|---:|---:|---:|\n",
    );
    for sessions in [1, 8, 64] {
        let mut ways = [
            way("direct", frontend, None),
            way("HAProxy", at(2501), Some(proxy.pid()?)),
            way("Ravenry", post.address(), Some(post.stage.ravenry.pid()?)),
        ];
        // A frontend of the murder has 50 processes for LMTP.
        measure(&mut ways, sessions.min(16), scale.rounds, scale.messages).await?;
        rows(&mut table, "Cyrus", sessions.min(16), &ways)?;
        let mut ways = [
            way("direct", counter, None),
            way("HAProxy", at(2502), Some(proxy.pid()?)),
            way("Ravenry", other.address(), Some(other.ravenry.pid()?)),
        ];
        measure(&mut ways, sessions, scale.rounds, scale.counted).await?;
        rows(&mut table, "counter", sessions, &ways)?;
    }
    let one = {
        let _one = Lmtp::connect(post.address()).await?;
        post.stage.ravenry.resident()?
    };
    let mut many = Vec::new();
    for _ in 0..1000 {
        many.push(Lmtp::connect(post.address()).await?);
    }
    let thousand = post.stage.ravenry.resident()?;
    writeln!(table, "\nRavenry's memory after all that: {one} KiB, with 1,000 sessions {thousand} KiB.")?;
    drop(many);
    other.ravenry.stop().await?;
    post.stop().await?;
    Ok(table)
}

async fn measure(ways: &mut [Measured], sessions: usize, rounds: usize, messages: usize) -> Result<()> {
    for round in 0..=rounds {
        // Every round another one begins.
        ways.rotate_left(1);
        for way in &mut *ways {
            way.round(sessions, messages, round > 0).await?;
        }
    }
    // As they were given.
    ways.rotate_right((rounds + 1) % ways.len().max(1));
    Ok(())
}

fn rows(table: &mut String, behind: &str, sessions: usize, ways: &[Measured]) -> Result<()> {
    let Some(direct) = ways.first() else { return Ok(()) };
    for way in ways {
        writeln!(table, "| {behind} | {sessions} | {} | {} |", way.name, way.cells(direct))?;
    }
    Ok(())
}

/// A server that takes every message and keeps none.
async fn counter() -> Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let _ = tcp.set_nodelay(true);
            tokio::spawn(count(tcp));
        }
    });
    within(PATIENCE, "the counter", async { Ok(TcpStream::connect(address).await?) }).await?;
    Ok(address)
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
