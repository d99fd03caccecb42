//! `ravenry top`: looking on.
//!
//! | file | what |
//! |---|---|
//! | `sample` | what a running Ravenry says at one moment, and what happened between two |
//! | `screen` | the same, drawn. Pure |

mod sample;
mod screen;

use std::io::IsTerminal as _;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::{Failure, exit};
use crate::config::Config;
use sample::{Sample, Seen};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// How soon a key is noticed, and news shown.
const TICK: Duration = Duration::from_millis(100);
/// What `--once` draws on.
const PAPER: (u16, u16) = (100, 34);

/// The arguments.
#[derive(clap::Args, Debug)]
pub(super) struct Top {
    /// Print one look as text, and end.
    #[arg(long)]
    once: bool,
}

pub(super) fn run(config: &Config, args: &Top) -> Result<(), Failure> {
    if args.once {
        return once(config);
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::new(exit::USAGE, "this is no terminal: `ravenry top --once` prints one look"));
    }
    // Told in words, and not on a screen, when nobody is there in the first place.
    let first = Sample::take(config)?;
    let looks = looking(config.clone(), first);
    let mut terminal = ratatui::init();
    let ended = watch(&mut terminal, &looks);
    ratatui::restore();
    ended.map_err(|error| Failure::new(exit::IO, error))
}

/// Two looks, a second apart: rates need both.
fn once(config: &Config) -> Result<(), Failure> {
    let first = Sample::take(config)?;
    std::thread::sleep(EVERY);
    let seen = Seen::between(Some(&first), Sample::take(config)?);
    let failed = |error: &dyn std::fmt::Display| Failure::new(exit::SOFTWARE, error);
    let mut paper = Terminal::new(TestBackend::new(PAPER.0, PAPER.1)).map_err(|error| failed(&error))?;
    paper.draw(|frame| screen::draw(frame, &Ok(seen), false)).map_err(|error| failed(&error))?;
    println!("{}", screen::text(paper.backend().buffer()));
    Ok(())
}

/// Looks from a thread of its own, so that a Ravenry that does not answer keeps nobody from quitting.
fn looking(config: Config, first: Sample) -> Receiver<Result<Seen, String>> {
    let (tell, looks) = mpsc::channel();
    std::thread::spawn(move || {
        let mut last = None;
        let mut next = Ok(first);
        loop {
            let seen = next.map(|sample: Sample| {
                let seen = Seen::between(last.as_ref(), sample.clone());
                last = Some(sample);
                seen
            });
            if tell.send(seen.map_err(|failure: Failure| failure.text)).is_err() {
                return;
            }
            std::thread::sleep(EVERY);
            next = Sample::take(&config);
        }
    });
    looks
}

fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    looks: &Receiver<Result<Seen, String>>,
) -> std::io::Result<()> {
    let colours = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let mut shown: Option<Result<Seen, String>> = None;
    let mut drawn = Instant::now();
    loop {
        match looks.recv_timeout(if shown.is_none() { TICK } else { Duration::ZERO }) {
            Ok(look) => shown = Some(look),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(std::io::Error::other("looking on has ended")),
        }
        if let Some(look) = &shown {
            terminal.draw(|frame| screen::draw(frame, look, colours))?;
            drawn = Instant::now();
        }
        if event::poll(TICK.saturating_sub(drawn.elapsed()))? && quits(&event::read()?) {
            return Ok(());
        }
    }
}

fn quits(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || interrupted)
}
