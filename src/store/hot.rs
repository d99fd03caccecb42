//! Recent lookups, present and absent ones, kept coherent with commits.
//!
//! A commit takes the names it changes out before it is visible to readers and gives their new state back
//! after. In between, and whenever a commit ended during a lookup, what the lookup found is not kept: it may
//! be older than the commit.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::list::{Entry, MailboxName};

/// The names a group of commits leaves in another state, and that state.
pub(super) type Touched = std::collections::HashMap<MailboxName, Option<Entry>>;

pub(super) struct Hot(Mutex<Inner>);

struct Inner {
    known: LruCache<MailboxName, Option<Entry>>,
    /// Names that a commit under way changes.
    changing: HashSet<MailboxName>,
    /// The commit under way changes any name.
    all_changing: bool,
    /// Grows with every commit that ends.
    generation: u64,
}

/// What a lookup that missed has to show to [`Hot::keep`].
#[derive(Clone, Copy)]
pub(super) struct Missed(u64);

impl Hot {
    pub(super) fn new(entries: usize) -> Self {
        Self(Mutex::new(Inner {
            known: LruCache::new(NonZeroUsize::new(entries).unwrap_or(NonZeroUsize::MIN)),
            changing: HashSet::new(),
            all_changing: false,
            generation: 0,
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn look(&self, name: &MailboxName) -> Result<Option<Entry>, Missed> {
        let mut inner = self.inner();
        match inner.known.get(name) {
            Some(found) => Ok(found.clone()),
            None => Err(Missed(inner.generation)),
        }
    }

    /// Keeps what was read from the store after `missed`, unless a commit may have changed it since.
    pub(super) fn keep(&self, missed: Missed, name: &MailboxName, found: &Option<Entry>) {
        let mut inner = self.inner();
        if inner.generation == missed.0 && !inner.all_changing && !inner.changing.contains(name) {
            inner.known.put(name.clone(), found.clone());
        }
    }

    /// A commit that changes these names, or all of them, begins.
    pub(super) fn begin(&self, touched: &Touched, all: bool) {
        let mut inner = self.inner();
        if all {
            inner.known.clear();
            inner.all_changing = true;
        }
        for name in touched.keys() {
            inner.known.pop(name);
            inner.changing.insert(name.clone());
        }
    }

    /// The commit is durable.
    pub(super) fn end(&self, touched: Touched) {
        let mut inner = self.inner();
        inner.settle();
        for (name, state) in touched {
            inner.known.put(name, state);
        }
    }

    /// The commit failed.
    pub(super) fn abandon(&self) {
        self.inner().settle();
    }
}

impl Inner {
    fn settle(&mut self) {
        self.changing.clear();
        self.all_changing = false;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Location;

    fn name(text: &str) -> MailboxName {
        MailboxName::new(text.as_bytes()).unwrap()
    }

    fn entry(text: &str) -> Option<Entry> {
        Some(Entry::reserved(Location::new(text.as_bytes()).unwrap()))
    }

    fn touch(text: &str, state: Option<Entry>) -> Touched {
        Touched::from([(name(text), state)])
    }

    fn missed(hot: &Hot, text: &str) -> Missed {
        hot.look(&name(text)).err().unwrap()
    }

    #[test]
    fn what_a_commit_changes_is_not_known_until_it_is_durable() {
        let hot = Hot::new(10);
        for text in ["a", "b"] {
            hot.keep(missed(&hot, text), &name(text), &entry("old!p"));
        }
        hot.begin(&touch("a", None), false);
        let during = missed(&hot, "a");
        hot.keep(during, &name("a"), &entry("old!p"));
        assert!(hot.look(&name("a")).is_err());
        assert_eq!(hot.look(&name("b")).ok(), Some(entry("old!p")));
        hot.end(touch("a", None));
        assert_eq!(hot.look(&name("a")).ok(), Some(None));
    }

    #[test]
    fn what_was_read_before_a_commit_ended_is_not_kept_after() {
        let hot = Hot::new(1);
        let before = missed(&hot, "a");
        hot.begin(&touch("a", entry("new!p")), false);
        hot.end(touch("a", entry("new!p")));
        hot.keep(missed(&hot, "b"), &name("b"), &None);
        hot.keep(before, &name("a"), &entry("old!p"));
        assert!(hot.look(&name("a")).is_err());
    }

    #[test]
    fn nothing_is_known_of_a_list_being_replaced() {
        let hot = Hot::new(10);
        hot.keep(missed(&hot, "a"), &name("a"), &None);
        hot.begin(&Touched::new(), true);
        let during = missed(&hot, "a");
        hot.keep(during, &name("a"), &None);
        assert!(hot.look(&name("a")).is_err());
        hot.abandon();
        hot.keep(missed(&hot, "a"), &name("a"), &None);
        assert_eq!(hot.look(&name("a")).ok(), Some(None));
    }
}
