//! The log in front of the tables: what makes most commits durable.
//!
//! A durable commit of redb costs two fsyncs, some twenty pages, and the page allocator. So a group of calls is
//! appended here, with one fsync of a file that never changes its length, and only then committed to the tables,
//! in memory. Every [`CHANGES`] changes, and whenever the log is full, a durable commit of the tables takes the
//! place of all that is logged, and the log begins anew: a *checkpoint*. What is read comes from the tables alone.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the payload, the least significant byte first; 0 is no record |
//! | 16 | link: where the history stood before this group |
//! | 16 | link: where it stands after it, the beginning of the SHA-256 of the link before and the payload |
//! | | payload: the *life* as a varint, then the changes ([`super::change`]) |
//!
//! The tables hold the link that they are at ([`Mark`]), in every commit. A record counts only where its link is
//! the tables' or its predecessor's: what earlier rounds left behind in the log, or a power cut tore, links to
//! nothing. A life begins whenever the store is opened, so that a group that was lost with one and is made again
//! in the next has another link, and does not bring back what once followed it. The hash is a cryptographic one,
//! since names and ACLs come from outside.

use std::io;
use std::sync::Arc;

use redb::StorageBackend;
use sha2::{Digest, Sha256};

use super::StoreError;
use super::batch::Batch;
use super::change;
use super::codec::{In, Out};
use super::records::Change;

/// The log's length as a file of its own.
pub(super) const LEN: u64 = 1 << 20;

/// So many changes at most are in the log only, those of what is under way not counted: what a checkpoint writes at
/// random places of a long list stays a matter of milliseconds.
pub(super) const CHANGES: usize = 256;

const LINK: usize = 16;
const HEAD: usize = 4 + 2 * LINK;

type Link = [u8; LINK];

/// Where in its history the store is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mark {
    /// How often it was opened.
    pub(super) life: u64,
    pub(super) link: Link,
}

impl Mark {
    /// After a change that is in the tables, but not in the log.
    pub(super) fn past(self, seq: u64) -> Self {
        let payload = Out::default().varint(self.life).varint(seq).done();
        Self { link: follow(&self.link, &payload), ..self }
    }

    /// The store was opened.
    pub(super) fn reborn(self, seq: u64) -> Self {
        Self { life: self.life.wrapping_add(1), ..self }.past(seq)
    }
}

fn follow(before: &Link, payload: &[u8]) -> Link {
    let hash: [u8; 32] = Sha256::new().chain_update(before).chain_update(payload).finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// A group of calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    before: Link,
    after: Link,
    payload: Vec<u8>,
}

impl Record {
    pub(super) fn new<'a>(at: Mark, changes: impl Iterator<Item = &'a Change>) -> Self {
        let payload = changes.fold(Out::default().varint(at.life), change::encode).done();
        Self { before: at.link, after: follow(&at.link, &payload), payload }
    }

    /// Where the store is after it.
    pub(super) fn mark(&self, life: u64) -> Mark {
        Mark { life, link: self.after }
    }

    fn changes(&self) -> Result<Vec<Change>, StoreError> {
        let mut bytes = In(&self.payload);
        bytes.varint()?;
        let mut changes = Vec::new();
        while !bytes.0.is_empty() {
            changes.push(change::decode(&mut bytes)?);
        }
        Ok(changes)
    }

    fn encode(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        [length.as_slice(), &self.before, &self.after, &self.payload].concat()
    }

    /// The record at the beginning of these bytes, if there is a whole one.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (before, rest) = rest.split_first_chunk::<LINK>()?;
        let (after, rest) = rest.split_first_chunk::<LINK>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length > 0)?;
        let payload = rest.get(..length)?;
        (follow(before, payload) == *after).then(|| Self {
            before: *before,
            after: *after,
            payload: payload.to_vec(),
        })
    }

    fn len(&self) -> u64 {
        (HEAD + self.payload.len()) as u64
    }
}

/// The file.
pub(super) struct Log {
    disk: Box<dyn StorageBackend>,
    len: u64,
    at: u64,
}

impl Log {
    /// Opens or makes it; gives back what it holds. It is to be begun anew once the tables hold that too.
    pub(super) fn open(disk: Box<dyn StorageBackend>, len: u64) -> io::Result<(Self, Vec<Record>)> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        if disk.len()? < len {
            // Written once, so that appending never changes anything but what is in the file.
            disk.set_len(len)?;
            disk.write(0, &bytes)?;
            disk.sync_data()?;
        } else {
            disk.read(0, &mut bytes)?;
        }
        let mut records: Vec<Record> = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(record) = Record::decode(rest)
            && records.last().is_none_or(|last| last.after == record.before)
        {
            rest = rest.get(HEAD + record.payload.len()..).unwrap_or_default();
            records.push(record);
        }
        Ok((Self { disk, len, at: 0 }, records))
    }

    pub(super) fn has_room(&self, record: &Record) -> bool {
        record.len() <= self.len - self.at
    }

    /// Makes a record durable.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<()> {
        self.disk.write(self.at, &record.encode())?;
        self.disk.sync_data()?;
        self.at += record.len();
        Ok(())
    }

    /// What is in the log is in the tables, durably.
    pub(super) fn restart(&mut self) {
        self.at = 0;
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Nothing is left to be written.
        let _ = self.disk.close();
    }
}

/// Does to the tables what they do not have yet.
pub(super) fn replay(batch: &mut Batch<'_>, records: &[Record]) -> Result<(), StoreError> {
    for record in records {
        if record.before == batch.ledger.mark.link {
            for change in record.changes()? {
                batch.apply(change)?;
            }
            batch.ledger.mark = record.mark(batch.ledger.mark.life);
        }
    }
    Ok(())
}

/// A part of a disk, as a disk of its own: for a store that has only one.
#[derive(Debug)]
pub(super) struct Region {
    disk: Arc<dyn StorageBackend>,
    from: u64,
    most: u64,
}

impl Region {
    /// The log in front, the tables behind it.
    pub(super) fn split(disk: impl StorageBackend, log: u64) -> (Self, Self) {
        let disk: Arc<dyn StorageBackend> = Arc::new(disk);
        (Self { disk: disk.clone(), from: 0, most: log }, Self { disk, from: log, most: u64::MAX - log })
    }
}

impl StorageBackend for Region {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.len()?.saturating_sub(self.from).min(self.most))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.read(self.from + offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.set_len(self.from + len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disk.write(self.from + offset, data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::backends::InMemoryBackend;

    fn record(at: Mark, at_unix: u64) -> Record {
        Record::new(at, [Change::Attended { at_unix }].iter())
    }

    fn kept(disk: &[u8]) -> Vec<Record> {
        let backend = InMemoryBackend::new();
        backend.set_len(4096).unwrap();
        backend.write(0, disk).unwrap();
        Log::open(Box::new(backend), 4096).unwrap().1
    }

    #[test]
    fn what_is_torn_or_left_from_earlier_rounds_links_to_nothing() {
        let start = Mark::default().reborn(0);
        let first = record(start, 1);
        let second = record(first.mark(start.life), 2);
        let both = [first.encode(), second.encode()].concat();
        assert_eq!(kept(&both), [first.clone(), second.clone()]);
        for at in 0..first.encode().len() {
            let mut torn = both.clone();
            torn[at] ^= 0x40;
            assert!(kept(&torn).is_empty(), "byte {at}");
        }
        // The next round writes over the first record; the second one is still there.
        let anew = record(second.mark(start.life).past(2), 1);
        let left = [anew.encode(), second.encode()].concat();
        assert_eq!(kept(&left), [anew]);
    }

    #[test]
    fn a_group_lost_with_one_life_does_not_lend_its_link_to_the_next() {
        let start = Mark::default().reborn(0);
        let lost = record(start, 1);
        let followed = record(lost.mark(start.life), 2);
        let again = record(start.reborn(0), 1);
        assert_eq!(kept(&[again.encode(), followed.encode()].concat()), [again]);
    }
}
