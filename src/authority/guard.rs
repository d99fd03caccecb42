//! Rule 10: no mass change without a person. What a fresh list of the master takes away, and whether that is
//! too much to be believed.

use std::collections::BTreeMap;
use std::fmt;

use super::facts::{Difference, Facts, Unreadable};
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

/// What the master's list takes away from users of the murder.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    /// Names that it lacks.
    pub lacks: u64,
    /// Usable mailboxes that it has as mere reservations.
    pub hides: u64,
    /// Mailboxes that it has on another server.
    pub moves: u64,
    /// All of them by the server that holds them as far as we know.
    pub by_server: BTreeMap<String, u64>,
    /// Some of them.
    pub examples: Vec<String>,
}

impl Account {
    /// Goes through a difference. Not counted is what we know a reason for: our own changes, what is recorded
    /// already, and servers whose removal was announced (`expected`).
    pub fn of(
        difference: &Difference,
        facts: &dyn Facts,
        expected: &dyn Fn(&Entry) -> bool,
    ) -> Result<Self, Unreadable> {
        let mut account = Self::default();
        for (name, theirs) in &difference.theirs {
            let ours = facts.listed(name)?;
            let Some(held) = ours.as_ref().filter(|held| takes_away(theirs.as_ref(), Some(*held))) else {
                continue;
            };
            let known = expected(held)
                || facts.base(name)?.is_some()
                || facts.unconfirmed(name)?.is_some()
                || facts.conflict(name)?.is_some()
                || facts.doubts(name)?.iter().any(|doubt| doubt.effect == *theirs);
            if !known {
                account.count(name, held, theirs.as_ref());
            }
        }
        account.examples.sort();
        Ok(account)
    }

    fn count(&mut self, name: &MailboxName, ours: &Entry, theirs: Option<&Entry>) {
        match theirs {
            None => self.lacks += 1,
            Some(theirs) if theirs.location.same_server(&ours.location) => self.hides += 1,
            Some(_) => self.moves += 1,
        }
        let server = String::from_utf8_lossy(ours.location.server()).into_owned();
        *self.by_server.entry(server).or_default() += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(name.to_string());
        }
    }

    /// All of them.
    pub fn taken(&self) -> u64 {
        self.lacks + self.hides + self.moves
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lacks {}, hides {} and moves {}", self.lacks, self.hides, self.moves)?;
        let mut between = " (by server: ";
        for (server, count) in &self.by_server {
            write!(f, "{between}{server} {count}")?;
            between = ", ";
        }
        if !self.by_server.is_empty() {
            write!(f, "; such as {})", self.examples.join(", "))?;
        }
        Ok(())
    }
}

/// Why a fresh list cannot be believed, if so.
pub fn suspicion(
    guard: Guard,
    difference: &Difference,
    facts: &dyn Facts,
    expected: &dyn Fn(&Entry) -> bool,
) -> Result<Option<String>, Unreadable> {
    if !kept(Rule::NoMassChangeUnasked) {
        return Ok(None);
    }
    let entries = facts.entries();
    if difference.overflowed {
        return Ok(Some(format!(
            "the master's list ({} names) has hardly anything in common with ours ({entries} names)",
            difference.listed
        )));
    }
    let account = Account::of(difference, facts, expected)?;
    let why = || format!("the master's list {account}, of our {entries} names");
    Ok(guard.trips(account.taken(), entries).then(why))
}
