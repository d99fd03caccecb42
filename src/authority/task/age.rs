//! What the wall clock tells, which anybody can set at any time.

use std::time::Duration;

use crate::authority::machine::Restored;
use crate::store::{Change, Doubt, Snapshot, Stats, StoreError};

/// How long a write of unknown outcome is watched for: a master that hung may carry it out when it wakes.
const DOUBT_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What a list on disk is worth, by the time at which it was last served; and why.
///
/// A clock that was set back must not make an old list young: where the list is from the future by more than it may
/// be old, nobody knows how old it is.
pub(crate) fn worth(stats: &Stats, now_unix: u64, max_unattended: Duration) -> (Restored, String) {
    let age = stats.attended_at.map(|at| Duration::from_secs(now_unix.abs_diff(at)));
    match age.filter(|age| *age <= max_unattended) {
        _ if !stats.complete => (Restored::Nothing, "no list yet; waiting for the master's".to_owned()),
        Some(_) if stats.suspect.is_some() => {
            let why = "the disk failed when the list was last served: it may lack what the master has";
            (Restored::Suspect, why.to_owned())
        }
        Some(age) => (Restored::Fresh, format!("started with the list of {} s ago", age.as_secs())),
        None if stats.attended_at.is_some_and(|at| at > now_unix) => {
            let why =
                "the clock was set back since the list on disk was last served: nobody knows how old it is";
            (Restored::Stale, why.to_owned())
        }
        None => (Restored::Stale, "the list on disk is too old to be served unseen".to_owned()),
    }
}

/// By how much the wall clock may differ from the process's own before it counts as having been set.
const SET: u64 = 60;

/// Since when the wall clock has gone like the process's own clock, as far as anybody looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steady {
    since: Duration,
    since_unix: u64,
}

impl Steady {
    /// At the start of the process.
    pub(crate) fn new(now_unix: u64) -> Self {
        Self { since: Duration::ZERO, since_unix: now_unix }
    }

    /// Looks at both clocks. For how long they have gone alike. Whoever dates something looks, so that what was dated while
    /// the clock was set to and fro is known for it.
    pub(crate) fn look(&mut self, now_unix: u64, up: Duration) -> Duration {
        let gone = up.saturating_sub(self.since);
        if now_unix.abs_diff(self.since_unix.saturating_add(gone.as_secs())) <= SET {
            return gone;
        }
        *self = Self { since: up, since_unix: now_unix };
        Duration::ZERO
    }
}

/// Doubts that have been on record for long enough.
///
/// A clock that was set, to and fro even, makes none of them old: what they are dated by it is not believed before it has
/// been steady for as long as they are kept.
pub(crate) fn expired_doubts(
    list: &Snapshot,
    now_unix: u64,
    steady: Duration,
) -> Result<Vec<Change>, StoreError> {
    if steady < DOUBT_KEPT {
        return Ok(Vec::new());
    }
    let before = now_unix.saturating_sub(DOUBT_KEPT.as_secs());
    let old = |doubts: &[Doubt]| doubts.iter().all(|doubt| doubt.at_unix < before);
    let doubts = list.doubts(None, 10_000)?.into_iter();
    Ok(doubts.filter(|(_, all)| old(all)).map(|(name, _)| Change::Undoubt { name }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::MailboxName;
    use crate::store::{Options, Store, Synced};

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn a_list_from_the_future_is_no_younger_than_one_from_the_past() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("list"), Options::default()).unwrap();
        let is = |now| worth(&store.stats(), now, HOUR).0;
        assert_eq!(is(1000), Restored::Nothing);
        let synced = Synced { master: "mm".into(), version: "3.6.1".into(), at_unix: 1 };
        store.commit(vec![Change::Synced(synced), Change::Attended { at_unix: 100_000 }]).await.unwrap();
        assert_eq!([is(100_000), is(103_600), is(96_400)], [Restored::Fresh; 3]);
        assert_eq!(is(103_601), Restored::Stale, "it was off for too long");
        assert_eq!(is(96_399), Restored::Stale, "the clock was set back, by nobody knows how much more");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_forward_makes_no_doubt_old() {
        const DAY: u64 = 24 * 3600;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("list"), Options::default()).unwrap();
        let doubt = Doubt { effect: None, at_unix: 1_000_000 };
        let name = MailboxName::new(b"user.a").unwrap();
        store.commit(vec![Change::Doubt { name: name.clone(), doubt }]).await.unwrap();
        let list = store.snapshot().unwrap();
        let expired = |now, steady| expired_doubts(&list, now, Duration::from_secs(steady)).unwrap();
        assert_eq!(expired(1_000_000 + DAY, DAY), []);
        assert_eq!(expired(1_000_001 + DAY, DAY + 1), [Change::Undoubt { name }], "a day has passed");
        assert_eq!(expired(1_000_000 + 2 * DAY, 10), [], "it was set forward");
        assert_eq!(expired(1_000_000, 2 * DAY), [], "it was set back");
    }

    #[test]
    fn a_clock_is_steady_since_it_was_set_last() {
        const DAY: u64 = 24 * 3600;
        let mut steady = Steady::new(10 * DAY);
        let mut look = |unix, up| steady.look(unix, Duration::from_secs(up)).as_secs();
        assert_eq!(look(10 * DAY + 30, 30), 30);
        assert_eq!(look(10 * DAY + 115, 60), 60, "it may gain a little");
        assert_eq!(look(7 * DAY + 90, 90), 0, "set back");
        assert_eq!(look(7 * DAY + 120, 120), 30);
        assert_eq!(look(9 * DAY + 150, 150), 0, "and forward");
        assert_eq!(look(10 * DAY + 150, DAY + 150), DAY);
    }
}
