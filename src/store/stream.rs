//! Reading the whole list part by part, as `UPDATE` and `LIST` send it.

use std::ops::Bound;

use redb::{AccessGuard, Range};

use super::StoreError;
use super::codec::Listed;
use super::schema::{FORGOTTEN, Unkey};
use super::snapshot::Snapshot;
use crate::list::{Entry, MailboxName};

/// Where the next part of the list begins. Start with [`Cursor::default`]; use it with one snapshot only.
#[derive(Clone, Debug, Default)]
pub struct Cursor(At);

#[derive(Clone, Debug, Default)]
enum At {
    #[default]
    Start,
    After(Vec<u8>),
    End,
}

/// An entry where it lies in the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRef<'a> {
    /// `server!partition`
    pub location: &'a [u8],
    /// `None` for a reservation.
    pub acl: Option<&'a [u8]>,
}

impl Snapshot {
    /// Hands the next part of the list to `each`, name and entry, in the list's order, and stops once names and
    /// entries make `max_bytes`, or after one entry if that is longer. Tells whether more may follow.
    pub fn read_chunk(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
        each: &mut dyn FnMut(&[u8], EntryRef<'_>),
    ) -> Result<bool, StoreError> {
        self.walk(cursor, max_bytes, false, &mut |name, entry| {
            if let Some(entry) = entry {
                each(name, entry);
            }
        })
    }

    /// As [`Self::read_chunk`], with the forgotten names (`None`) at their places: what
    /// [`crate::list::slave_drops`] wants to see.
    pub fn read_chunk_with_forgotten(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
        each: &mut dyn FnMut(&[u8], Option<EntryRef<'_>>),
    ) -> Result<bool, StoreError> {
        self.walk(cursor, max_bytes, true, each)
    }

    /// The next part of the list after a name, as values: at most about `max_bytes`, but one entry at least.
    /// Empty at the end of the list.
    pub fn chunk(
        &self,
        after: Option<&MailboxName>,
        max_bytes: usize,
    ) -> Result<Vec<(MailboxName, Entry)>, StoreError> {
        let mut cursor = Cursor(match after {
            None => At::Start,
            Some(name) => At::After(self.order().key(name)),
        });
        let mut entries = Vec::new();
        let mut broken = None;
        self.walk(&mut cursor, max_bytes, false, &mut |name, entry| {
            let Some(EntryRef { location, acl }) = entry else {
                return;
            };
            let listed = Listed { version: 0, location, acl };
            match super::codec::name(name).and_then(|name| Ok((name, listed.entry()?))) {
                Ok(entry) => entries.push(entry),
                Err(error) => broken = Some(error),
            }
        })?;
        broken.map_or(Ok(entries), Err)
    }

    fn walk(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
        with_forgotten: bool,
        each: &mut dyn FnMut(&[u8], Option<EntryRef<'_>>),
    ) -> Result<bool, StoreError> {
        self.read(|| {
            let from = match &cursor.0 {
                At::Start => Bound::Unbounded,
                At::After(key) => Bound::Excluded(key.as_slice()),
                At::End => return Ok(false),
            };
            let range = (from, Bound::Unbounded);
            let mut list = Peeked::over(self.base.list.range::<&[u8]>(range)?)?;
            let mut forgotten = match with_forgotten {
                true => Some(Peeked::over(self.base.txn.open_table(FORGOTTEN)?.range::<&[u8]>(range)?)?),
                false => None,
            };
            let unkey = Unkey::new(self.order());
            let mut name = Vec::new();
            let mut bytes = 0;
            let mut last = None;
            while bytes < max_bytes.max(1) {
                let lost = match &mut forgotten {
                    Some(lost) if lost.comes_before(&list) => lost.advance()?,
                    _ => None,
                };
                if let Some((key, _)) = lost {
                    unkey.restore(key.value(), &mut name);
                    bytes += name.len();
                    each(&name, None);
                    last = Some(key);
                } else if let Some((key, value)) = list.advance()? {
                    unkey.restore(key.value(), &mut name);
                    let Listed { location, acl, .. } = Listed::decode(value.value())?;
                    bytes += name.len() + location.len() + acl.map_or(0, <[u8]>::len);
                    each(&name, Some(EntryRef { location, acl }));
                    last = Some(key);
                } else {
                    cursor.0 = At::End;
                    return Ok(false);
                }
            }
            if let Some(last) = last {
                cursor.0 = At::After(last.value().to_vec());
            }
            Ok(true)
        })
    }
}

type Bytes = AccessGuard<'static, &'static [u8]>;

/// A range that shows what comes next.
struct Peeked {
    range: Range<'static, &'static [u8], &'static [u8]>,
    next: Option<(Bytes, Bytes)>,
}

impl Peeked {
    fn over(mut range: Range<'static, &'static [u8], &'static [u8]>) -> Result<Self, StoreError> {
        let next = range.next().transpose()?;
        Ok(Self { range, next })
    }

    fn comes_before(&self, other: &Self) -> bool {
        match (&self.next, &other.next) {
            (Some((mine, _)), Some((theirs, _))) => mine.value() < theirs.value(),
            (mine, _) => mine.is_some(),
        }
    }

    fn advance(&mut self) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let after = match self.next {
            Some(_) => self.range.next().transpose()?,
            None => None,
        };
        Ok(std::mem::replace(&mut self.next, after))
    }
}
