//! How many descriptors what is configured can take.

use super::{Config, Imap, Lmtp};

/// What the packaged unit allows (`LimitNOFILE=`).
pub const PACKAGED: u64 = 262_144;

/// The list, the journal and the queue on disk, the control socket, the status page, backends that are asked, the
/// runtime's own.
const OTHERS: u64 = 512;
/// A mail client's, and the one to its frontend.
const OF_A_SESSION: u64 = 2;
/// An MTA's, and the file of a long message while it comes in.
const OF_A_DELIVERY: u64 = 2;
/// The file of a queued message, and the connection over which it goes to the submission host.
const OF_AN_ATTEMPT: u64 = 2;

/// How many each face can take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptors {
    mupdate: u64,
    lmtp: u64,
    imap: u64,
    others: u64,
}

impl Config {
    /// How many descriptors what is configured can take.
    pub fn descriptors(&self) -> Descriptors {
        let mupdate = count(self.mupdate.max_connections)
            .saturating_add(count(self.mupdate.max_unauthenticated))
            .saturating_add(count(self.master.connections))
            .saturating_add(count(self.slaves().len()));
        let attempts = count(self.spool.concurrency).saturating_mul(OF_AN_ATTEMPT);
        Descriptors {
            mupdate,
            lmtp: self.lmtp.as_ref().map_or(0, |lmtp| lmtp.descriptors().saturating_add(attempts)),
            imap: self.imap.as_ref().map_or(0, Imap::descriptors),
            others: OTHERS,
        }
    }
}

impl Imap {
    fn descriptors(&self) -> u64 {
        count(self.max_sessions).saturating_mul(OF_A_SESSION).saturating_add(count(self.frontends.len()))
    }
}

impl Lmtp {
    fn descriptors(&self) -> u64 {
        let upstream = count(self.upstream.connections).saturating_mul(count(self.frontends.len()));
        count(self.max_connections).saturating_mul(OF_A_DELIVERY).saturating_add(upstream)
    }
}

impl Descriptors {
    /// All of them together.
    pub fn all(self) -> u64 {
        self.without_mail_clients().saturating_add(self.imap)
    }

    fn without_mail_clients(self) -> u64 {
        self.mupdate.saturating_add(self.lmtp).saturating_add(self.others)
    }

    /// How many mail clients' sessions leave the murder and the MTA what those may take; or, where that is most of what
    /// is allowed, an eighth of it: the limits of connections are far above what a murder uses.
    pub fn sessions_within(self, allowed: u64) -> usize {
        let kept = self.without_mail_clients().min(allowed / 8);
        usize::try_from((allowed - kept) / OF_A_SESSION).unwrap_or(usize::MAX)
    }

    /// The key of those that take the most, and who takes how many, where all of them are more than `allowed`.
    pub fn beyond(self, allowed: u64) -> Option<(&'static str, String)> {
        let all = self.all();
        if all <= allowed {
            return None;
        }
        let by_key = [
            ("imap.max_sessions", self.imap),
            ("lmtp.max_connections", self.lmtp),
            ("mupdate.max_connections", self.mupdate),
        ];
        let most =
            by_key.into_iter().max_by_key(|(_, count)| *count).map_or("imap.max_sessions", |(key, _)| key);
        let Self { mupdate, lmtp, imap, others } = self;
        let who = format!("[mupdate] {mupdate}, [lmtp] {lmtp}, [imap] {imap}, others {others}");
        Some((most, format!("{all} descriptors may be needed ({who})")))
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn example(change: impl FnOnce(&mut Config)) -> Descriptors {
        let example = include_str!("../../ravenry.example.toml");
        let mut config = Config::parse(example, Path::new("ravenry.toml")).unwrap();
        change(&mut config);
        config.descriptors()
    }

    /// Every default at once, as the example has them.
    #[test]
    fn the_defaults_fit_what_is_packaged() {
        let all = example(|_| {});
        assert_eq!(all.beyond(PACKAGED), None);
        assert_eq!(all.imap, 2 * 50_000 + 1, "a client and its frontend");
        assert!(all.all() > 65_536, "{all:?}");
        let unit = include_str!("../../packaging/systemd/ravenry.service");
        assert!(unit.contains(&format!("\nLimitNOFILE={PACKAGED}\n")));
    }

    #[test]
    fn what_does_not_fit_says_whose_it_is() {
        let (key, why) =
            example(|config| config.imap.as_mut().unwrap().max_sessions = 200_000).beyond(PACKAGED).unwrap();
        assert_eq!(key, "imap.max_sessions");
        assert!(why.contains("[imap] 400001,"), "{why}");
        let many = example(|config| config.mupdate.max_connections = usize::MAX);
        assert_eq!(many.beyond(PACKAGED).unwrap().0, "mupdate.max_connections");
    }

    #[test]
    fn mail_clients_leave_the_murder_and_the_mta_theirs() {
        let all = example(|_| {});
        assert!(all.sessions_within(PACKAGED) > 100_000);
        assert_eq!(all.sessions_within(65_536), (65_536 - 8_192) / 2);
        assert_eq!(all.sessions_within(1024), 448, "too few for anybody");
        assert_eq!(all.sessions_within(0), 0);
    }
}
