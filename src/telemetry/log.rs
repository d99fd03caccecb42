//! Logs: one line per event, to standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// The environment variable that says what is logged, such as `info,ravenry::mupdate=debug`.
pub const FILTER: &str = "RAVENRY_LOG";

/// Starts logging. Colours only where a person watches.
pub fn start() {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    // A second start, as in tests, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .try_init();
}
