//! `ravenry frontend`

use clap::Subcommand;

use super::{Failure, operate};
use crate::admin::{Ask, FrontendAsk};
use crate::config::Config;

#[derive(Subcommand, Debug)]
pub(super) enum FrontendCommand {
    /// Deliver no more mail through a frontend: before its maintenance. What is under way ends as it would.
    Drain {
        /// As in `lmtp.frontends`.
        address: String,
    },
    /// Deliver through it again.
    Resume {
        /// As in `lmtp.frontends`.
        address: String,
    },
}

pub(super) fn run(config: &Config, command: FrontendCommand) -> Result<(), Failure> {
    match command {
        FrontendCommand::Drain { address } => {
            let done = format!("{address} gets no mail until `ravenry frontend resume {address}`");
            operate::run(config, &Ask::Frontend(FrontendAsk::Drain { address }), &done)
        }
        FrontendCommand::Resume { address } => {
            let done = format!("{address} gets mail again");
            operate::run(config, &Ask::Frontend(FrontendAsk::Resume { address }), &done)
        }
    }
}
