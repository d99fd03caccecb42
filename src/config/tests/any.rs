//! What holds of any text whatsoever as a configuration file. Shared with the fuzz target `config`: `config` is this
//! crate's module for the one and the library's for the other.

use std::path::Path;

use super::config::{Config, ConfigError};

/// What is refused is refused at a place that is there, in one line.
pub(crate) fn check(text: &str) {
    let Err(error) = Config::parse(text, Path::new("ravenry.toml")) else { return };
    let ConfigError::Malformed { line, column, ref why, .. } = error else {
        panic!("nothing is read but the text: {error}");
    };
    let of = text.split('\n').nth(line - 1).map(|line| line.chars().count());
    assert!(of.is_some_and(|length| (1..=length + 1).contains(&column)), "{line}:{column}: {why}");
    assert!(!why.is_empty() && !error.to_string().trim_end().contains('\n'), "{error}");
}
