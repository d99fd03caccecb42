//! The master's fresh list against ours, while it arrives.
//!
//! Both are in the same order, so one walk suffices, and only what differs is kept. Where the master breaks
//! the order (another release, or one configured otherwise), a name is looked up instead: slower, and right.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use super::facts::{Comparison, Difference};
use super::guard::Account;
use super::recorded::{explained_by_doubts, unsettled};
use crate::list::{Entry, MailboxName, Order, is_delete_mark, takes_away};
use crate::store::{Snapshot, StoreError};

/// More differences than this are not kept: the lists are strangers, and a person is asked anyway.
const KEPT: usize = 1_000_000;

const CHUNK_BYTES: usize = 256 << 10;

/// Compares a list that arrives in parts with a snapshot of ours.
#[derive(Debug)]
pub(crate) struct Differ {
    snapshot: Snapshot,
    order: Order,
    /// Ours, from the first name that was not passed yet.
    ahead: VecDeque<(MailboxName, Entry)>,
    read_to: Option<MailboxName>,
    exhausted: bool,
    /// The greatest name of theirs so far.
    greatest: Option<MailboxName>,
    theirs: HashMap<MailboxName, Option<Entry>>,
    kept: usize,
    overflowed: bool,
    only_theirs: u64,
    taken: Account,
    listed: u64,
}

impl Differ {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let order = snapshot.order();
        Self {
            snapshot,
            order,
            ahead: VecDeque::new(),
            read_to: None,
            exhausted: false,
            greatest: None,
            theirs: HashMap::new(),
            kept: KEPT,
            overflowed: false,
            only_theirs: 0,
            taken: Account::default(),
            listed: 0,
        }
    }

    /// Only counts.
    pub(crate) fn counting(snapshot: Snapshot) -> Self {
        Self { kept: 0, ..Self::new(snapshot) }
    }

    /// Takes the next part of their list.
    pub(crate) fn push(&mut self, part: Vec<(MailboxName, Entry)>) -> Result<(), StoreError> {
        for (name, entry) in part {
            self.listed += 1;
            let in_order =
                self.greatest.as_ref().is_none_or(|last| self.order.compare(last, &name) == Ordering::Less);
            if in_order {
                self.walk_to(&name, Some(entry))?;
                self.greatest = Some(name);
            } else {
                // It was passed as missing, or came before.
                let held = self.snapshot.get(&name)?;
                match self.theirs.remove(&name) {
                    Some(earlier) => self.unkeep(&name, earlier.as_ref(), held.as_ref()),
                    None if self.overflowed => self.unkeep(&name, None, held.as_ref()),
                    None => {}
                }
                if held.as_ref() != Some(&entry) {
                    self.keep(name, Some(entry), held);
                }
            }
        }
        Ok(())
    }

    /// Their list is complete: passes a part of what is left of ours. `false`: nothing is left.
    pub(crate) fn pass_rest(&mut self) -> Result<bool, StoreError> {
        let Some((name, held)) = self.next_of_ours()? else { return Ok(false) };
        self.keep(name, None, Some(held));
        while let Some((name, held)) = self.ahead.pop_front() {
            self.keep(name, None, Some(held));
        }
        Ok(true)
    }

    /// Their list is complete. Gives back the snapshot it was compared with.
    pub(crate) fn finish(mut self, took: Duration) -> Result<(Comparison, Snapshot), StoreError> {
        while self.pass_rest()? {}
        let Self { theirs, kept, overflowed, only_theirs, taken: mut unexplained, listed, snapshot, .. } =
            self;
        let taken = unexplained.total();
        let difference = Difference { theirs, overflowed, only_theirs, taken, listed, took };
        if kept == 0 {
            return Ok((Comparison { difference, unexplained, ..Comparison::default() }, snapshot));
        }
        let unsettled = unsettled(&snapshot)?;
        let mut explained = HashSet::new();
        for name in unsettled.iter().cloned().chain(explained_by_doubts(&snapshot, &difference.theirs)?) {
            let Some(theirs) = difference.theirs.get(&name) else { continue };
            let (ours, theirs) = (snapshot.get(&name)?, theirs.as_ref());
            if takes_away(theirs, ours.as_ref()) && explained.insert(name.clone()) {
                unexplained.take_off(&name, ours.as_ref(), theirs);
            }
        }
        Ok((Comparison { difference, unexplained, explained, unsettled }, snapshot))
    }

    fn walk_to(&mut self, name: &MailboxName, entry: Option<Entry>) -> Result<(), StoreError> {
        loop {
            let Some((ours, held)) = self.next_of_ours()? else {
                self.keep(name.clone(), entry, None);
                return Ok(());
            };
            match self.order.compare(&ours, name) {
                Ordering::Less => self.keep(ours, None, Some(held)),
                Ordering::Equal => {
                    if entry.as_ref() != Some(&held) {
                        self.keep(ours, entry, Some(held));
                    }
                    return Ok(());
                }
                Ordering::Greater => {
                    self.ahead.push_front((ours, held));
                    self.keep(name.clone(), entry, None);
                    return Ok(());
                }
            }
        }
    }

    fn next_of_ours(&mut self) -> Result<Option<(MailboxName, Entry)>, StoreError> {
        if self.ahead.is_empty() && !self.exhausted {
            self.ahead = self.snapshot.chunk(self.read_to.as_ref(), CHUNK_BYTES)?.into();
            match self.ahead.back() {
                Some((last, _)) => self.read_to = Some(last.clone()),
                None => self.exhausted = true,
            }
        }
        Ok(self.ahead.pop_front())
    }

    fn keep(&mut self, name: MailboxName, theirs: Option<Entry>, ours: Option<Entry>) {
        self.taken.add(&name, ours.as_ref(), theirs.as_ref());
        self.only_theirs += only_theirs(theirs.as_ref(), ours.as_ref());
        if self.theirs.len() >= self.kept {
            self.overflowed = true;
        } else {
            self.theirs.insert(name, theirs);
        }
    }

    fn unkeep(&mut self, name: &MailboxName, theirs: Option<&Entry>, ours: Option<&Entry>) {
        self.taken.take_off(name, ours, theirs);
        self.only_theirs = self.only_theirs.saturating_sub(only_theirs(theirs, ours));
    }
}

fn only_theirs(theirs: Option<&Entry>, ours: Option<&Entry>) -> u64 {
    u64::from(ours.is_none() && theirs.is_some_and(|theirs| !is_delete_mark(theirs)))
}
