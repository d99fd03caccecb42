//! `ravenry stand-in`, `ravenry follow`, `ravenry reload`, `ravenry health`

use serde_json::Value;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::{Ask, Reloaded};
use crate::config::{Admin, Config};

pub(super) fn run(config: &Config, ask: &Ask, done: &str) -> Result<(), Failure> {
    Talk::new(config, Manner { json: false, yes: true }).ask::<Value>(ask)?;
    println!("{done}");
    Ok(())
}

/// Where the file cannot be read any more, the control socket is looked for in its usual place.
pub(super) fn reload(config: Result<Config, Failure>) -> Result<(), Failure> {
    let (socket, wrong) = match config {
        Ok(config) => (config.admin.socket, None),
        Err(wrong) => (Admin::default().socket, Some(wrong)),
    };
    let talk = Talk::at(&socket, Manner { json: false, yes: true });
    let asked = talk.ask(&Ask::Reload);
    let Reloaded { changed, restart } = asked.map_err(|failure| wrong.unwrap_or(failure))?;
    println!("read again: the configuration, users, passwords, certificates");
    if !changed.is_empty() {
        println!("in force from now on: {}", changed.join(", "));
    }
    if !restart.is_empty() {
        println!("in force after a restart: {}", restart.join(", "));
    }
    Ok(())
}

pub(super) fn health(config: &Config, ready: bool) -> Result<(), Failure> {
    let manner = Manner { json: false, yes: true };
    println!("{}", Talk::new(config, manner).ask::<String>(&Ask::Health { ready })?);
    Ok(())
}
