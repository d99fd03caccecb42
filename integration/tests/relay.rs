//! The relay's faults, against a server that is only a script.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Result;
use ravenry_integration::clients::Mupdate;
use ravenry_integration::relay::{Action, Fault, Moment, Relay};
use ravenry_integration::transcript::Side;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Greets, then answers every line that starts with `X` or `A01` with its tag and OK.
async fn server() -> Result<SocketAddr> {
    let listener = TcpListener::bind(ANY).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let (from, mut to) = stream.split();
    to.write_all(b"* AUTH \"PLAIN\"\r\n* OK MUPDATE \"s\" \"t\" \"1\" \"(master)\"\r\n").await?;
    let mut lines = BufReader::new(from).lines();
    while let Some(line) = lines.next_line().await? {
        let tag = line.split(' ').next().unwrap_or_default();
        if tag.starts_with('X') || tag == "A01" {
            to.write_all(format!("{tag} OK \"done\"\r\n").as_bytes()).await?;
        }
    }
    Ok(())
}

async fn relay() -> Result<Relay> {
    Relay::start(ANY, server().await?).await
}

#[tokio::test]
async fn without_faults_it_only_listens() -> Result<()> {
    let relay = relay().await?;
    let mut session = Mupdate::login(relay.address()).await?;
    assert!(session.reserve("user.a", "be1!default").await?.is_ok());
    let transcripts = relay.transcripts();
    assert_eq!(transcripts.len(), 1);
    assert_eq!(transcripts[0].bytes(Side::Client), session.transcript().bytes(Side::Client));
    assert_eq!(transcripts[0].bytes(Side::Server), session.transcript().bytes(Side::Server));
    Ok(())
}

#[tokio::test]
async fn a_cut_strikes_at_the_reply_that_it_names() -> Result<()> {
    let relay = relay().await?;
    relay.set([Fault::At(Moment::Reply("ACTIVATE"), Action::Cut)]);
    let mut session = Mupdate::login(relay.address()).await?;
    assert!(session.reserve("user.a", "be1!default").await?.is_ok());
    assert!(session.activate("user.a", "be1!default", "a\tlrs\t").await.is_err());
    assert_eq!(relay.hits(), 1);
    Ok(())
}

#[tokio::test]
async fn a_swallowed_reply_leaves_the_rest() -> Result<()> {
    let relay = relay().await?;
    relay.set([Fault::At(Moment::NthReply(2), Action::Swallow)]);
    let mut session = Mupdate::login(relay.address()).await?;
    let first = session.send("NOOP", &[]).await?;
    let second = session.send("NOOP", &[]).await?;
    let line = session.line().await?;
    assert_ne!(line.tag, first);
    assert_eq!(line.tag, second);
    Ok(())
}

#[tokio::test]
async fn a_delay_is_a_delay() -> Result<()> {
    let relay = relay().await?;
    relay.set([Fault::At(Moment::Request("RESERVE"), Action::Delay(Duration::from_millis(300)))]);
    let mut session = Mupdate::login(relay.address()).await?;
    let start = Instant::now();
    session.run("NOOP", &[]).await?;
    assert!(start.elapsed() < Duration::from_millis(200));
    session.reserve("user.a", "be1!default").await?;
    assert!(start.elapsed() >= Duration::from_millis(300));
    Ok(())
}

#[tokio::test]
async fn a_hang_ends_when_it_is_healed() -> Result<()> {
    let relay = relay().await?;
    relay.set([Fault::HangBeforeBanner]);
    let connecting = tokio::spawn(Mupdate::login(relay.address()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!connecting.is_finished());
    relay.set([Fault::HangAfterAuth]);
    let mut session = connecting.await??;
    session.set_patience(Duration::from_millis(200));
    assert!(session.run("NOOP", &[]).await.is_err());
    relay.heal();
    assert_eq!(session.line().await?.keyword, "OK");
    Ok(())
}

#[tokio::test]
async fn what_hangs_can_be_kept_back_while_others_pass() -> Result<()> {
    let relay = relay().await?;
    relay.set([Fault::At(Moment::Request("RESERVE"), Action::Hang)]);
    let mut late = Mupdate::login(relay.address()).await?;
    let tag = late.send("RESERVE", &["user.a", "be1!default"]).await?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    relay.set([Fault::Keep]);
    let mut other = Mupdate::login(relay.address()).await?;
    assert!(other.reserve("user.a", "be1!default").await?.is_ok());
    late.set_patience(Duration::from_millis(200));
    assert!(late.reply(&tag).await.is_err());
    relay.heal();
    assert!(late.reply(&tag).await?.is_ok());
    Ok(())
}

#[tokio::test]
async fn connections_can_be_dropped_and_cut() -> Result<()> {
    let relay = relay().await?;
    let mut session = Mupdate::login(relay.address()).await?;
    relay.set([Fault::Drop]);
    assert!(Mupdate::connect(relay.address()).await.is_err());
    assert!(session.run("NOOP", &[]).await?.is_ok(), "an open connection is not touched");
    relay.cut_all();
    assert!(session.run("NOOP", &[]).await.is_err());
    Ok(())
}
