//! What was promised to users: by an OK, or by a 250.
//!
//! - An operation that was answered OK is a promise.
//! - One that was refused is none. What was promised before still holds, but for a SETACL: that has been done at the
//!   backend all the same (Cyrus applies it before it asks the master), so the rights are in doubt until the next OK.
//! - One that was not answered is in doubt. Either outcome is right, but a single one, everywhere the same. Nobody
//!   touches the name again: a frontend that was cut off may still pass the command on when its cable is back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::agreement::Difference;

use super::schedule::{Deed, Door, Home, Verb};

/// What becomes of a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// It is there, and everybody has these rights.
    There(String),
    /// It is not.
    Gone,
}

/// How an operation was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// OK
    Done,
    /// NO, with the words.
    Refused(String),
    /// Nothing, or nothing that says whether it was done.
    Unknown(String),
}

impl Answer {
    fn words(&self) -> String {
        match self {
            Self::Done => "OK".to_owned(),
            Self::Refused(text) => format!("NO {text}"),
            Self::Unknown(text) => format!("not answered: {text}"),
        }
    }
}

/// A name's page.
#[derive(Clone, Debug, Default)]
pub struct Page {
    possible: BTreeSet<Known>,
    /// Something was not answered: nobody touches it any more.
    closed: bool,
    /// Something was refused or not answered since the last OK.
    unsure: bool,
    /// What happened to it, with the time.
    pub events: Vec<String>,
}

impl Page {
    /// What it must be, if that is known.
    pub fn settled(&self) -> Option<&Known> {
        let only = self.possible.first();
        only.filter(|_| !self.closed && self.possible.len() == 1)
    }

    /// Whether it is there for certain, or is not for certain, and may be worked on.
    fn is(&self, there: bool) -> bool {
        !self.closed && self.possible.iter().all(|known| matches!(known, Known::There(_)) == there)
    }

    /// What it must be even before a backend was compared with the list: nothing went wrong since the last OK.
    pub fn sure(&self) -> Option<&Known> {
        self.settled().filter(|_| !self.unsure)
    }

    /// Everything that it may be. A name that nobody ever asked for may only be gone.
    pub fn possible(&self) -> &BTreeSet<Known> {
        &self.possible
    }
}

/// A message with a 250.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its recipient.
    pub user: String,
    /// The folder that it was for, by its internal name.
    pub folder: Option<String>,
    /// When it was first tried.
    pub begun: Duration,
    /// How it went.
    pub events: Vec<String>,
}

/// A mailbox that changed its name, or went.
#[derive(Clone, Debug)]
struct Move {
    at: Duration,
    from: String,
    to: Option<String>,
}

/// How often each thing was answered in each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// OK, or 250.
    pub done: usize,
    /// Refused in the end, after all tries.
    pub refused: usize,
    /// Not answered.
    pub unknown: usize,
    /// Not tried, because an earlier step came to nothing.
    pub left_out: usize,
    /// Tries that were refused, and tried again.
    pub again: usize,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is wrong.
    pub what: String,
    /// The name or the message, for its history.
    pub about: String,
}

/// The book itself.
#[derive(Debug, Default)]
pub struct Book {
    /// Names, in Cyrus's internal form.
    pub names: BTreeMap<String, Page>,
    /// Messages, by their Message-ID.
    pub messages: BTreeMap<String, Accepted>,
    /// Where users may be who were moved.
    pub homes: BTreeMap<String, BTreeSet<Home>>,
    /// Renames that were not answered: one of both names is there.
    pub renames_in_doubt: Vec<(String, String)>,
    /// What was answered how.
    pub counts: BTreeMap<Verb, Count>,
    /// What refusals said, and how often.
    pub refusals: BTreeMap<String, usize>,
    /// What users saw broken themselves.
    pub losses: Vec<Loss>,
    moves: Vec<Move>,
}

/// The book, shared by everybody who writes into it.
#[derive(Clone, Debug)]
pub struct Ledger {
    begun: Instant,
    book: Arc<Mutex<Book>>,
}

impl Ledger {
    /// An empty one; the clock starts.
    pub fn open() -> Self {
        Self { begun: Instant::now(), book: Arc::default() }
    }

    /// The same book, its clock starting now.
    pub fn restarted(self) -> Self {
        Self { begun: Instant::now(), ..self }
    }

    /// Since the beginning.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// To read in it, or to write.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A user who is there before anything goes wrong.
    pub fn enrolled(&self, user: &str, home: Home) {
        let mut book = self.book();
        book.homes.insert(user.to_owned(), BTreeSet::from([home]));
        let page = book.names.entry(inbox(user)).or_default();
        page.possible.insert(Known::There(String::new()));
    }

    /// Whether a deed can be done, as far as is known.
    pub fn can(&self, user: &str, deed: &Deed) -> bool {
        let book = self.book();
        let is = |mailbox: &str, there: bool| match book.names.get(&internal(user, mailbox)) {
            None => !there,
            Some(page) => page.is(there),
        };
        match deed {
            Deed::Create(new) => is(new, false),
            Deed::Rename(old, new) => is(old, true) && is(new, false),
            Deed::Delete(old) | Deed::SetAcl(old, _) | Deed::Deliver(Some(old)) => is(old, true),
            Deed::Enrol(..) | Deed::Deliver(None) | Deed::Read => true,
            Deed::Xfer(mover, to) => {
                let homes = book.homes.get(mover);
                homes.is_some_and(|homes| homes.len() == 1 && !homes.contains(to))
            }
        }
    }

    /// Writes down a try and its answer.
    pub fn answered(&self, user: &str, door: Door, deed: &Deed, since: Duration, answer: &Answer) {
        let (now, mut book) = (self.now(), self.book());
        let told = format!(
            "{:.3}–{:.3} {user} through {door:?}: {deed}: {}",
            since.as_secs_f64(),
            now.as_secs_f64(),
            answer.words()
        );
        tracing::debug!("{told}");
        if let Answer::Refused(text) | Answer::Unknown(text) = answer {
            *book.refusals.entry(format!("{}: {text}", deed.verb())).or_default() += 1;
        }
        if let Deed::Xfer(mover, to) = deed {
            book.moved(mover, *to, answer);
        }
        let outcome = book.outcome(user, deed);
        for (name, known) in outcome {
            let page = book.names.entry(name).or_default();
            page.events.push(told.clone());
            page.take(known, answer, deed.verb());
        }
        match (deed, answer) {
            (_, Answer::Refused(_)) => {}
            (Deed::Rename(old, new), _) => {
                let (from, to) = (internal(user, old), internal(user, new));
                if matches!(answer, Answer::Unknown(_)) {
                    book.renames_in_doubt.push((from.clone(), to.clone()));
                }
                book.moves.push(Move { at: now, from, to: Some(to) });
            }
            (Deed::Delete(old), _) => {
                book.moves.push(Move { at: now, from: internal(user, old), to: None });
            }
            _ => {}
        }
    }

    /// Counts how a deed ended.
    pub fn count(&self, verb: Verb, add: impl FnOnce(&mut Count)) {
        add(self.book().counts.entry(verb).or_default());
    }

    /// A message has its 250.
    pub fn accepted(&self, id: &str, message: Accepted) {
        self.book().messages.insert(id.to_owned(), message);
    }

    /// A promise was seen to be broken.
    pub fn lost(&self, about: &str, what: String) {
        let loss = Loss { what, about: about.to_owned() };
        self.book().losses.push(loss);
    }
}

impl Page {
    fn take(&mut self, known: BTreeSet<Known>, answer: &Answer, verb: Verb) {
        if self.possible.is_empty() {
            self.possible.insert(Known::Gone);
        }
        match answer {
            Answer::Done => {
                self.possible = known;
                self.unsure = false;
            }
            Answer::Refused(_) => {
                if verb == Verb::SetAcl {
                    self.possible.extend(known);
                }
                self.unsure = true;
            }
            Answer::Unknown(_) => {
                self.possible.extend(known);
                (self.unsure, self.closed) = (true, true);
            }
        }
    }
}

impl Book {
    /// What a deed makes of names if it succeeds.
    fn outcome(&self, user: &str, deed: &Deed) -> Vec<(String, BTreeSet<Known>)> {
        let name = |mailbox: &str| internal(user, mailbox);
        let only = |known| BTreeSet::from([known]);
        let there = |rights: &str| only(Known::There(rights.to_owned()));
        match deed {
            Deed::Create(new) => vec![(name(new), there(""))],
            Deed::Rename(old, new) => {
                let kept = self.names.get(&name(old)).map(|page| page.possible.clone()).unwrap_or_default();
                vec![(name(old), only(Known::Gone)), (name(new), kept)]
            }
            Deed::Delete(old) => vec![(name(old), only(Known::Gone))],
            Deed::SetAcl(one, rights) => vec![(name(one), there(rights))],
            Deed::Enrol(new, _) => vec![(inbox(new), there(""))],
            Deed::Xfer(..) | Deed::Deliver(_) | Deed::Read => Vec::new(),
        }
    }

    fn moved(&mut self, mover: &str, to: Home, answer: &Answer) {
        let homes = self.homes.entry(mover.to_owned()).or_default();
        match answer {
            Answer::Done => *homes = BTreeSet::from([to]),
            // Of an XFER that was refused half-way, either backend may have kept the user.
            Answer::Refused(_) | Answer::Unknown(_) => drop(homes.insert(to)),
        }
    }

    /// Whether what was in a folder since then may be gone with it, because somebody deleted that, or tried to.
    pub fn may_be_deleted(&self, folder: &str, since: Duration) -> bool {
        let mut names = BTreeSet::from([folder]);
        for Move { from, to, .. } in self.moves.iter().filter(|step| step.at >= since) {
            match to {
                _ if !names.contains(from.as_str()) => {}
                Some(to) => drop(names.insert(to)),
                None => return true,
            }
        }
        false
    }

    /// Whether a mailbox must be there in the end.
    pub fn is_promised(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|page| !page.possible.is_empty() && page.is(true))
    }

    /// Users of whom an XFER was refused half-way or not answered: either backend may hold a copy.
    pub fn half_moved(&self) -> Vec<String> {
        let open = self.homes.iter().filter(|(_, homes)| homes.len() > 1);
        open.map(|(user, _)| user.clone()).collect()
    }

    /// Whether this is what an XFER that came to nothing left on the backend to which it was to go.
    pub fn left_behind(&self, difference: &Difference) -> bool {
        let Difference::Unlisted { name, master: Some(entry), .. } = difference else { return false };
        let user = name.split('.').nth(1).unwrap_or_default();
        entry.is_active() && self.homes.get(user).is_some_and(|homes| homes.len() > 1)
    }

    /// Everything that the ledger knows about a name or a message.
    pub fn history(&self, about: &str) -> Vec<String> {
        if let Some(message) = self.messages.get(about) {
            return message.events.clone();
        }
        self.names.get(about).map(|page| page.events.clone()).unwrap_or_default()
    }
}

/// A user's inbox, in Cyrus's internal form.
pub fn inbox(user: &str) -> String {
    format!("user.{user}")
}

/// A user's mailbox, in Cyrus's internal form.
pub fn internal(user: &str, mailbox: &str) -> String {
    format!("user.{user}.{mailbox}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn does(ledger: &Ledger, deed: &Deed, answer: &Answer) {
        ledger.answered("a", Door::Fe1, deed, ledger.now(), answer);
    }

    fn possible(ledger: &Ledger, name: &str) -> Vec<Known> {
        ledger.book().names[name].possible().iter().cloned().collect()
    }

    #[test]
    fn an_ok_settles_a_refusal_does_not_and_silence_ends_it() {
        let (ledger, there) = (Ledger::open(), |rights: &str| Known::There(rights.to_owned()));
        let refused = Answer::Refused("no".to_owned());
        does(&ledger, &Deed::Create("m".to_owned()), &refused);
        assert_eq!(possible(&ledger, "user.a.m"), [Known::Gone]);
        does(&ledger, &Deed::Create("m".to_owned()), &Answer::Done);
        does(&ledger, &Deed::SetAcl("m".to_owned(), "lr"), &refused);
        assert_eq!(possible(&ledger, "user.a.m"), [there(""), there("lr")]);
        does(&ledger, &Deed::SetAcl("m".to_owned(), "lrs"), &Answer::Done);
        assert_eq!(ledger.book().names["user.a.m"].sure(), Some(&there("lrs")));
        does(&ledger, &Deed::Rename("m".to_owned(), "n".to_owned()), &Answer::Unknown(String::new()));
        assert_eq!(possible(&ledger, "user.a.m"), [there("lrs"), Known::Gone]);
        assert_eq!(possible(&ledger, "user.a.n"), [there("lrs"), Known::Gone]);
        assert!(!ledger.can("a", &Deed::Delete("m".to_owned())));
    }

    #[test]
    fn what_was_in_a_folder_goes_with_it_and_not_before() {
        let ledger = Ledger::open();
        let (m, n) = ("m".to_owned(), "n".to_owned());
        does(&ledger, &Deed::Create(m.clone()), &Answer::Done);
        let before = ledger.now();
        does(&ledger, &Deed::Rename(m, n.clone()), &Answer::Done);
        assert!(!ledger.book().may_be_deleted("user.a.m", before));
        does(&ledger, &Deed::Delete(n), &Answer::Done);
        assert!(ledger.book().may_be_deleted("user.a.m", before));
        assert!(!ledger.book().may_be_deleted("user.a.n", ledger.now()));
    }
}
