//! `ravenry user`

use std::io::Read as _;

use clap::Subcommand;

use super::{Failure, exit};
use crate::config::Config;
use crate::net::users::add_user;

/// A longer password is a mistake.
const MAX_PASSWORD: u64 = 4096;

#[derive(Subcommand, Debug)]
pub(super) enum UserCommand {
    /// Add a user, or change its password; the password is read from standard input.
    Add {
        /// The `mupdate_authname` of frontends and backends.
        name: String,
    },
}

pub(super) fn run(config: &Config, command: UserCommand) -> Result<(), Failure> {
    let UserCommand::Add { name } = command;
    let mut password = String::new();
    std::io::stdin()
        .take(MAX_PASSWORD)
        .read_to_string(&mut password)
        .map_err(|error| Failure::new(exit::USAGE, format!("the password cannot be read: {error}")))?;
    let password = password.trim_end_matches(['\r', '\n']);
    add_user(&config.mupdate.users_file, &name, password)
        .map_err(|error| Failure::new(exit::CONFIG, error))?;
    println!("{name} may log in; a running Ravenry learns it when it is restarted");
    Ok(())
}
