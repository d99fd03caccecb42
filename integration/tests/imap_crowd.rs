//! Eight thousand idle sessions, and among them strangers that are slow in every way there is: memory is bounded, they
//! end in time, it is logged, and nobody else notices.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use ravenry_integration::clients::{Imap, Wire};
use ravenry_integration::deadline::eventually;
use ravenry_integration::face::Face;
use ravenry_integration::identity::Authority;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

const SESSIONS: usize = 8_000;
/// At a time while they come.
const COMERS: usize = 16;

/// Promised: 4 KiB (docs/sizing.md). With some slack for what a debug build and the allocator take.
const MEMORY_OF_ONE: f64 = 6.0;

/// Of each kind.
const SLOW: usize = 50;
/// `login_timeout` here.
const LOGIN: Duration = Duration::from_secs(3);
/// Fivefold slack for a busy machine.
const ENDED: Duration = Duration::from_secs(15);
const DRIP: Duration = Duration::from_millis(250);

/// A login, and then a NOOP, for whoever does as usual.
const USUAL: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who does as usual.
async fn as_usual(face: &Face) -> Result<()> {
    let began = Instant::now();
    face.open().await?.run("NOOP").await?.ok()?;
    ensure!(began.elapsed() < USUAL, "a login and a NOOP took {:?}", began.elapsed());
    Ok(())
}

async fn fill(face: &Face) -> Result<Vec<Imap>> {
    let mut sessions = Vec::new();
    while sessions.len() < SESSIONS {
        for session in join_all((0..COMERS).map(|_| face.open())).await {
            sessions.push(session.with_context(|| format!("session {}", sessions.len()))?);
        }
    }
    Ok(sessions)
}

/// A way to be slow: what is sent and heard first, and what comes byte by byte then.
#[derive(Clone, Copy, Debug)]
struct Slowness {
    tls: bool,
    first: &'static [u8],
    heard: &'static str,
    drips: &'static [u8],
}

const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

const EVERY_WAY: [Slowness; 8] = [
    Slowness { tls: false, first: b"", heard: "", drips: b"" },
    Slowness { tls: false, first: b"a LOGIN", heard: "", drips: b" alice" },
    Slowness { tls: false, first: b"a LOGIN alice {4000}\r\n", heard: "+ ", drips: b"x" },
    Slowness { tls: false, first: b"a LOGIN alice {6}\r\n", heard: "+ ", drips: b"" },
    Slowness { tls: false, first: b"a AUTHENTICATE PLAIN\r\n", heard: "+ ", drips: b"A" },
    Slowness { tls: false, first: b"a STARTTLS\r\n", heard: "a OK", drips: HELLO },
    Slowness { tls: true, first: b"", heard: "", drips: b"" },
    Slowness { tls: true, first: HELLO, heard: "", drips: b"x" },
];

/// Answers how long it took until it was cut off.
async fn slow(address: SocketAddr, way: Slowness) -> Result<Duration> {
    let began = Instant::now();
    let mut wire = Wire::connect(address).await?;
    wire.set_patience(ENDED);
    if !way.tls {
        wire.expect_line().await?;
    }
    wire.send(way.first).await?;
    if !way.heard.is_empty() {
        let line = wire.expect_line().await?;
        ensure!(line.starts_with(way.heard), "{line}");
    }
    for drip in way.drips.iter().cycle() {
        // Who was cut off meanwhile sees it below.
        if wire.send(&[*drip]).await.is_err() || began.elapsed() > 2 * LOGIN {
            break;
        }
        tokio::time::sleep(DRIP).await;
    }
    // An end is an end, whether in order or not.
    let _ = wire.drain().await;
    Ok(began.elapsed())
}

/// Too much, before a login and behind it: each has an end, and is in the log.
async fn too_much_is_logged(face: &Face) -> Result<()> {
    let (endless, tag) = ("x".repeat(20_000), "y".repeat(300));
    for (logged_in, sent, why) in [
        (false, "a LOGIN {999999999}\r\n", "bytes without an end"),
        (false, endless.as_str(), "Invalid tag"),
        (false, "a LOGIN {99999999999999999999}\r\n", "Literal size is invalid"),
        (true, "b APPEND INBOX {99999999999999999999+}\r\n", "Literal size is invalid"),
        (true, tag.as_str(), "Invalid tag"),
    ] {
        let logged = || anyhow::Ok(face.ravenry.log()?.matches(why).count());
        let before = logged()?;
        let mut wire = Wire::connect(face.clear).await?;
        wire.expect_line().await?;
        if logged_in {
            wire.send(b"a LOGIN alice secret\r\n").await?;
            wire.expect_line().await?;
        }
        wire.send(sent.as_bytes()).await?;
        wire.drain().await?;
        eventually(USUAL, format!("{why:?} in the log"), async || Ok((logged()? > before).then_some(())))
            .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_thousand_idle_sessions_and_slow_strangers_take_little_and_disturb_nobody() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let authority = Authority::new()?;
    let limit = format!("login_timeout = \"{}s\"", LOGIN.as_secs());
    let face = Face::for_localhost(&authority, &limit).await?;
    let before = face.ravenry.resident()?;
    let mut sessions = fill(&face).await?;
    let each = (face.ravenry.resident()? - before) as f64 / SESSIONS as f64;
    println!("{each:.2} KiB for each of {SESSIONS} sessions");
    ensure!(each < MEMORY_OF_ONE, "{each:.2} KiB for each session");

    let mut strangers = JoinSet::new();
    for way in EVERY_WAY {
        let address = if way.tls { face.tls } else { face.clear };
        for _ in 0..SLOW {
            strangers.spawn(async move { (way, slow(address, way).await) });
        }
    }
    while !strangers.is_empty() {
        as_usual(&face).await?;
        for session in sessions.iter_mut().step_by(SESSIONS / 100) {
            session.run("NOOP").await?.ok()?;
        }
        while let Some(done) = strangers.try_join_next() {
            let (way, took) = done?;
            let took = took.with_context(|| format!("{way:?}"))?;
            ensure!(took < ENDED, "{way:?} took {took:?}");
        }
    }
    let log = face.ravenry.log()?;
    let [late, tls] = ["client: nothing for 3 s", "TLS: timed out"].map(|why| log.matches(why).count());
    println!("logged: {late} without a login in time, {tls} without a handshake");
    ensure!(late >= 6 * SLOW && tls >= 2 * SLOW, "not all of them are in the log");
    too_much_is_logged(&face).await?;

    // All are still there, and nothing is left of the strangers.
    for session in &mut sessions {
        session.run("NOOP").await?.ok()?;
    }
    drop(sessions);
    let left = eventually(PATIENCE, "no sessions", async || {
        let status = face.ravenry.status().await?;
        Ok((status.pointer("/imap/sessions").and_then(serde_json::Value::as_u64) == Some(0)).then_some(()))
    });
    left.await?;
    face.ravenry.stop().await
}
