//! Logs: one line per event, to standard error.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The environment variable that says what is logged, such as `info,ravenry::mupdate=debug`.
pub const FILTER: &str = "RAVENRY_LOG";

static CURRENT: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Whether a filter can be understood.
pub fn check(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// Starts logging what the configuration's filter says, or the environment's where there is one. Colours only where a
/// person watches.
pub fn start(filter: &str) {
    let filter = EnvFilter::try_from_env(FILTER).or_else(|_| EnvFilter::try_new(filter));
    let (filter, handle) = reload::Layer::new(filter.unwrap_or_else(|_| EnvFilter::new("info")));
    let colours = std::io::stderr().is_terminal();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false);
    // A second start, as in tests, changes nothing.
    if tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = CURRENT.set(handle);
    }
}

/// From now on logs what this filter says, unless the environment has one.
pub fn change(filter: &str) {
    if EnvFilter::try_from_env(FILTER).is_ok() {
        return;
    }
    let changed = EnvFilter::try_new(filter).ok().zip(CURRENT.get()).map(|(filter, log)| log.reload(filter));
    if let Some(Err(error)) = changed {
        tracing::error!(%error, "the log stays as it was");
    }
}
