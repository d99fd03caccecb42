//! `ravenry stand-in`, `ravenry follow`

use serde_json::Value;

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::Ask;
use crate::config::Config;

pub(super) fn run(config: &Config, ask: &Ask, done: &str) -> Result<(), Failure> {
    Talk::new(config, Manner { json: false, yes: true }).ask::<Value>(ask)?;
    println!("{done}");
    Ok(())
}
