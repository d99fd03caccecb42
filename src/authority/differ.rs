//! The master's fresh list against ours, while it arrives.
//!
//! Both are in the same order, so one walk suffices, and only what differs is kept. Where the master breaks
//! the order (another release, or one configured otherwise), a name is looked up instead: slower, and right.

use std::cmp::Ordering;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::facts::Difference;
use crate::list::{Entry, MailboxName, Order};
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
    overflowed: bool,
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
            overflowed: false,
            listed: 0,
        }
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
            } else if self.snapshot.get(&name)?.as_ref() == Some(&entry) {
                self.theirs.remove(&name);
            } else {
                self.keep(name, Some(entry));
            }
        }
        Ok(())
    }

    /// Their list is complete. Gives back the snapshot it was compared with.
    pub(super) fn finish(mut self, took: Duration) -> Result<(Difference, Snapshot), StoreError> {
        while let Some((name, _)) = self.next_of_ours()? {
            self.keep(name, None);
        }
        let Self { theirs, overflowed, listed, snapshot, .. } = self;
        Ok((Difference { theirs, overflowed, listed, took }, snapshot))
    }

    fn walk_to(&mut self, name: &MailboxName, entry: Option<Entry>) -> Result<(), StoreError> {
        loop {
            let Some((ours, held)) = self.next_of_ours()? else {
                self.keep(name.clone(), entry);
                return Ok(());
            };
            match self.order.compare(&ours, name) {
                Ordering::Less => self.keep(ours, None),
                Ordering::Equal => {
                    if entry.as_ref() != Some(&held) {
                        self.keep(ours, entry);
                    }
                    return Ok(());
                }
                Ordering::Greater => {
                    self.ahead.push_front((ours, held));
                    self.keep(name.clone(), entry);
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

    fn keep(&mut self, name: MailboxName, theirs: Option<Entry>) {
        if self.theirs.len() >= KEPT {
            self.overflowed = true;
        } else {
            self.theirs.insert(name, theirs);
        }
    }
}
