//! The master's fresh list against ours, while it arrives.
//!
//! Both are in the same order, so one walk suffices, and only what differs is kept. Where the master breaks
//! the order (another release, or one configured otherwise), a name is looked up instead: slower, and right.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::facts::Difference;
use crate::list::{Entry, MailboxName, Order, is_delete_mark, takes_away};
use crate::store::{Snapshot, StoreError};

/// More differences than this are not kept: the lists are strangers, and a person is asked anyway.
const KEPT: usize = 1_000_000;

const CHUNK_BYTES: usize = 256 << 10;

/// Compares a list that arrives in parts with a snapshot of ours.
#[derive(Debug)]
pub(super) struct Differ {
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
    taken: u64,
    listed: u64,
}

impl Differ {
    pub(super) fn new(snapshot: Snapshot) -> Self {
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
            taken: 0,
            listed: 0,
        }
    }

    /// Only counts.
    pub(super) fn counting(snapshot: Snapshot) -> Self {
        Self { kept: 0, ..Self::new(snapshot) }
    }

    /// Takes the next part of their list.
    pub(super) fn push(&mut self, part: Vec<(MailboxName, Entry)>) -> Result<(), StoreError> {
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
                    Some(earlier) => self.count(earlier.as_ref(), held.as_ref(), -1),
                    None if self.overflowed => self.count(None, held.as_ref(), -1),
                    None => {}
                }
                if held.as_ref() != Some(&entry) {
                    self.keep(name, Some(entry), held);
                }
            }
        }
        Ok(())
    }

    /// Their list is complete. Gives back the snapshot it was compared with.
    pub(super) fn finish(mut self, took: Duration) -> Result<(Difference, Snapshot), StoreError> {
        while let Some((name, held)) = self.next_of_ours()? {
            self.keep(name, None, Some(held));
        }
        let Self { theirs, overflowed, only_theirs, taken, listed, snapshot, .. } = self;
        Ok((Difference { theirs, overflowed, only_theirs, taken, listed, took }, snapshot))
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
        self.count(theirs.as_ref(), ours.as_ref(), 1);
        if self.theirs.len() >= self.kept {
            self.overflowed = true;
        } else {
            self.theirs.insert(name, theirs);
        }
    }

    fn count(&mut self, theirs: Option<&Entry>, ours: Option<&Entry>, by: i64) {
        if takes_away(theirs, ours) {
            self.taken = self.taken.saturating_add_signed(by);
        }
        if ours.is_none() && theirs.is_some_and(|theirs| !is_delete_mark(theirs)) {
            self.only_theirs = self.only_theirs.saturating_add_signed(by);
        }
    }
}
