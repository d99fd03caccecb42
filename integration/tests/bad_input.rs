//! Bad input, too much input, too many strangers: the mupdate port of a real process, with a real master behind it,
//! while a backend goes on with its work.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ravenry_integration::clients::{Mupdate, Wire};
use ravenry_integration::deadline::within;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::ravenry::{Ravenry, Settings};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Strangers that say nothing.
const IDLE: usize = 5_000;
/// What each may cost.
const PER_STRANGER: usize = 64 << 10;
/// How long a backend may wait for an answer while others misbehave: a fraction of its ten seconds.
const PROMPT: Duration = Duration::from_secs(5);
/// Enough for any refusal; the time that Ravenry gives a stranger included.
const PATIENCE: Duration = Duration::from_secs(40);
/// Hung up without a word, and without having taken in what was announced.
const CLOSED: &str = "";
const ACL: &str = "alice\tlrs\t";

/// A master, and Ravenry in front of it. No other node is needed here.
async fn stage() -> Result<(Murder, Ravenry)> {
    let murder = Murder::prepare(Plan::chosen()?).await?;
    murder.start_master().await?;
    let settings = Settings {
        listen: (murder.gateway(), 3905).into(),
        master: murder.mm.mupdate_address(),
        extra: String::new(),
    };
    let ravenry = Ravenry::start(settings).await?;
    ravenry.wait_for_state("following", PATIENCE).await?;
    Ok((murder, ravenry))
}

/// A backend at work, until dropped: it creates one mailbox after the other. Gives back the longest wait.
struct Backend {
    stop: tokio::sync::watch::Sender<bool>,
    working: tokio::task::JoinHandle<Result<(u32, Duration)>>,
}

impl Backend {
    fn start(address: SocketAddr, location: String) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let working = tokio::spawn(async move {
            let (mut count, mut longest) = (0, Duration::ZERO);
            while !*stopped.borrow() {
                let start = Instant::now();
                // As backends do: one connection and one login for each.
                let mut session = Mupdate::login(address).await?;
                let name = format!("user.busy{count}");
                session.reserve(&name, &location).await?.ok()?;
                session.activate(&name, &location, ACL).await?.ok()?;
                session.run("LOGOUT", &[]).await?.ok()?;
                longest = longest.max(start.elapsed());
                count += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok((count, longest))
        });
        Self { stop, working }
    }

    async fn finish(self) -> Result<()> {
        let _ = self.stop.send(true);
        let (count, longest) = self.working.await??;
        println!("the backend created {count} mailboxes, the slowest in {longest:?}");
        ensure!(count > 0 && longest < PROMPT, "{count} mailboxes, the slowest in {longest:?}");
        Ok(())
    }
}

/// What Ravenry says to input after its banner, until it hangs up or has said what it has to say to a LOGOUT.
async fn said_to(address: SocketAddr, input: &[u8]) -> Result<String> {
    let mut wire = Wire::connect(address).await?;
    wire.set_patience(PATIENCE);
    loop {
        if wire.expect_line().await?.starts_with("* OK MUPDATE") {
            break;
        }
    }
    // It may hang up in the midst of what it is sent.
    let _ = wire.send(input).await;
    let said = wire.drain().await?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

async fn every_bad_input_gets_a_clear_end(address: SocketAddr) -> Result<()> {
    let endless = vec![b'x'; 1 << 20];
    let nul = b"A1 NOOP\0\r\nQ1 LOGOUT\r\n".as_slice();
    let cases: [(&[u8], &str); 10] = [
        (b"garbage\r\nQ1 LOGOUT\r\n", "BAD"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\nQ1 LOGOUT\r\n", "BAD"),
        (b"A1 AUTHENTICATE \"PLAIN\" {2147483647+}\r\n", CLOSED),
        (b"A1 AUTHENTICATE \"PLAIN\" {2147483647}\r\n", CLOSED),
        (b"A1 AUTHENTICATE \"PLAIN\" {4294967296+}\r\n", CLOSED),
        (b"A1 AUTHENTICATE \"PLAIN\" {99999999999999999999+}\r\n", CLOSED),
        (nul, "BAD"),
        (b"A1 AUTHENTICATE \"PLAIN\r\nQ1 LOGOUT\r\n", "BAD"),
        (b"U1 UPDATE\r\nQ1 LOGOUT\r\n", "U1 BAD \"Please login first\""),
        (&endless, CLOSED),
    ];
    for (input, expected) in cases {
        let shown = String::from_utf8_lossy(input.get(..60).unwrap_or(input)).into_owned();
        let said = within(PATIENCE, format!("an end of {shown:?}"), said_to(address, input)).await?;
        let clear = said.contains(expected) && (expected != CLOSED || said.is_empty());
        ensure!(clear, "{shown:?} was answered {said:?}");
        ensure!(!said.contains("MAILBOX") && !said.contains("Authenticated"), "{shown:?}: {said:?}");
    }
    Ok(())
}

async fn a_byte_at_a_time_is_understood(address: SocketAddr) -> Result<()> {
    let mut session = Mupdate::connect(address).await?;
    for byte in b"X1 NOOP\r\n" {
        session.send_raw(&[*byte]).await?;
    }
    let reply = session.reply("X1").await?;
    ensure!(reply.text == "Please login first", "{reply:?}");
    Ok(())
}

async fn half_a_close_ends_the_other_half(address: SocketAddr) -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"A1 NOOP\r\nA2 NO").await?;
    stream.shutdown().await?;
    let mut said = String::new();
    within(PATIENCE, "the end after half a close", async { Ok(stream.read_to_string(&mut said).await?) })
        .await?;
    ensure!(said.ends_with("A1 BAD \"Please login first\"\r\n"), "{said:?}");
    Ok(())
}

/// A guess from an address of its own: what it was answered, and when.
async fn guess(
    address: SocketAddr,
    from: Ipv4Addr,
    user: &str,
    password: &str,
) -> Result<(String, Duration)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let mut stream = socket.connect(address).await?;
    let response = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
    let start = Instant::now();
    stream.write_all(format!("A1 AUTHENTICATE \"PLAIN\" \"{response}\"\r\nQ1 LOGOUT\r\n").as_bytes()).await?;
    let mut said = Vec::new();
    let _ =
        within(PATIENCE, "an answer to a guess", async { Ok(stream.read_to_end(&mut said).await) }).await?;
    Ok((String::from_utf8_lossy(&said).into_owned(), start.elapsed()))
}

async fn guessing_is_slow(address: SocketAddr) -> Result<()> {
    let guesser = Ipv4Addr::new(127, 0, 0, 2);
    // The right name with a wrong password, and somebody who is no administrator here.
    for (user, password) in [("murder", "wrong"), ("alice", "secret"), ("nobody", "secret")] {
        let (said, took) = guess(address, guesser, user, password).await?;
        ensure!(said.contains("A1 NO \"authentication failure\""), "{user}: {said:?}");
        ensure!(took >= Duration::from_secs(3), "{user}: answered after {took:?}");
    }
    // Over forty connections at once: four at a time, three seconds each.
    let start = Instant::now();
    let mut all = JoinSet::new();
    for n in 0..40 {
        all.spawn(async move { guess(address, guesser, "murder", &format!("guess{n}")).await });
    }
    let mut early = 0;
    while let Some(ended) = all.join_next().await {
        let (said, took) = ended??;
        ensure!(!said.contains("Authenticated"), "{said:?}");
        early += usize::from(took < Duration::from_secs(6));
        if start.elapsed() > Duration::from_secs(8) {
            break;
        }
    }
    ensure!(early <= 8, "{early} of 40 guesses were answered within 6 s");
    Ok(())
}

/// What the process has in memory, in bytes.
fn resident(pid: u32) -> Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: usize = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

async fn thousands_of_strangers_cost_little(ravenry: &Ravenry) -> Result<()> {
    use tokio::io::AsyncReadExt;
    let (address, pid) = (ravenry.address(), ravenry.pid().context("ravenry runs")?);
    let before = resident(pid)?;
    let mut strangers = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(address).await?;
        // Each has been greeted, so that the process has done for it what it does.
        within(PATIENCE, "a banner", async { Ok(stream.read(&mut [0; 16]).await?) }).await?;
        strangers.push(stream);
    }
    let cost = resident(pid)?.saturating_sub(before) / IDLE;
    println!("{IDLE} strangers cost {cost} bytes each");
    ensure!(cost < PER_STRANGER, "{cost} bytes for each stranger");
    // One more takes the place of the oldest, and is let in.
    let mut session = Mupdate::login(address).await?;
    session.run("NOOP", &[]).await?.ok()?;
    Ok(())
}

async fn a_stop_closes_streams_bare(ravenry: &mut Ravenry) -> Result<()> {
    let mut stream = Mupdate::login(ravenry.address()).await?;
    let names = stream.update().await?.len();
    ensure!(names > 0, "the backend's mailboxes are listed");
    let ended = ravenry.terminate().await?;
    ensure!(ended.code() == Some(0), "after SIGTERM: {ended}");
    let rest = stream.wire().drain().await?;
    ensure!(rest.is_empty(), "a stream was ended with {:?}", String::from_utf8_lossy(&rest));
    ensure!(TcpStream::connect(ravenry.address()).await.is_err(), "nobody listens any more");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_strangers_do_the_murder_goes_on() -> Result<()> {
    let (murder, mut ravenry) = stage().await?;
    let address = ravenry.address();
    let backend = Backend::start(address, murder.be1.location());
    every_bad_input_gets_a_clear_end(address).await?;
    a_byte_at_a_time_is_understood(address).await?;
    half_a_close_ends_the_other_half(address).await?;
    guessing_is_slow(address).await?;
    thousands_of_strangers_cost_little(&ravenry).await?;
    backend.finish().await?;
    a_stop_closes_streams_bare(&mut ravenry).await?;
    let log = ravenry.log()?;
    ensure!(!log.contains("secret") && !log.contains("guess"), "a password is in the log");
    ravenry.stop().await?;
    murder.stop().await
}
