//! What the commands that speak with a running Ravenry have in common: progress on standard error, a question
//! before something is changed, one form of failure.

use std::io::{BufRead as _, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Failure, exit};
use crate::admin::client::{self, AskError, Heard};
use crate::admin::{Ask, Progress};
use crate::config::Config;

/// How often progress is told where nobody watches a terminal.
const SELDOM: Duration = Duration::from_secs(5);

/// How a command speaks.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Answer in JSON, for scripts.
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Do not ask before something is changed.
    #[arg(long, short, global = true)]
    pub(super) yes: bool,
}

/// A conversation with the running Ravenry.
pub(super) struct Talk<'a> {
    socket: &'a Path,
    manner: Manner,
}

impl<'a> Talk<'a> {
    pub(super) fn new(config: &'a Config, manner: Manner) -> Self {
        Self::at(&config.admin.socket, manner)
    }

    /// With the one that answers at a control socket.
    pub(super) fn at(socket: &'a Path, manner: Manner) -> Self {
        Self { socket, manner }
    }

    /// Whether the answer is wanted in JSON.
    pub(super) fn json(&self) -> bool {
        self.manner.json
    }

    /// Whether questions were answered beforehand.
    pub(super) fn yes(&self) -> bool {
        self.manner.yes
    }

    /// Asks for something that comes in one piece.
    pub(super) fn ask<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, Failure> {
        self.items(ask, |_: Value| Ok(()))
    }

    /// Asks for something that comes item by item, with an answer at the end.
    pub(super) fn items<I: DeserializeOwned, T: DeserializeOwned>(
        &self,
        ask: &Ask,
        item: impl FnMut(I) -> std::io::Result<()>,
    ) -> Result<T, Failure> {
        self.upload(ask, std::io::empty(), item)
    }

    /// As [`Self::items`], printing each item: as a line of JSON, or in words. Answers with their number, too.
    pub(super) fn print_each<I: DeserializeOwned + Serialize, T: DeserializeOwned>(
        &self,
        ask: &Ask,
        in_words: impl Fn(&I) -> String,
    ) -> Result<(u64, T), Failure> {
        let mut count = 0;
        let answer = self.items(ask, |item: I| {
            count += 1;
            if self.json() {
                println!("{}", serde_json::to_string(&item)?);
            } else {
                println!("{}", in_words(&item));
            }
            Ok(())
        })?;
        Ok((count, answer))
    }

    /// As [`Self::items`], with the bytes that belong to the request.
    pub(super) fn upload<I: DeserializeOwned, T: DeserializeOwned>(
        &self,
        ask: &Ask,
        bytes: impl Read + Send,
        mut item: impl FnMut(I) -> std::io::Result<()>,
    ) -> Result<T, Failure> {
        let mut meter = Meter::default();
        let answer = client::converse(self.socket, ask, bytes, &mut |heard| match heard {
            Heard::Progress(progress) => {
                meter.show(&progress);
                Ok(())
            }
            Heard::Notice(text) => {
                meter.clear();
                eprintln!("{text}");
                Ok(())
            }
            Heard::Item(value) => {
                meter.clear();
                item(serde_json::from_value(value)?)
            }
        });
        meter.clear();
        let answer = answer.map_err(|error| match error {
            AskError::NotRunning { .. } | AskError::Refused(_) => Failure::new(exit::UNAVAILABLE, error),
            AskError::Garbled(_) | AskError::Output(_) => Failure::new(exit::SOFTWARE, error),
        })?;
        serde_json::from_value(answer).map_err(|error| {
            Failure::new(exit::SOFTWARE, format!("the running Ravenry is another release: {error}"))
        })
    }

    /// Prints an answer: as JSON, or in the words that `plainly` finds.
    pub(super) fn tell(&self, answer: &impl Serialize, plainly: impl FnOnce() -> String) {
        match serde_json::to_string_pretty(answer) {
            Ok(text) if self.manner.json => println!("{text}"),
            _ => println!("{}", plainly()),
        }
    }

    /// Asks whether to go on, unless that was said beforehand.
    pub(super) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.manner.yes {
            return Ok(());
        }
        match hear(&format!("{question} [y/N] "))?.as_str() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::new(exit::NO_PERMISSION, "nothing was changed")),
        }
    }

    /// Asks for a number that only somebody who has read what would happen can know. Where nobody can be asked,
    /// it has to be said on the command line: `--yes` is not enough.
    pub(super) fn confirm_number(&self, question: &str, number: u64) -> Result<(), Failure> {
        if hear(&format!("{question} "))?.parse() == Ok(number) {
            return Ok(());
        }
        Err(Failure::new(exit::NO_PERMISSION, format!("the number is {number}; nothing was changed")))
    }
}

/// Asks a person; where there is none, that is a refusal.
fn hear(question: &str) -> Result<String, Failure> {
    if !std::io::stdin().is_terminal() {
        let why = "nobody is here to ask: say so on the command line (see --help); nothing was changed";
        return Err(Failure::new(exit::NO_PERMISSION, why));
    }
    eprint!("{question}");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let heard = std::io::stdin().lock().take(1024).read_line(&mut answer);
    heard.map_err(|error| Failure::new(exit::NO_PERMISSION, error))?;
    Ok(answer.trim().to_owned())
}

/// Shows progress: on a terminal in place, elsewhere now and then.
#[derive(Default)]
struct Meter {
    shown: Option<Instant>,
    width: usize,
}

impl Meter {
    fn show(&mut self, progress: &Progress) {
        let Progress { what, done, of } = progress;
        let text = match of {
            Some(of) => format!("{done} of {of} {what}"),
            None => format!("{done} {what}"),
        };
        if std::io::stderr().is_terminal() {
            eprint!("\r{text:<width$}", width = self.width);
            self.width = text.chars().count();
            self.shown = Some(Instant::now());
        } else if self.shown.is_none_or(|shown| shown.elapsed() >= SELDOM) {
            eprintln!("{text}");
            self.shown = Some(Instant::now());
        }
    }

    /// Gives the line back that progress was shown on.
    fn clear(&mut self) {
        if self.width > 0 {
            eprint!("\r{:width$}\r", "", width = self.width);
            self.width = 0;
        }
    }
}
