//! Who changed a name, for people: kept for a time, and only so much, the latest.

use redb::{ReadableTable, ReadableTableMetadata};

use super::batch::Tables;
use super::codec::{In, Listed, Out, unknown};
use super::records::{Cause, Deed, Remembered};
use super::{Options, StoreError};
use crate::list::MailboxName;

/// So many changes are kept at most: some 250 bytes each.
const MOST: u64 = 1_000_000;

impl Cause {
    fn encode(&self, out: Out) -> Out {
        match self {
            Self::Asked { identity, peer } => out.byte(1).text(identity.as_bytes()).text(peer.as_bytes()),
            Self::TakenBack { identity, peer } => out.byte(2).text(identity.as_bytes()).text(peer.as_bytes()),
            Self::Master => out.byte(3),
            Self::Person => out.byte(4),
            Self::Guard => out.byte(5),
            Self::Unfinished => out.byte(6),
        }
    }

    fn decode(bytes: &mut In<'_>) -> Result<Self, StoreError> {
        Ok(match bytes.byte()? {
            1 => Self::Asked { identity: bytes.string()?, peer: bytes.string()? },
            2 => Self::TakenBack { identity: bytes.string()?, peer: bytes.string()? },
            3 => Self::Master,
            4 => Self::Person,
            5 => Self::Guard,
            6 => Self::Unfinished,
            other => return Err(unknown("cause", other)),
        })
    }
}

impl Deed {
    pub(super) fn encode(&self, out: Out) -> Out {
        let out = out.varint(self.at_unix).text(self.state.as_bytes()).entry(self.after.as_ref());
        self.cause.encode(out)
    }

    pub(super) fn decode(name: MailboxName, bytes: &mut In<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            name,
            at_unix: bytes.varint()?,
            state: bytes.string()?,
            after: bytes.entry()?,
            cause: Cause::decode(bytes)?,
        })
    }
}

impl Remembered {
    pub(super) fn decode(name: MailboxName, value: &[u8]) -> Result<Self, StoreError> {
        let mut bytes = In(value);
        Ok(Self { deed: Deed::decode(name, &mut bytes)?, before: bytes.entry()? })
    }
}

/// Puts a deed on record, with what the list holds under `key` so far.
pub(super) fn remember(
    tables: &mut Tables<'_>,
    key: &[u8],
    seq: u64,
    deed: &Deed,
    options: &Options,
) -> Result<(), StoreError> {
    if options.history_seconds == 0 {
        return Ok(());
    }
    let before = match tables.list.get(key)? {
        None => None,
        Some(value) => Some(Listed::decode(value.value())?.entry()?),
    };
    let value = deed.encode(Out::default()).entry(before.as_ref()).done();
    tables.history.insert((deed.name.as_bytes(), seq), value.as_slice())?;
    tables.history_by_seq.insert(seq, deed.name.as_bytes())?;
    Ok(())
}

/// Drops what is too much or too old.
pub(super) fn trim(tables: &mut Tables<'_>, options: &Options) -> Result<(), StoreError> {
    let now = (options.now_unix)();
    loop {
        let oldest = tables.history_by_seq.first()?.map(|(seq, name)| (seq.value(), name.value().to_vec()));
        let Some((seq, name)) = oldest else { return Ok(()) };
        let at = match tables.history.get((name.as_slice(), seq))? {
            None => 0,
            // The time comes first.
            Some(value) => In(value.value()).varint()?,
        };
        if tables.history_by_seq.len()? <= MOST && now.saturating_sub(at) <= options.history_seconds {
            return Ok(());
        }
        tables.history.remove((name.as_slice(), seq))?;
        tables.history_by_seq.remove(seq)?;
    }
}
