//! `ravenry backup`

use std::path::Path;

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::{Ask, Copied};
use crate::config::Config;

pub(super) fn run(config: &Config, file: &Path, manner: Manner) -> Result<(), Failure> {
    let path = std::path::absolute(file).map_err(|error| Failure::new(exit::USAGE, error))?;
    let talk = Talk::new(config, manner);
    let copied: Copied = talk.ask(&Ask::Backup { path })?;
    talk.tell(&copied, || format!("{}: {} names", copied.path.display(), copied.entries));
    Ok(())
}
