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
        /// The `mupdate_authname` of frontends and backends; with --lmtp, who the MTA says it is.
        name: String,
        /// For the face to the MTA (`lmtp.users_file`) rather than the murder's (`mupdate.users_file`).
        #[arg(long)]
        lmtp: bool,
    },
}

pub(super) fn run(config: &Config, command: UserCommand) -> Result<(), Failure> {
    let UserCommand::Add { name, lmtp } = command;
    let file = match (lmtp, &config.lmtp) {
        (false, _) => Some(&config.mupdate.users_file),
        (true, lmtp) => lmtp.as_ref().and_then(|lmtp| lmtp.users_file.as_ref()),
    };
    let file = file.ok_or_else(|| Failure::new(exit::CONFIG, "lmtp.users_file names no file"))?;
    let mut password = String::new();
    std::io::stdin()
        .take(MAX_PASSWORD)
        .read_to_string(&mut password)
        .map_err(|error| Failure::new(exit::USAGE, format!("the password cannot be read: {error}")))?;
    let password = password.trim_end_matches(['\r', '\n']);
    add_user(file, &name, password).map_err(|error| Failure::new(exit::CONFIG, error))?;
    println!("{name} may log in; a running Ravenry learns it on SIGHUP, or when it is restarted");
    Ok(())
}
