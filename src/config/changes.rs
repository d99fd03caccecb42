//! What of a configuration that is read again can be in force at once.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

/// Keys that a running Ravenry takes over: for who connects from now on, and for where mail and sessions go next. All
/// others are part of what it was started with. Not who may log in without TLS: a certificate that is new needs a restart,
/// and until then nobody could log in.
const LIVE: &[&str] = &[
    "log",
    "mupdate.frontends",
    "mupdate.login_timeout",
    "mupdate.write_stall",
    "lmtp.frontends",
    "lmtp.trusted",
    "lmtp.defer",
    "lmtp.max_message",
    "lmtp.max_recipients",
    "lmtp.command_timeout",
    "lmtp.data_timeout",
    "imap.frontends",
    "imap.balancers",
    "imap.login_timeout",
    "imap.idle_timeout",
    "imap.drain",
    "imap.max_per_client",
];

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
        let (live, restart) = differing.partition(|key| LIVE.contains(&key.as_str()));
        Changes { live, restart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_told_apart_by_when_it_counts() {
        let old = Keys::of(
            "state_dir = \"/a\"\n[lmtp]\nlisten = [\"x\"]\nmax_recipients = 1\n[imap]\ndrain = \"1s\"\n",
        );
        let new = Keys::of(
            "state_dir = \"/a\"\nlog = \"debug\"\n[lmtp]\nlisten = [\"y\"]\nmax_recipients = 2\n[lmtp.names]\npostuser = \"p\"\n",
        );
        let Changes { live, restart } = old.changes(&new);
        assert_eq!(live, ["imap.drain", "lmtp.max_recipients", "log"]);
        assert_eq!(restart, ["lmtp.listen", "lmtp.names.postuser"]);
        assert_eq!(new.changes(&new), Changes::default());
    }

    /// A key that was renamed would silently need a restart.
    #[test]
    fn every_live_key_is_in_the_example() {
        let example = include_str!("../../ravenry.example.toml");
        let shown = example.lines().fold((String::new(), BTreeSet::new()), |(section, mut all), line| {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
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
