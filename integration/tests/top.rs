//! `ravenry top` in a real (pseudo) terminal: what stands on the screen, and that q leaves the terminal as it was.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ravenry_integration::ravenry::{Ravenry, Settings};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

const SOON: Duration = Duration::from_secs(20);
const ROWS: u16 = 34;
const COLUMNS: u16 = 100;

struct Screen {
    terminal: tokio::fs::File,
    other: OwnedFd,
    parser: vt100::Parser,
    child: Child,
}

impl Screen {
    fn start(ravenry: &Ravenry, environment: &[(&str, &str)]) -> Result<Self> {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&terminal)?;
        unlockpt(&terminal)?;
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size)?;
        let name = ptsname(&terminal, Vec::new())?.into_string()?;
        let other: OwnedFd = std::fs::File::options().read(true).write(true).open(name)?.into();
        let mut command = ravenry.command()?;
        command.arg("top").envs(environment.iter().copied()).env("TERM", "xterm-256color");
        let child = command
            .stdin(other.try_clone()?)
            .stdout(other.try_clone()?)
            .stderr(other.try_clone()?)
            .spawn()?;
        let terminal = tokio::fs::File::from_std(std::fs::File::from(terminal));
        let (rows, columns) = (ROWS.try_into()?, COLUMNS.try_into()?);
        Ok(Self { terminal, other, parser: vt100::Parser::new(rows, columns, 0), child })
    }

    /// Reads until the screen shows this.
    async fn shows(&mut self, text: &str) -> Result<()> {
        let until = Instant::now() + SOON;
        let mut bytes = [0; 4096];
        while !self.parser.screen().contents().contains(text) {
            let left = until.saturating_duration_since(Instant::now());
            let read = tokio::time::timeout(left, self.terminal.read(&mut bytes)).await;
            let read =
                read.with_context(|| format!("{text:?} is not on\n{}", self.parser.screen().contents()))??;
            self.parser.process(bytes.get(..read).unwrap_or_default());
        }
        Ok(())
    }

    async fn ended(&mut self) -> Result<()> {
        let status = tokio::time::timeout(SOON, self.child.wait()).await.context("it does not end")??;
        ensure!(status.success(), "{status}");
        // What it said last; the other end is still open, so that nothing of it is lost.
        let mut bytes = [0; 4096];
        while let Ok(read) =
            tokio::time::timeout(Duration::from_millis(200), self.terminal.read(&mut bytes)).await
        {
            self.parser.process(bytes.get(..read?).unwrap_or_default());
        }
        Ok(())
    }

    fn has_colours(&self) -> bool {
        let cells = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| self.parser.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default)
    }
}

async fn started() -> Result<Ravenry> {
    let nowhere: SocketAddr = ([127, 0, 0, 1], 9).into();
    let listen = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
    let ravenry = Ravenry::start(Settings { listen, master: nowhere, extra: String::new() }).await?;
    ravenry.wait_for_state("learning", SOON).await?;
    Ok(ravenry)
}

#[tokio::test]
async fn top_shows_what_is_so_until_q_and_leaves_the_terminal_as_it_was() -> Result<()> {
    let ravenry = started().await?;
    let mut screen = Screen::start(&ravenry, &[])?;
    let before = tcgetattr(&screen.other)?.local_modes;
    for text in ["learning, for", "Connection refused", "writes per second", "last events", "reserve"] {
        screen.shows(text).await?;
    }
    ensure!(screen.parser.screen().alternate_screen() && screen.has_colours());
    screen.terminal.write_all(b"q").await?;
    screen.ended().await?;
    ensure!(!screen.parser.screen().alternate_screen() && tcgetattr(&screen.other)?.local_modes == before);
    ravenry.stop().await
}

#[tokio::test]
async fn top_without_colours_lives_through_the_end_of_ravenry_and_heeds_interrupts() -> Result<()> {
    let mut ravenry = started().await?;
    let mut screen = Screen::start(&ravenry, &[("NO_COLOR", "1")])?;
    screen.shows("learning, for").await?;
    ensure!(!screen.has_colours());
    ravenry.terminate().await?;
    screen.shows("no Ravenry answers").await?;
    ravenry.launch().await?;
    screen.shows("learning, for").await?;
    screen.terminal.write_all(b"\x03").await?;
    screen.ended().await?;
    ravenry.stop().await
}

#[tokio::test]
async fn without_a_terminal_there_is_one_look_or_a_word_why_not() -> Result<()> {
    let ravenry = started().await?;
    let refused = ravenry.cli(&["top"]).await?;
    ensure!(refused.exit == 64 && refused.stderr.contains("--once"), "{refused:?}");
    let once = ravenry.cli(&["top", "--once"]).await?.success()?.stdout;
    ensure!(once.contains("learning, for") && once.contains("reserve") && !once.contains('\x1b'), "{once}");
    ravenry.stop().await
}
