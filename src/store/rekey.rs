//! Changing the order in which everything is kept.

use redb::{ReadableTable, WriteTransaction};

use super::StoreError;
use super::schema::{
    ByName, ByNameAndSeq, CONFLICTS, DOUBTS, FORGOTTEN, JOURNAL, LIST, LOADING, UNCONFIRMED,
};
use crate::list::Order;

const NEW_BY_NAME: ByName = ByName::new("rekeyed");
const NEW_BY_NAME_AND_SEQ: ByNameAndSeq = ByNameAndSeq::new("rekeyed-by-seq");

/// Re-keys every table that is keyed by name. A load under way is dropped.
pub(super) fn all(txn: &WriteTransaction, from: Order, to: Order) -> Result<(), StoreError> {
    txn.delete_table(LOADING)?;
    let rekey = |key: &[u8]| -> Result<Vec<u8>, StoreError> {
        let name = from.name(key).map_err(|e| StoreError::corrupt(format!("a key on disk: {e}")))?;
        Ok(to.key(&name))
    };
    for table in [LIST, FORGOTTEN, CONFLICTS, UNCONFIRMED] {
        {
            let old = txn.open_table(table)?;
            let mut new = txn.open_table(NEW_BY_NAME)?;
            for item in old.iter()? {
                let (key, value) = item?;
                new.insert(rekey(key.value())?.as_slice(), value.value())?;
            }
        }
        txn.delete_table(table)?;
        txn.rename_table(NEW_BY_NAME, table)?;
    }
    for table in [JOURNAL, DOUBTS] {
        {
            let old = txn.open_table(table)?;
            let mut new = txn.open_table(NEW_BY_NAME_AND_SEQ)?;
            for item in old.iter()? {
                let (key, value) = item?;
                let (key, seq) = key.value();
                new.insert((rekey(key)?.as_slice(), seq), value.value())?;
            }
        }
        txn.delete_table(table)?;
        txn.rename_table(NEW_BY_NAME_AND_SEQ, table)?;
    }
    Ok(())
}
