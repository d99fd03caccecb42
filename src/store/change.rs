//! Changes as the log holds them: a byte for the kind, the name as a text, then what the kind needs.

use super::StoreError;
use super::codec::{self, In, Out, order_code, order_of_code};
use super::records::{Change, Conflict, Deed, Doubt, JournalRecord, Synced, Underway};

/// Appends a change.
pub(super) fn encode(out: Out, change: &Change) -> Out {
    match change {
        Change::Put { name, entry } => out.byte(1).text(name.as_bytes()).entry(Some(entry)),
        Change::Remove { name } => out.byte(2).text(name.as_bytes()),
        Change::Journal(record) => out.byte(3).text(record.name.as_bytes()).text(&record.encode()),
        Change::Settle { name, upto } => out.byte(4).text(name.as_bytes()).varint(*upto),
        Change::Doubt { name, doubt } => out.byte(5).text(name.as_bytes()).text(&doubt.encode()),
        Change::Undoubt { name } => out.byte(6).text(name.as_bytes()),
        Change::Conflict(conflict) => out.byte(7).text(conflict.name.as_bytes()).text(&conflict.encode()),
        Change::ResolveConflict { name } => out.byte(8).text(name.as_bytes()),
        Change::Unconfirmed { name, theirs } => out.byte(9).text(name.as_bytes()).entry(theirs.as_ref()),
        Change::Confirm { name } => out.byte(10).text(name.as_bytes()),
        Change::Synced(synced) => out.byte(11).text(&synced.encode()),
        Change::Attended { at_unix } => out.byte(12).varint(*at_unix),
        Change::Reseeding(None) => out.byte(14),
        Change::Reseeding(Some(removals)) => out.byte(15).varint(*removals),
        Change::Remember(deed) => deed.encode(out.byte(17).text(deed.name.as_bytes())),
        Change::Held { held } => out.byte(16).byte(u8::from(*held)),
        Change::Expected { server, until_unix } => out.byte(18).text(server).varint(*until_unix),
        Change::Ghost { server, day } => out.byte(19).text(server).varint(*day),
        Change::Underway { name, underway } => out.byte(20).text(name.as_bytes()).text(&underway.encode()),
        Change::Ended { name } => out.byte(21).text(name.as_bytes()),
        Change::SetOrder(order) => out.byte(13).byte(order_code(*order)),
    }
}

/// Takes a change off the front.
pub(super) fn decode(bytes: &mut In<'_>) -> Result<Change, StoreError> {
    let kind = bytes.byte()?;
    match kind {
        11 => return Ok(Change::Synced(Synced::decode(bytes.text()?)?)),
        12 => return Ok(Change::Attended { at_unix: bytes.varint()? }),
        13 => return Ok(Change::SetOrder(order_of_code(bytes.byte()?)?)),
        14 => return Ok(Change::Reseeding(None)),
        16 => return Ok(Change::Held { held: bytes.byte()? != 0 }),
        15 => return Ok(Change::Reseeding(Some(bytes.varint()?))),
        18 => {
            return Ok(Change::Expected { server: bytes.text()?.to_vec(), until_unix: bytes.varint()? });
        }
        19 => return Ok(Change::Ghost { server: bytes.text()?.to_vec(), day: bytes.varint()? }),
        _ => {}
    }
    let name = codec::name(bytes.text()?)?;
    Ok(match kind {
        1 => {
            let entry = bytes.entry()?.ok_or_else(|| StoreError::corrupt("the log puts nothing"))?;
            Change::Put { name, entry }
        }
        2 => Change::Remove { name },
        3 => Change::Journal(JournalRecord::decode(name, bytes.text()?)?),
        4 => Change::Settle { name, upto: bytes.varint()? },
        5 => Change::Doubt { name, doubt: Doubt::decode(bytes.text()?)? },
        6 => Change::Undoubt { name },
        7 => Change::Conflict(Conflict::decode(name, bytes.text()?)?),
        8 => Change::ResolveConflict { name },
        9 => Change::Unconfirmed { name, theirs: bytes.entry()? },
        10 => Change::Confirm { name },
        17 => Change::Remember(Deed::decode(name, bytes)?),
        20 => Change::Underway { name, underway: Underway::decode(&mut In(bytes.text()?))? },
        21 => Change::Ended { name },
        other => return Err(StoreError::corrupt(format!("the log holds an unknown change, {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::random;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn changes_come_back(changes in proptest::collection::vec(random::change(), 0..8)) {
            let bytes = changes.iter().fold(Out::default(), encode).done();
            let mut rest = In(&bytes);
            let mut found = Vec::new();
            while !rest.0.is_empty() {
                found.push(decode(&mut rest).unwrap());
            }
            prop_assert_eq!(found, changes);
        }

        #[test]
        fn no_bytes_lead_to_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = decode(&mut In(&bytes));
        }
    }
}
