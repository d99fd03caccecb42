//! Rule 10: no mass change without a person. What a fresh list of the master takes away, and whether that is
//! too much to be believed.

use std::collections::BTreeMap;
use std::fmt;

use super::facts::Comparison;
use crate::list::{Entry, MailboxName, takes_away};
use crate::rules::{Rule, kept};

/// How many names an account gives as examples.
const EXAMPLES: usize = 5;

/// How far a fresh list of the master may take names away before a person is asked.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Guard {
    /// Part of the list, 0 to 1, that may be missing or moved.
    pub share: f64,
    /// So many names are never suspicious.
    pub at_least: u64,
    /// More names than this always are.
    pub at_most: u64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { share: 0.01, at_least: 10, at_most: 100 }
    }
}

impl Guard {
    /// Whether so many of so many names are too many.
    pub fn trips(&self, taken: u64, entries: u64) -> bool {
        taken > self.at_most || (taken > self.at_least && taken as f64 > self.share * entries as f64)
    }
}

/// What the master's list takes away from users of the murder, by the server that holds it as far as we know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    by_server: BTreeMap<Vec<u8>, Taken>,
}

/// What it takes away of one server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Taken {
    /// Names that it lacks.
    lacks: u64,
    /// Usable mailboxes that it has as mere reservations.
    hides: u64,
    /// Mailboxes that it has on another server.
    moves: u64,
    /// Some of them.
    examples: Vec<MailboxName>,
}

impl Taken {
    fn of_kind(&mut self, ours: &Entry, theirs: Option<&Entry>) -> &mut u64 {
        match theirs {
            None => &mut self.lacks,
            Some(theirs) if theirs.location.same_server(&ours.location) => &mut self.hides,
            Some(_) => &mut self.moves,
        }
    }

    fn total(&self) -> u64 {
        self.lacks + self.hides + self.moves
    }
}

impl Account {
    /// Counts a name that we hold, if `theirs` takes it away.
    pub fn add(&mut self, name: &MailboxName, ours: Option<&Entry>, theirs: Option<&Entry>) {
        let Some(ours) = ours.filter(|ours| takes_away(theirs, Some(ours))) else { return };
        let taken = self.by_server.entry(ours.location.server().to_vec()).or_default();
        *taken.of_kind(ours, theirs) += 1;
        if taken.examples.len() < EXAMPLES {
            taken.examples.push(name.clone());
        }
    }

    /// Counts a name no more that was counted with these entries.
    pub fn take_off(&mut self, name: &MailboxName, ours: Option<&Entry>, theirs: Option<&Entry>) {
        let Some(ours) = ours.filter(|ours| takes_away(theirs, Some(ours))) else { return };
        let Some(taken) = self.by_server.get_mut(ours.location.server()) else { return };
        let count = taken.of_kind(ours, theirs);
        *count = count.saturating_sub(1);
        taken.examples.retain(|example| example != name);
        if taken.total() == 0 {
            self.by_server.remove(ours.location.server());
        }
    }

    /// Leaves out servers whose removal was announced.
    pub fn leave_out(&mut self, expected: impl Fn(&[u8]) -> bool) {
        self.by_server.retain(|server, _| !expected(server));
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_server.values().map(Taken::total).sum()
    }

    fn sum(&self, of: impl Fn(&Taken) -> u64) -> u64 {
        self.by_server.values().map(of).sum()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lacks, hides) = (self.sum(|taken| taken.lacks), self.sum(|taken| taken.hides));
        write!(f, "lacks {lacks}, hides {hides} and moves {}", self.sum(|taken| taken.moves))?;
        let mut between = " (by server: ";
        for (server, taken) in &self.by_server {
            write!(f, "{between}{} {}", String::from_utf8_lossy(server), taken.total())?;
            between = ", ";
        }
        let all = self.by_server.values().flat_map(|taken| &taken.examples);
        let mut examples: Vec<String> = all.map(ToString::to_string).collect();
        examples.sort();
        examples.truncate(EXAMPLES);
        if !examples.is_empty() {
            write!(f, "; such as {}", examples.join(", "))?;
        }
        if !self.by_server.is_empty() {
            write!(f, ")")?;
        }
        Ok(())
    }
}

/// Why a fresh list cannot be believed, if so. `entries` is how many names our list holds.
pub fn suspicion(guard: Guard, comparison: &Comparison, entries: u64) -> Option<String> {
    if !kept(Rule::NoMassChangeUnasked) {
        return None;
    }
    let (difference, account) = (&comparison.difference, &comparison.unexplained);
    if difference.overflowed {
        return Some(format!(
            "the master's list ({} names) has hardly anything in common with ours ({entries} names)",
            difference.listed
        ));
    }
    let why = || format!("the master's list {account}, of our {entries} names");
    guard.trips(account.total(), entries).then(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Acl, Location};

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text.as_bytes()).unwrap()
    }

    fn at(location: &str) -> Entry {
        Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(b"a\tlrs"))
    }

    #[test]
    fn more_than_ten_and_a_hundredth_or_more_than_a_hundred_are_too_many() {
        for (taken, entries, trips) in [
            (10, 10, false),
            (11, 11, true),
            (11, 1_100, false),
            (12, 1_100, true),
            (100, 9_000, true),
            (100, 10_000, false),
            (101, 10_000_000, true),
        ] {
            assert_eq!(Guard::default().trips(taken, entries), trips, "{taken} of {entries}");
        }
    }

    #[test]
    fn what_was_counted_can_be_taken_off_again() {
        let (here, there) = (at("be1!default"), at("be2!default"));
        let hidden = Entry::reserved(here.location.clone());
        let mut account = Account::default();
        account.add(&name("user.gone"), Some(&here), None);
        account.add(&name("user.hidden"), Some(&here), Some(&hidden));
        account.add(&name("user.moved"), Some(&there), Some(&here));
        account.add(&name("user.same"), Some(&here), Some(&here));
        account.add(&name("user.theirs"), None, Some(&here));
        let told = "lacks 1, hides 1 and moves 1 (by server: be1 2, be2 1; such as user.gone, user.hidden, user.moved)";
        assert_eq!((account.total(), account.to_string()), (3, told.to_owned()));
        account.take_off(&name("user.gone"), Some(&here), None);
        let mut announced = account.clone();
        announced.leave_out(|server| server == b"be1");
        assert_eq!(
            announced.to_string(),
            "lacks 0, hides 0 and moves 1 (by server: be2 1; such as user.moved)"
        );
        account.take_off(&name("user.hidden"), Some(&here), Some(&hidden));
        account.take_off(&name("user.moved"), Some(&there), Some(&here));
        assert_eq!(account, Account::default());
        assert_eq!(account.to_string(), "lacks 0, hides 0 and moves 0");
    }
}
