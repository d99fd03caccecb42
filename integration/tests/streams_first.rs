//! Every stream has a change before its backend has the OK, with the master and without it: a frontend that hears of
//! a mailbox later than the user can deadlock with itself (Cyrus issue 5926).
//!
//! "Has" is said of the socket. When the frontend's slave takes the line from there is its own affair.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ravenry_integration::clients::{Line, Mupdate};
use ravenry_integration::frames::Frames;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(30);

/// Streams beside each other: one alone is often served in time by chance.
const STREAMS: usize = 8;

/// Mailboxes that are reserved, activated and deleted, in each state.
const NAMES: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_have_a_change_when_the_backend_has_its_ok() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let mut writer = Mupdate::login(stage.ravenry.address()).await?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(Stream::open(&stage).await?);
    }
    let place = stage.murder.be1.location();
    for state in ["following", "standing-in"] {
        if state == "standing-in" {
            stage.murder.mm.stop_cyrus().await?;
        }
        stage.ravenry.wait_for_state(state, SOON).await?;
        let (mut late, mut excused) = (Vec::new(), 0);
        let mut let_go = let_go_so_far(&stage).await?;
        for number in 0..NAMES {
            let name = format!("user.{state}{number}");
            for (verb, word) in [("RESERVE", "RESERVE"), ("ACTIVATE", "MAILBOX"), ("DELETE", "DELETE")] {
                let reply = match verb {
                    "RESERVE" => writer.reserve(&name, &place).await?,
                    "ACTIVATE" => writer.activate(&name, &place, "anyone\tlrs\t").await?,
                    _ => writer.delete(&name).await?,
                };
                // The writer has its OK: from here on nothing is waited for.
                let there: Vec<_> = streams.iter_mut().map(Stream::arrived).collect::<Result<_>>()?;
                assert!(reply.is_ok(), "{verb} {name}: {reply:?}");
                let mut missing = 0;
                for (stream, line) in streams.iter_mut().zip(there) {
                    let line = match line {
                        Some(line) => line,
                        None => {
                            missing += 1;
                            stream.wait().await?
                        }
                    };
                    assert_eq!((line.keyword.as_str(), line.arg(0)), (word, name.clone()), "{state}: {verb}");
                }
                let so_far = let_go_so_far(&stage).await?;
                match missing {
                    0 => {}
                    _ if so_far - let_go >= missing => excused += 1,
                    _ => late.push(format!("{verb} {name} at {missing} streams")),
                }
                let_go = so_far;
            }
        }
        println!("{state}: {excused} of {} OKs were let go before every stream had the line", 3 * NAMES);
        assert!(excused < 3 * NAMES, "{state}: every OK was let go");
        assert!(late.is_empty(), "{state}: {} lines came after the OK: {late:?}", late.len());
    }
    stage.master_back().await?;
    stage.stop().await
}

/// How often an OK was given although a stream did not take its line in time, as on a busy machine one may not.
async fn let_go_so_far(stage: &Stage) -> Result<u64> {
    let scraped = stage.ravenry.scrape().await?;
    let line = scraped.lines().find_map(|line| line.strip_prefix("ravenry_stream_misses_total "));
    Ok(line.context("how often OKs were let go")?.trim().parse()?)
}

/// A stream as the kernel sees it: what can be read from it now, was written before now.
struct Stream {
    socket: TcpStream,
    frames: Frames,
}

impl Stream {
    async fn open(stage: &Stage) -> Result<Self> {
        let mut session = Mupdate::login(stage.ravenry.address()).await?;
        session.update().await?;
        Ok(Self { socket: session.into_std()?, frames: Frames::default() })
    }

    /// The next line, if it has arrived. Never waits.
    fn arrived(&mut self) -> Result<Option<Line>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.frames.next_frame() {
                return Ok(Some(Line::parse(&frame)));
            }
            match self.socket.read(&mut buffer) {
                Ok(0) => bail!("the stream was closed"),
                Ok(length) => self.frames.feed(buffer.get(..length).context("more than was asked for")?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next line, late as it is.
    async fn wait(&mut self) -> Result<Line> {
        let start = Instant::now();
        loop {
            if let Some(line) = self.arrived()? {
                return Ok(line);
            }
            ensure!(start.elapsed() < SOON, "the line never came");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
