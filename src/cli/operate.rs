//! `ravenry stand-in`, `ravenry follow`, `ravenry reload`

use serde_json::Value;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::{Ask, Reloaded};
use crate::config::Config;

pub(super) fn run(config: &Config, ask: &Ask, done: &str) -> Result<(), Failure> {
    Talk::new(config, Manner { json: false, yes: true }).ask::<Value>(ask)?;
    println!("{done}");
    Ok(())
}

pub(super) fn reload(config: &Config) -> Result<(), Failure> {
    let Reloaded { changed, restart } =
        Talk::new(config, Manner { json: false, yes: true }).ask(&Ask::Reload)?;
    println!("read again: the configuration, the users, the certificates");
    if !changed.is_empty() {
        println!("in force from now on: {}", changed.join(", "));
    }
    if !restart.is_empty() {
        println!("in force after a restart: {}", restart.join(", "));
    }
    Ok(())
}
