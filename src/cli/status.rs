//! `ravenry status`

use super::{Failure, exit};
use crate::admin::status::Status;
use crate::admin::{Ask, client};
use crate::config::Config;

pub(super) fn run(config: &Config, json: bool) -> Result<(), Failure> {
    let answer = client::ask(&config.admin.socket, Ask::Status)
        .map_err(|error| Failure::new(exit::UNAVAILABLE, error))?;
    if json {
        println!("{answer:#}");
        return Ok(());
    }
    let status: Status = serde_json::from_value(answer).map_err(|error| {
        Failure::new(exit::SOFTWARE, format!("the running Ravenry is another release: {error}"))
    })?;
    print!("{status}");
    Ok(())
}
