//! `ravenry generate`: what is made from the program itself.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{CommandFactory as _, Subcommand, ValueEnum};
use clap_complete::Shell as Completing;

use super::examples::with_examples;
use super::{Failure, Line, exit, manual, reference};
use crate::telemetry;

#[derive(Subcommand, Debug)]
pub(super) enum What {
    /// The reference of the metrics: docs/metrics.md
    Metrics,
    /// The reference of the configuration: docs/reference.md
    Configuration,
    /// Completions for a shell, to standard output.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Man pages: man1, man5 and man8 below a directory.
    Man {
        /// The directory.
        directory: PathBuf,
    },
}

/// The shells that completions are tested in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(what: &What) -> Result<(), Failure> {
    let text = match what {
        What::Metrics => telemetry::reference::document().into_bytes(),
        What::Configuration => reference::document().into_bytes(),
        What::Completions { shell } => completions(*shell),
        What::Man { directory } => return manual::write(directory),
    };
    std::io::stdout().write_all(&text).map_err(|error| Failure::new(exit::IO, error))
}

fn completions(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => Completing::Bash,
        Shell::Zsh => Completing::Zsh,
        Shell::Fish => Completing::Fish,
    };
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut with_examples(Line::command()), "ravenry", &mut text);
    text
}
