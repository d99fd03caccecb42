//! What of a configuration that is read again can be in force at once.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// Keys that a running Ravenry takes over: for who connects from now on, for where mail and sessions go next, for what is
/// decided next. All others are part of what it was started with. Not who may log in without TLS: a certificate that is new
/// needs a restart, and until then nobody could log in. `backends.addresses` stands for all that are in it.
const LIVE: &[&str] = &[
    "log",
    "mupdate.frontends",
    "mupdate.login_timeout",
    "mupdate.failed_login_delay",
    "mupdate.write_stall",
    "mupdate.max_connections",
    "mupdate.max_unauthenticated",
    "master.user",
    "master.password_file",
    "master.tls_ca_file",
    "master.deadline",
    "master.short_deadline",
    "guard.share",
    "guard.at_least",
    "guard.at_most",
    "guard.burst",
    "replay.concurrency",
    "replay.rate",
    "replay.postpone",
    "lmtp.frontends",
    "lmtp.trusted",
    "lmtp.defer",
    "lmtp.max_message",
    "lmtp.max_recipients",
    "lmtp.max_connections",
    "lmtp.command_timeout",
    "lmtp.data_timeout",
    "lmtp.upstream.user",
    "lmtp.upstream.password_file",
    "lmtp.upstream.tls_ca_file",
    "lmtp.upstream.connect_timeout",
    "lmtp.upstream.reply_timeout",
    "lmtp.upstream.delivery_timeout",
    "lmtp.upstream.idle",
    "lmtp.upstream.probe",
    "spool.submission_user",
    "spool.submission_password_file",
    "spool.submission_tls_ca_file",
    "spool.report_from",
    "spool.expiry",
    "spool.retry_min",
    "spool.retry_max",
    "spool.per_backend",
    "spool.concurrency",
    "spool.min_free",
    "spool.min_free_inodes",
    "spool.max_messages",
    "imap.frontends",
    "imap.balancers",
    "imap.login_timeout",
    "imap.idle_timeout",
    "imap.drain",
    "imap.check_every",
    "imap.frontend_silence",
    "imap.max_sessions",
    "imap.mark_unavailable",
    "imap.max_per_client",
    "backends.user",
    "backends.password_file",
    "backends.tls",
    "backends.tls_ca_file",
    "backends.addresses",
    "backends.deadline",
    "backends.ghosts_per_day",
    "backends.reservations",
];

/// Sections that a configuration can be without. What begins or ends with one of them needs a restart, whatever is in it.
const FACES: &[&str] = &["lmtp", "imap", "backends"];

/// The keys of a file with their values: `lmtp.upstream.user`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Keys(BTreeMap<String, Value>);

/// Keys that differ.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Of them, those that can be in force at once.
    pub live: Vec<String>,
    /// Of them, those that need a restart.
    pub restart: Vec<String>,
}

impl Keys {
    /// The keys of a file; none of one that is no TOML.
    pub fn of(text: &str) -> Self {
        let mut keys = Self::default();
        keys.take(&text.parse::<Table>().unwrap_or_default(), "");
        keys
    }

    fn take(&mut self, table: &Table, above: &str) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => self.take(inner, &format!("{above}{key}.")),
                value => drop(self.0.insert(format!("{above}{key}"), value.clone())),
            }
        }
    }

    /// What is different in another file.
    pub fn changes(&self, to: &Self) -> Changes {
        let all: BTreeSet<&String> = self.0.keys().chain(to.0.keys()).collect();
        let differing = all.into_iter().filter(|key| self.0.get(*key) != to.0.get(*key)).cloned();
        let (live, restart) =
            differing.partition(|key| is_live(key) && self.has_face_of(key) == to.has_face_of(key));
        Changes { live, restart }
    }

    fn has_face_of(&self, key: &str) -> bool {
        let face = key.split_once('.').map_or(key, |(face, _)| face);
        !FACES.contains(&face) || self.0.keys().any(|other| other.starts_with(&format!("{face}.")))
    }
}

fn is_live(key: &str) -> bool {
    let above = key.match_indices('.').filter_map(|(at, _)| key.get(..at));
    above.chain([key]).any(|key| LIVE.contains(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_apart_by_when_it_counts() {
        let old = Keys::of(
            "state_dir = \"/a\"\n[lmtp]\nlisten = [\"x\"]\nmax_recipients = 1\n[imap]\nlisten = [\"x\"]\ndrain = \"1s\"\n",
        );
        let new = Keys::of(
            "state_dir = \"/a\"\nlog = \"debug\"\n[lmtp]\nlisten = [\"y\"]\nmax_recipients = 2\n[lmtp.names]\npostuser = \"p\"\n[imap]\nlisten = [\"x\"]\n",
        );
        let Changes { live, restart } = old.changes(&new);
        assert_eq!(live, ["imap.drain", "lmtp.max_recipients", "log"]);
        assert_eq!(restart, ["lmtp.listen", "lmtp.names.postuser"]);
        assert_eq!(new.changes(&new), Changes::default());
    }

    #[test]
    fn a_face_that_is_new_or_gone_needs_a_restart_whole() {
        let old = Keys::of("[guard]\nshare = 0.1\n[imap]\ndrain = \"1s\"\n");
        let new = Keys::of("[backends]\nuser = \"a\"\n[backends.addresses]\n\"be1.test\" = \"be1:143\"\n");
        let Changes { live, restart } = old.changes(&new);
        assert_eq!(live, ["guard.share"], "a section that has defaults is always there");
        assert_eq!(restart, ["backends.addresses.be1.test", "backends.user", "imap.drain"]);
        let Changes { live, .. } = new.changes(&Keys::of("[backends]\nuser = \"b\"\n"));
        assert_eq!(live, ["backends.addresses.be1.test", "backends.user"]);
    }

    /// A key that was renamed would silently need a restart.
    #[test]
    fn every_live_key_is_in_the_example() {
        let example = include_str!("../../ravenry.example.toml");
        let shown = example.lines().fold((String::new(), BTreeSet::new()), |(section, mut all), line| {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                all.insert(name.to_owned());
                return (format!("{name}."), all);
            }
            if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
                all.insert(format!("{section}{key}"));
            }
            (section, all)
        });
        let documented = include_str!("../../docs/service.md");
        for key in LIVE {
            assert!(shown.1.contains(*key), "{key}");
            assert!(documented.contains(&format!("`{key}`")), "{key}");
        }
    }
}
