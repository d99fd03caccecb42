//! What is under way: which operations have done something to which names, and have not come to their end.
//!
//! A record is written with the step itself and goes lazily, with whatever is committed next. What an earlier run of the
//! process left is told apart by the *life* ([`super::log`]) in which it was written.

use redb::ReadableTable;

use super::StoreError;
use super::codec::{self, In, Out};
use super::records::{Change, LeftOver, Underway};
use super::schema::UNDERWAY;
use super::snapshot::Snapshot;
use crate::list::MailboxName;

impl Underway {
    pub(super) fn encode(&self) -> Vec<u8> {
        Out::default()
            .varint(self.operation)
            .varint(self.at_unix)
            .entry(self.before.as_ref())
            .text(self.identity.as_bytes())
            .text(self.peer.as_bytes())
            .done()
    }

    pub(super) fn decode(bytes: &mut In<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            operation: bytes.varint()?,
            at_unix: bytes.varint()?,
            before: bytes.entry()?,
            identity: bytes.string()?,
            peer: bytes.string()?,
        })
    }
}

/// A value of the table. No change has the sequence number 0.
pub(super) fn encode(life: u64, version: Option<u64>, underway: &Underway) -> Vec<u8> {
    let head = Out::default().varint(life).varint(version.unwrap_or(0));
    head.bytes(&underway.encode()).done()
}

impl LeftOver {
    fn decode(name: MailboxName, value: &[u8]) -> Result<Self, StoreError> {
        let mut bytes = In(value);
        let (life, version) = (bytes.varint()?, bytes.varint()?);
        let underway = Underway::decode(&mut bytes)?;
        Ok(Self { name, underway, life, version: (version > 0).then_some(version) })
    }
}

impl Snapshot {
    /// What earlier runs of the process left under way, by names. What is under way now is passed over; there is never
    /// more of it than operations at a time, and those of the last second.
    pub fn left_over(&self) -> Result<Vec<LeftOver>, StoreError> {
        self.read(|| {
            let mut found = Vec::new();
            for item in self.base.txn.open_table(UNDERWAY)?.iter()? {
                let (name, value) = item?;
                let left = LeftOver::decode(codec::name(name.value())?, value.value())?;
                if left.life != self.base.ledger.mark.life {
                    found.push(left);
                }
            }
            Ok(found)
        })
    }
}

impl Change {
    /// Whether it is a change of the short table of what is under way, which costs a checkpoint next to nothing.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self, Self::Underway { .. } | Self::Ended { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::{Entry, Location};
    use proptest::prelude::*;

    /// As it is on disks; these bytes may not change without a new format.
    #[test]
    fn the_record_stays_what_it_is() {
        let before = Some(Entry::reserved(Location::new(b"be!p").unwrap()));
        let (identity, peer) = ("murder".to_owned(), "::1".to_owned());
        let underway = Underway { operation: 300, before, identity, peer, at_unix: 1 };
        let bytes = b"\x07\x00\xac\x02\x01\x01\x04be!p\x06murder\x03::1";
        assert_eq!(encode(7, None, &underway), bytes);
        let name = MailboxName::new(b"user.a").unwrap();
        let left = LeftOver { name: name.clone(), underway, life: 7, version: None };
        assert_eq!(LeftOver::decode(name, bytes), Ok(left));
    }

    proptest! {
        #[test]
        fn no_bytes_lead_to_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = LeftOver::decode(MailboxName::new(b"user.a").unwrap(), &bytes);
        }
    }
}
