//! The order in which Cyrus keeps and streams its list.
//!
//! A slave and `ctl_mboxlist -m` merge two sorted lists, so a list sent in another order than their own
//! makes them delete what they should keep. Up to 3.4 the database key is the name itself. From 3.6 it is
//! the name with `.` as 0x1F, `^` as `.` and `!` as 0x1D, so that a mailbox's children directly follow it.

use std::cmp::Ordering;

use super::{MailboxName, NameError};

/// Which database key a Cyrus release sorts by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Order {
    /// Cyrus up to 3.4: the bytes of the name.
    Raw,
    /// Cyrus from 3.6: hierarchy separators sort before every other byte.
    #[default]
    DatabaseKey,
}

impl Order {
    /// The order used by the release that a MUPDATE banner names, such as `3.6.1-Debian-3.6.1-4+deb12u5`.
    /// `None` when the version cannot be read.
    pub fn of_version(version: &str) -> Option<Self> {
        let mut parts = version.split(|c: char| !c.is_ascii_digit());
        let major: u32 = parts.next()?.parse().ok()?;
        let minor: u32 = parts.next()?.parse().ok()?;
        Some(if (major, minor) < (3, 5) { Self::Raw } else { Self::DatabaseKey })
    }

    /// The database key of a name: byte-wise comparison of keys is this order.
    pub fn key(self, name: &MailboxName) -> Vec<u8> {
        name.as_bytes().iter().map(|b| self.rank(*b)).collect()
    }

    /// The name that a key stands for.
    pub fn name(self, key: &[u8]) -> Result<MailboxName, NameError> {
        match self {
            Self::Raw => MailboxName::new(key),
            Self::DatabaseKey => {
                let bytes: Vec<u8> = key
                    .iter()
                    .map(|b| match b {
                        0x1f => b'.',
                        b'.' => b'^',
                        0x1d => b'!',
                        other => *other,
                    })
                    .collect();
                MailboxName::new(&bytes)
            }
        }
    }

    /// Compares two names without building their keys.
    pub fn compare(self, a: &MailboxName, b: &MailboxName) -> Ordering {
        let ranks = |name: &'_ [u8]| name.iter().map(|b| self.rank(*b)).collect::<Vec<u8>>();
        match self {
            Self::Raw => a.as_bytes().cmp(b.as_bytes()),
            Self::DatabaseKey => {
                let shared = a.as_bytes().iter().zip(b.as_bytes()).take_while(|(x, y)| x == y).count();
                let rest = |name: &MailboxName| name.as_bytes().get(shared..).map(ranks).unwrap_or_default();
                rest(a).cmp(&rest(b))
            }
        }
    }

    fn rank(self, byte: u8) -> u8 {
        match (self, byte) {
            (Self::DatabaseKey, b'.') => 0x1f,
            (Self::DatabaseKey, b'^') => b'.',
            (Self::DatabaseKey, b'!') => 0x1d,
            (_, other) => other,
        }
    }
}

/// Finds, in one pass over a list in its own order, the entries that a slave's merge may drop.
///
/// The slave walks its own list and the one it is sent with `strcmp`, although both are in database-key
/// order. Once it has met a name that `strcmp` puts *after* a later one, it takes the later one for
/// deleted. Such a name is therefore streamed again after `streaming starts`. Feed every name that the
/// slave may hold, in list order, deleted ones too; the answer tells whether this one is in danger.
pub fn slave_drops() -> impl FnMut(&[u8]) -> bool {
    let mut greatest: Vec<u8> = Vec::new();
    move |name| {
        if name < greatest.as_slice() {
            return true;
        }
        greatest.clear();
        greatest.extend_from_slice(name);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn children_follow_their_parent_from_3_6() {
        let mut names =
            ["user.foo-x", "user.foo.bar", "user.foo", "user^a", "a.org!user.x", "a.org.b"].map(name);
        names.sort_by(|a, b| Order::DatabaseKey.compare(a, b));
        assert_eq!(
            names.map(|n| n.to_string()),
            ["a.org!user.x", "a.org.b", "user.foo", "user.foo.bar", "user.foo-x", "user^a"]
        );
    }

    #[test]
    fn the_banner_tells_the_order() {
        assert_eq!(Order::of_version("3.2.6-Debian-3.2.6-2+deb11u4"), Some(Order::Raw));
        assert_eq!(Order::of_version("3.6.1-Debian-3.6.1-4+deb12u5"), Some(Order::DatabaseKey));
        assert_eq!(Order::of_version("3.12.4"), Some(Order::DatabaseKey));
        assert_eq!(Order::of_version("git"), None);
    }

    #[test]
    fn the_entry_that_a_slave_loses_is_found() {
        let mut drops = slave_drops();
        let found: Vec<bool> = ["user.foo", "user.foo.bar", "user.foo-x", "user.goo"]
            .iter()
            .map(|n| drops(n.as_bytes()))
            .collect();
        assert_eq!(found, [false, false, true, false]);
    }

    /// What real masters of four releases streamed: see fixtures/order/README.md.
    macro_rules! fixtures {
        ($($release:literal => $order:expr),*) => {
            [$((
                $release,
                $order,
                include_str!(concat!("../../fixtures/order/", $release, "/names.txt")),
                include_str!(concat!("../../fixtures/order/", $release, "/frontend.txt")),
            )),*]
        };
    }

    fn streams() -> [(&'static str, Order, &'static str, &'static str); 4] {
        fixtures!("3.2" => Order::Raw, "3.6" => Order::DatabaseKey, "3.10" => Order::DatabaseKey,
            "3.12" => Order::DatabaseKey)
    }

    #[test]
    fn ten_thousand_names_are_in_each_releases_own_order() {
        for (release, order, streamed, _) in streams() {
            let streamed: Vec<MailboxName> = streamed.lines().map(name).collect();
            let mut sorted = streamed.clone();
            sorted.reverse();
            sorted.sort_by(|a, b| order.compare(a, b));
            assert_eq!(streamed.len(), 10_000);
            assert!(streamed == sorted, "{release} keeps another order than {order:?}");
        }
    }

    #[test]
    fn rule_3_whatever_a_real_frontend_lost_is_found() {
        for (release, _, streamed, frontend) in streams() {
            let mut drops = slave_drops();
            let found: std::collections::HashSet<&str> =
                streamed.lines().filter(|name| drops(name.as_bytes())).collect();
            let lost: Vec<&str> = frontend.lines().filter_map(|line| line.strip_prefix("  ")).collect();
            assert_eq!(lost.is_empty(), release == "3.2");
            for name in lost {
                assert!(found.contains(name), "{release}: a frontend lost {name:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn key_order_is_the_order(a in "[a-cA-C.^! &-]{1,12}", b in "[a-cA-C.^! &-]{1,12}") {
            for order in [Order::Raw, Order::DatabaseKey] {
                let (a, b) = (name(&a), name(&b));
                prop_assert_eq!(order.key(&a).cmp(&order.key(&b)), order.compare(&a, &b));
                prop_assert_eq!(order.name(&order.key(&a)), Ok(a));
            }
        }
    }
}
