//! How many descriptors the process may have, and that no core is dumped of it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, Finding, PACKAGED, Severity};

/// Takes as many descriptors as the system allows.
pub(super) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, "the limit of descriptors cannot be raised");
    }
}

/// Says when the system allows too few descriptors for what is configured, and lets only so many mail clients in that the
/// murder and the MTA have theirs: what is out of descriptors lets nobody in, not even a frontend.
pub(super) fn fit(config: Config) -> Config {
    within(config, getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}

fn within(mut config: Config, allowed: u64) -> Config {
    let all = config.descriptors();
    let Some((_, why)) = all.beyond(allowed) else { return config };
    let wanted = all.all();
    tracing::warn!(allowed, wanted, "{why}: raise LimitNOFILE, or lower what is configured");
    let sessions = all.sessions_within(allowed);
    if let Some(imap) = config.imap.as_mut().filter(|imap| imap.max_sessions > sessions) {
        tracing::warn!(configured = imap.max_sessions, sessions, "mail clients: as many sessions as fit");
        imap.max_sessions = sessions;
    }
    config
}

/// What the packaged unit would have to allow. Whoever checks has another limit than the service will have.
pub(super) fn finding(config: &Config) -> Option<Finding> {
    let all = config.descriptors();
    let (key, why) = all.beyond(PACKAGED)?;
    let text = format!(
        "{why}, and the packaged unit allows {PACKAGED}: lower this, or have `LimitNOFILE={}` in `systemctl edit \
         ravenry.service`",
        all.all().next_multiple_of(1024)
    );
    Some(Finding { severity: Severity::Warning, key, text })
}

/// Passwords are in memory: our own, and those that clients are just saying. One byte is less than any core, and unlike
/// none at all it also keeps Linux from handing one to a program (core(5): a pipe is otherwise not limited). Whoever needs
/// a core of a process all the same may allow it (`prlimit --core=unlimited --pid`), so the upper limit stays.
pub(super) fn keep_no_core() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let current = Some(maximum.map_or(1, |most| most.min(1)));
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current, maximum }) {
        tracing::warn!(%error, "cores cannot be switched off");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn only_mail_clients_are_let_in_less() {
        let config = || Config::parse(include_str!("../../ravenry.example.toml"), Path::new("x")).unwrap();
        let sessions = |config: Config| config.imap.unwrap().max_sessions;
        assert_eq!(sessions(within(config(), PACKAGED)), 50_000);
        let lowered = within(config(), 65_536);
        assert_eq!(lowered.mupdate.max_connections, 10_000);
        assert!((20_000..32_000).contains(&sessions(lowered)));
    }
}
