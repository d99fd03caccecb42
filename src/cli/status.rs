//! `ravenry status`

use super::Failure;
use super::talk::{Manner, Talk};
use crate::admin::Ask;
use crate::admin::status::Status;
use crate::config::Config;

pub(super) fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let talk = Talk::new(config, Manner { json, yes: false });
    if json {
        // As it came: a newer Ravenry may say more than we know of.
        let answer: serde_json::Value = talk.ask(&Ask::Status)?;
        println!("{answer:#}");
        return Ok(());
    }
    let status: Status = talk.ask(&Ask::Status)?;
    print!("{status}");
    Ok(())
}
