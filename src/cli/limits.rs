//! How many descriptors the process may have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// The list, the journal, the control socket, connections to the master, and some more.
const OTHERS: u64 = 256;

/// Takes as many descriptors as the system allows, and says so when they do not suffice for the connections that
/// the configuration allows.
pub(super) fn raise(config: &Config) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
    }
    let connections = config.mupdate.max_connections.saturating_add(config.mupdate.max_unauthenticated);
    let wanted = OTHERS.saturating_add(connections as u64);
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if allowed < wanted {
        tracing::warn!(allowed, wanted, "fewer descriptors than connections: raise LimitNOFILE");
    }
}
