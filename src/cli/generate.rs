//! `ravenry generate`: what is made from the program itself.

use std::io::Write as _;

use clap::Subcommand;

use super::{Failure, exit};
use crate::telemetry::reference;

#[derive(Subcommand, Debug)]
pub(super) enum What {
    /// docs/metrics.md
    Metrics,
}

pub(super) fn run(what: &What) -> Result<(), Failure> {
    let text = match what {
        What::Metrics => reference::document(),
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(exit::IO, error))
}
