//! The tables, their keys, and the counters kept beside them.

use redb::{ReadableTable, TableDefinition};

use super::StoreError;
use super::ages::Ages;
use super::codec::{In, Out, order_code, order_of_code};
use super::log::Mark;
use super::records::Synced;
use super::servers::Servers;
use crate::list::{MailboxName, Order};

/// The format this release writes, and the newest it reads. Format 1 is described in [`super`].
pub(super) const FORMAT: u32 = 1;

/// Keyed by a name in the list's order.
pub(super) type ByName = TableDefinition<'static, &'static [u8], &'static [u8]>;
/// Keyed by a name in the list's order and a sequence number; several per name.
pub(super) type ByNameAndSeq = TableDefinition<'static, (&'static [u8], u64), &'static [u8]>;
/// Keyed by a sequence number; the value is a name as it is, whatever the order.
pub(super) type BySeq = TableDefinition<'static, u64, &'static [u8]>;
/// Keyed by a word.
pub(super) type ByWord = TableDefinition<'static, &'static str, &'static [u8]>;

pub(super) const LIST: ByName = TableDefinition::new("list");
pub(super) const LOADING: ByName = TableDefinition::new("loading");
pub(super) const FORGOTTEN: ByName = TableDefinition::new("forgotten");
pub(super) const FORGOTTEN_BY_SEQ: BySeq = TableDefinition::new("forgotten-by-seq");
pub(super) const JOURNAL: ByNameAndSeq = TableDefinition::new("journal");
pub(super) const JOURNAL_BY_SEQ: BySeq = TableDefinition::new("journal-by-seq");
pub(super) const DOUBTS: ByNameAndSeq = TableDefinition::new("doubts");
pub(super) const CONFLICTS: ByName = TableDefinition::new("conflicts");
pub(super) const UNCONFIRMED: ByName = TableDefinition::new("unconfirmed");
/// Keyed by a name as it is, whatever the order, and a sequence number.
pub(super) const HISTORY: ByNameAndSeq = TableDefinition::new("history");
pub(super) const HISTORY_BY_SEQ: BySeq = TableDefinition::new("history-by-seq");
/// Keyed by a name as it is, whatever the order.
pub(super) const UNDERWAY: ByName = TableDefinition::new("underway");
pub(super) const META: ByWord = TableDefinition::new("meta");

const WORD_FORMAT: &str = "format";
const WORD_LEDGER: &str = "ledger";
const WORD_SYNCED: &str = "synced";
const WORD_RESEEDING: &str = "reseeding";
/// There, with nothing in it, while an operator keeps Ravenry standing in.
const WORD_HELD: &str = "held";
const WORD_AGES: &str = "ages";
const WORD_SERVERS: &str = "servers";

/// All records of one name.
pub(super) fn records_of(key: &[u8]) -> std::ops::RangeInclusive<(&[u8], u64)> {
    (key, 0)..=(key, u64::MAX)
}

/// What is kept beside the tables so that nothing has to be counted: written in every transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ledger {
    /// The greatest sequence number given out.
    pub(super) seq: u64,
    pub(super) order: Order,
    pub(super) active: u64,
    pub(super) reserved: u64,
    /// Names with at least one journal record.
    pub(super) journalled: u64,
    /// 0: never.
    pub(super) attended_at: u64,
    pub(super) synced: Option<Synced>,
    /// A reseed that did not come to its end, with the names that the master may lose by it.
    pub(super) reseeding: Option<u64>,
    pub(super) held: bool,
    pub(super) ages: Ages,
    pub(super) servers: Servers,
    pub(super) mark: Mark,
}

impl Ledger {
    /// Reads it; `None` in a store that was just created.
    pub(super) fn read(
        meta: &impl ReadableTable<&'static str, &'static [u8]>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(format) = meta.get(WORD_FORMAT)? else {
            return Ok(None);
        };
        let found = u32::try_from(In(format.value()).varint()?).unwrap_or(u32::MAX);
        match found {
            FORMAT => {}
            0 => return Err(StoreError::corrupt("the format's number is 0")),
            found => return Err(StoreError::TooNew { found, known: FORMAT }),
        }
        let value = meta.get(WORD_LEDGER)?.ok_or_else(|| StoreError::corrupt("the counters are missing"))?;
        let mut bytes = In(value.value());
        let synced = meta.get(WORD_SYNCED)?;
        Ok(Some(Self {
            seq: bytes.varint()?,
            order: order_of_code(bytes.byte()?)?,
            active: bytes.varint()?,
            reserved: bytes.varint()?,
            journalled: bytes.varint()?,
            attended_at: bytes.varint()?,
            synced: synced.map(|v| Synced::decode(v.value())).transpose()?,
            reseeding: meta.get(WORD_RESEEDING)?.map(|v| In(v.value()).varint()).transpose()?,
            held: meta.get(WORD_HELD)?.is_some(),
            ages: meta.get(WORD_AGES)?.map_or(Ok(Ages::default()), |v| Ages::decode(v.value()))?,
            servers: meta
                .get(WORD_SERVERS)?
                .map_or(Ok(Servers::default()), |v| Servers::decode(v.value()))?,
            mark: Mark { life: bytes.varint()?, link: bytes.array()? },
        }))
    }

    /// Writes what differs from `before`.
    pub(super) fn write(
        &self,
        before: Option<&Self>,
        meta: &mut redb::Table<'_, &'static str, &'static [u8]>,
    ) -> Result<(), StoreError> {
        if before.is_none() {
            meta.insert(WORD_FORMAT, Out::default().varint(FORMAT.into()).done().as_slice())?;
        }
        if before != Some(self) {
            let value = Out::default()
                .varint(self.seq)
                .byte(order_code(self.order))
                .varint(self.active)
                .varint(self.reserved)
                .varint(self.journalled)
                .varint(self.attended_at)
                .varint(self.mark.life)
                .bytes(&self.mark.link)
                .done();
            meta.insert(WORD_LEDGER, value.as_slice())?;
        }
        if let Some(synced) = &self.synced
            && before.is_none_or(|b| b.synced != self.synced)
        {
            meta.insert(WORD_SYNCED, synced.encode().as_slice())?;
        }
        match self.reseeding {
            same if before.is_some_and(|b| b.reseeding == same) => {}
            Some(removals) => {
                drop(meta.insert(WORD_RESEEDING, Out::default().varint(removals).done().as_slice())?);
            }
            None => drop(meta.remove(WORD_RESEEDING)?),
        }
        match (before.is_some_and(|before| before.held), self.held) {
            (false, true) => drop(meta.insert(WORD_HELD, [].as_slice())?),
            (true, false) => drop(meta.remove(WORD_HELD)?),
            _ => {}
        }
        if before.is_none_or(|before| before.ages != self.ages) {
            meta.insert(WORD_AGES, self.ages.encode().as_slice())?;
        }
        if before.is_none_or(|before| before.servers != self.servers) {
            meta.insert(WORD_SERVERS, self.servers.encode().as_slice())?;
        }
        Ok(())
    }
}

/// Turns keys back into the bytes of names without making a name of each.
///
/// An order maps names to keys byte by byte; the table is read off [`Order::name`], so that the mapping is
/// written down in one place only.
#[derive(Clone)]
pub(super) struct Unkey([u8; 256]);

impl Unkey {
    pub(super) fn new(order: Order) -> Self {
        let mut table = [0; 256];
        for (slot, byte) in table.iter_mut().zip(0..=u8::MAX) {
            let name: Option<MailboxName> = order.name(&[byte]).ok();
            *slot = name.and_then(|n| n.as_bytes().first().copied()).unwrap_or(byte);
        }
        Self(table)
    }

    /// Writes the name that the key stands for over `name`.
    pub(super) fn restore(&self, key: &[u8], name: &mut Vec<u8>) {
        name.clear();
        name.extend(key.iter().map(|b| self.0.get(usize::from(*b)).copied().unwrap_or(*b)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unkey_agrees_with_the_order(text in "[a-c.^! &~é-]{1,20}") {
            let name = MailboxName::new(text.as_bytes()).unwrap();
            for order in [Order::Raw, Order::DatabaseKey] {
                let mut found = Vec::new();
                Unkey::new(order).restore(&order.key(&name), &mut found);
                prop_assert_eq!(&found, name.as_bytes());
            }
        }
    }
}
