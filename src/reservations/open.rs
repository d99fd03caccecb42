//! Which reservations there are, and since when.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::judge::Seen;
use crate::authority::facts::Unreadable;
use crate::list::{Entry, MailboxName};
use crate::store::Snapshot;

/// So many are kept in mind; more wait until the list is read anew.
const MOST: usize = 65_536;

/// How much of the list is read in one go.
const CHUNK: usize = 256 << 10;

/// How far two looks that have to agree are apart.
pub(super) const APART: Duration = Duration::from_secs(5);

/// The longest time between two looks; it doubles until then.
const LONGEST: Duration = Duration::from_secs(3600);

/// Of whom mailboxes are moved together: `user.alice`. Any other name stands for itself.
pub(super) type Whose = Vec<u8>;

/// All reservations, by whose they are.
#[derive(Default)]
pub(super) struct Open {
    cases: BTreeMap<Whose, Case>,
    count: usize,
    /// Servers that the list names.
    servers: HashSet<Vec<u8>>,
}

/// The reservations of one user.
pub(super) struct Case {
    names: HashSet<MailboxName>,
    /// When the last of them was made, or was first known here.
    since: Instant,
    /// When they are looked at next, if that is later than [`Self::since`] allows.
    due: Instant,
    tries: u32,
    /// What was seen last, and when.
    seen: Option<(Instant, Vec<Seen>)>,
}

impl Open {
    /// Reads a list. Waits for the disk.
    pub(super) fn read(list: &Snapshot) -> Result<Self, Unreadable> {
        let (mut open, mut last) = (Self::default(), None);
        loop {
            let part = list.chunk(last.as_ref(), CHUNK)?;
            let Some((name, _)) = part.last() else { break };
            last = Some(name.clone());
            for (name, entry) in part {
                open.hear(&name, Some(&entry));
            }
        }
        Ok(open)
    }

    /// The list holds this for a name now.
    pub(super) fn hear(&mut self, name: &MailboxName, entry: Option<&Entry>) {
        if let Some(entry) = entry
            && !self.servers.contains(entry.location.server())
        {
            self.servers.insert(entry.location.server().to_vec());
        }
        let now = Instant::now();
        let whose = whose(name);
        if entry.is_none_or(Entry::is_active) {
            if let Some(case) = self.cases.get_mut(&whose)
                && case.names.remove(name)
            {
                self.count -= 1;
                if case.names.is_empty() {
                    self.cases.remove(&whose);
                }
            }
        } else if self.count < MOST {
            let case = self.cases.entry(whose).or_insert_with(|| Case::new(now));
            self.count += usize::from(case.names.insert(name.clone()));
            (case.since, case.due, case.tries, case.seen) = (now, now, 0, None);
        }
    }

    /// Whose reservations are to be looked at, when none of them is younger than this.
    pub(super) fn due(&self, age: Duration) -> Vec<Whose> {
        let now = Instant::now();
        let due = self.cases.iter().filter(|(_, case)| case.due <= now && case.since + age <= now);
        due.map(|(whose, _)| whose.clone()).collect()
    }

    /// Every server that has ever been named.
    pub(super) fn servers(&self) -> BTreeSet<String> {
        self.servers.iter().map(|server| String::from_utf8_lossy(server).into_owned()).collect()
    }

    /// Somebody's reservations, in the same order each time.
    pub(super) fn names(&self, whose: &Whose) -> Vec<MailboxName> {
        let mut names: Vec<_> =
            self.cases.get(whose).map(|case| case.names.iter().cloned().collect()).unwrap_or_default();
        names.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        names
    }

    /// This was seen of somebody's reservations; whether the look before showed the same, so that they may be judged.
    pub(super) fn agrees(&mut self, whose: &Whose, seen: &[Seen]) -> bool {
        let Some(case) = self.cases.get_mut(whose) else { return false };
        let now = Instant::now();
        let agrees = matches!(&case.seen, Some((at, before)) if before == seen && at.elapsed() >= APART);
        case.seen = (!agrees).then(|| (now, seen.to_vec()));
        case.due = now + APART;
        agrees
    }

    /// Nothing is to be found out about somebody's reservations now. Whether that is the first time.
    pub(super) fn try_later(&mut self, whose: &Whose) -> bool {
        let Some(case) = self.cases.get_mut(whose) else { return false };
        case.seen = None;
        case.due = Instant::now() + LONGEST.min(APART * 2_u32.saturating_pow(case.tries));
        case.tries = case.tries.saturating_add(1);
        case.tries == 1
    }
}

impl Case {
    fn new(now: Instant) -> Self {
        Self { names: HashSet::new(), since: now, due: now, tries: 0, seen: None }
    }
}

fn whose(name: &MailboxName) -> Whose {
    let bytes = name.as_bytes();
    let local = bytes.iter().position(|byte| *byte == b'!').map_or(0, |at| at + 1);
    let user = bytes.get(local..).and_then(|local| local.strip_prefix(b"user."));
    let Some(user) = user else { return bytes.to_vec() };
    let below = user.iter().position(|byte| *byte == b'.').map_or(0, |at| user.len() - at);
    bytes.get(..bytes.len() - below).unwrap_or(bytes).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Acl, Location};

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text.as_bytes()).unwrap()
    }

    fn reserved() -> Entry {
        Entry::reserved(Location::new(b"be1!default").unwrap())
    }

    fn seen(version: u64) -> Vec<Seen> {
        let home = super::super::judge::Answer::Denies;
        vec![Seen { name: name("user.a"), version, home, elsewhere: Vec::new(), old: false }]
    }

    const AGE: Duration = Duration::from_secs(60);

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[test]
    fn a_user_s_mailboxes_belong_together() {
        for (text, of) in [
            ("user.a", "user.a"),
            ("user.a.b.c", "user.a"),
            ("user.ab", "user.ab"),
            ("d.org!user.a.b", "d.org!user.a"),
            ("shared.b", "shared.b"),
            ("DELETED.user.a.b", "DELETED.user.a.b"),
            ("user", "user"),
        ] {
            assert_eq!(whose(&name(text)), of.as_bytes(), "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_due_when_the_last_of_them_has_been_one_for_so_long() {
        let mut open = Open::default();
        open.hear(&name("user.a"), Some(&reserved()));
        pass(AGE / 2).await;
        open.hear(&name("user.a.b"), Some(&reserved()));
        pass(AGE / 2).await;
        assert!(open.due(AGE).is_empty());
        pass(AGE / 2).await;
        assert_eq!(open.due(AGE), [b"user.a"]);
        assert_eq!(open.names(&b"user.a".to_vec()), [name("user.a"), name("user.a.b")]);
        // One is a mailbox again, the other one is gone.
        let active = Entry::active(Location::new(b"be1!default").unwrap(), Acl::new(b"a\tlrs\t"));
        open.hear(&name("user.a.b"), Some(&active));
        assert_eq!(open.names(&b"user.a".to_vec()), [name("user.a")]);
        open.hear(&name("user.a"), None);
        assert!(open.due(AGE).is_empty() && open.count == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn two_looks_have_to_agree_some_time_apart() {
        let (mut open, whose) = (Open::default(), b"user.a".to_vec());
        open.hear(&name("user.a"), Some(&reserved()));
        pass(AGE).await;
        assert!(!open.agrees(&whose, &seen(1)), "the first one");
        assert!(!open.agrees(&whose, &seen(1)), "at once");
        assert!(open.due(AGE).is_empty());
        pass(APART).await;
        assert_eq!(open.due(AGE), [b"user.a"]);
        assert!(!open.agrees(&whose, &seen(2)), "another one");
        pass(APART).await;
        assert!(open.agrees(&whose, &seen(2)));
        pass(APART).await;
        assert!(!open.agrees(&whose, &seen(2)), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_found_out_is_asked_less_and_less_until_it_is_made_anew() {
        let (mut open, whose) = (Open::default(), b"user.a".to_vec());
        open.hear(&name("user.a"), Some(&reserved()));
        pass(AGE).await;
        assert!(open.try_later(&whose) && open.due(AGE).is_empty());
        for tries in 1..40 {
            pass(LONGEST.min(APART * 2_u32.saturating_pow(tries - 1))).await;
            assert_eq!(open.due(AGE), [b"user.a"], "{tries}");
            assert!(!open.try_later(&whose) && open.due(AGE).is_empty(), "{tries}");
        }
        open.hear(&name("user.a"), Some(&reserved()));
        pass(AGE).await;
        assert_eq!(open.due(AGE), [b"user.a"]);
    }

    #[test]
    fn no_more_are_kept_in_mind_than_so_many() {
        let mut open = Open::default();
        for nth in 0..MOST + 10 {
            open.hear(&name(&format!("user.u{nth}")), Some(&reserved()));
        }
        assert_eq!(open.count, MOST);
        open.hear(&name("user.u0"), None);
        open.hear(&name("user.new"), Some(&reserved()));
        assert_eq!(open.count, MOST);
    }
}
