//! `ravenry frontend`

use clap::Subcommand;

use super::{Failure, operate};
use crate::admin::{Ask, FrontendAsk};
use crate::config::Config;

#[derive(Subcommand, Debug)]
pub(super) enum FrontendCommand {
    /// Use a frontend no more, before its maintenance. Deliveries end as they would; mail clients are asked, between
    /// two commands, to connect again.
    Drain {
        /// As in `lmtp.frontends` or `imap.frontends`.
        address: String,
    },
    /// Use it again.
    Resume {
        /// As in `lmtp.frontends` or `imap.frontends`.
        address: String,
    },
}

pub(super) fn run(config: &Config, command: FrontendCommand) -> Result<(), Failure> {
    match command {
        FrontendCommand::Drain { address } => {
            let done = format!("{address} is not used until `ravenry frontend resume {address}`");
            operate::run(config, &Ask::Frontend(FrontendAsk::Drain { address }), &done)
        }
        FrontendCommand::Resume { address } => {
            let done = format!("{address} is used again");
            operate::run(config, &Ask::Frontend(FrontendAsk::Resume { address }), &done)
        }
    }
}
