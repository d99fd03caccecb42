//! Names that were in the list and are not any more.
//!
//! A slave may still hold them, and by that lose others while it merges (see [`crate::list::slave_drops`]);
//! so who streams the list needs them. They are kept for a time, and only so many, the latest.

use redb::{ReadableTable, ReadableTableMetadata};

use super::batch::Tables;
use super::codec::{In, Out};
use super::{Options, StoreError};
use crate::list::Order;

/// The list lost this name.
pub(super) fn remember(
    tables: &mut Tables<'_>,
    key: &[u8],
    name: &[u8],
    seq: u64,
    now_unix: u64,
) -> Result<(), StoreError> {
    recall(tables, key)?;
    let value = Out::default().varint(seq).varint(now_unix).done();
    tables.forgotten.insert(key, value.as_slice())?;
    tables.forgotten_by_seq.insert(seq, name)?;
    Ok(())
}

/// The list has the name again.
pub(super) fn recall(tables: &mut Tables<'_>, key: &[u8]) -> Result<(), StoreError> {
    if tables.forgotten.is_empty()? {
        return Ok(());
    }
    let Some(seq) = tables.forgotten.remove(key)?.map(|value| In(value.value()).varint()).transpose()? else {
        return Ok(());
    };
    tables.forgotten_by_seq.remove(seq)?;
    Ok(())
}

/// Drops the names that are too many or too old.
pub(super) fn trim(tables: &mut Tables<'_>, order: Order, options: &Options) -> Result<(), StoreError> {
    let now = (options.now_unix)();
    loop {
        let Some((seq, name)) =
            tables.forgotten_by_seq.first()?.map(|(seq, name)| (seq.value(), name.value().to_vec()))
        else {
            return Ok(());
        };
        let key = order.key(&super::codec::name(&name)?);
        let since = match tables.forgotten.get(key.as_slice())? {
            None => 0,
            Some(value) => {
                let mut bytes = In(value.value());
                bytes.varint()?;
                bytes.varint()?
            }
        };
        if tables.forgotten.len()? <= options.forgotten_names
            && now.saturating_sub(since) <= options.forgotten_seconds
        {
            return Ok(());
        }
        tables.forgotten.remove(key.as_slice())?;
        tables.forgotten_by_seq.remove(seq)?;
    }
}
