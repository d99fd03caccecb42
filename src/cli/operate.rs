//! `ravenry stand-in`, `ravenry follow`

use super::{Failure, exit};
use crate::admin::{Ask, client};
use crate::config::Config;

pub(super) fn run(config: &Config, ask: Ask) -> Result<(), Failure> {
    client::ask(&config.admin.socket, ask).map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    println!(
        "{}",
        match ask {
            Ask::StandIn => "standing in until `ravenry follow`",
            Ask::Follow => "the master is asked for its list; see `ravenry status`",
            Ask::Status => "",
        }
    );
    Ok(())
}
