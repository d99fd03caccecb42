//! Values on disk: how they are laid out.
//!
//! Every value is a sequence, without padding, of bytes, varints and texts ([`packed`](crate::packed)) and of
//!
//! - *entry*: a byte (0 absent, 1 reserved, 2 active), then unless absent the location as a text, then if
//!   active the ACL as a text
//!
//! A value of the list itself is laid out so that it can be streamed without being taken apart: a byte
//! (1 reserved, 2 active), the version as a varint, the location as a text, and all that remains is the ACL.

use super::StoreError;
use super::records::{Conflict, Doubt, JournalRecord, Synced, Verb};
use crate::list::{Acl, Entry, EntryState, Location, MailboxName, Order};
use crate::packed::Malformed;
pub(super) use crate::packed::{In, Out};

const ABSENT: u8 = 0;
const RESERVED: u8 = 1;
const ACTIVE: u8 = 2;

type Decoded<T> = Result<T, StoreError>;

impl Out {
    pub(super) fn entry(self, entry: Option<&Entry>) -> Self {
        match entry {
            None => self.byte(ABSENT),
            Some(Entry { location, state }) => match state {
                EntryState::Reserved => self.byte(RESERVED).text(location.as_bytes()),
                EntryState::Active(acl) => self.byte(ACTIVE).text(location.as_bytes()).text(acl.as_bytes()),
            },
        }
    }
}

impl In<'_> {
    fn location(&mut self) -> Decoded<Location> {
        location(self.text()?)
    }

    pub(super) fn entry(&mut self) -> Decoded<Option<Entry>> {
        Ok(match self.byte()? {
            ABSENT => None,
            RESERVED => Some(Entry::reserved(self.location()?)),
            ACTIVE => Some(Entry::active(self.location()?, Acl::new(self.text()?))),
            code => return Err(unknown("entry", code)),
        })
    }
}

pub(super) fn unknown(what: &'static str, code: u8) -> StoreError {
    Malformed::Unknown { what, code }.into()
}

fn location(bytes: &[u8]) -> Decoded<Location> {
    Location::new(bytes).map_err(|e| StoreError::corrupt(format!("a location on disk: {e}")))
}

pub(super) fn name(bytes: &[u8]) -> Decoded<MailboxName> {
    MailboxName::new(bytes).map_err(|e| StoreError::corrupt(format!("a name on disk: {e}")))
}

/// A value of the list, taken apart where it lies.
pub(super) struct Listed<'a> {
    pub(super) version: u64,
    pub(super) location: &'a [u8],
    /// `None` for a reservation.
    pub(super) acl: Option<&'a [u8]>,
}

impl<'a> Listed<'a> {
    pub(super) fn encode(entry: &Entry, version: u64) -> Vec<u8> {
        let (tag, acl) = match &entry.state {
            EntryState::Reserved => (RESERVED, [].as_slice()),
            EntryState::Active(acl) => (ACTIVE, acl.as_bytes()),
        };
        let mut out = Out(Vec::with_capacity(12 + entry.location.as_bytes().len() + acl.len()))
            .byte(tag)
            .varint(version)
            .text(entry.location.as_bytes());
        out.0.extend_from_slice(acl);
        out.done()
    }

    pub(super) fn decode(value: &'a [u8]) -> Decoded<Self> {
        let mut bytes = In(value);
        let tag = bytes.byte()?;
        let version = bytes.varint()?;
        let location = bytes.text()?;
        let acl = match tag {
            RESERVED => None,
            ACTIVE => Some(bytes.0),
            other => return Err(unknown("state", other)),
        };
        Ok(Self { version, location, acl })
    }

    pub(super) fn is_active(value: &[u8]) -> bool {
        value.first() == Some(&ACTIVE)
    }

    pub(super) fn entry(&self) -> Decoded<Entry> {
        let location = location(self.location)?;
        Ok(match self.acl {
            None => Entry::reserved(location),
            Some(acl) => Entry::active(location, Acl::new(acl)),
        })
    }
}

impl JournalRecord {
    pub(super) fn encode(&self) -> Vec<u8> {
        Out::default()
            .byte(match self.verb {
                Verb::Reserve => 1,
                Verb::Activate => 2,
                Verb::Deactivate => 3,
                Verb::Delete => 4,
            })
            .varint(self.at_unix)
            .entry(self.before.as_ref())
            .entry(self.after.as_ref())
            .text(self.identity.as_bytes())
            .text(self.peer.as_bytes())
            .done()
    }

    pub(super) fn decode(name: MailboxName, value: &[u8]) -> Decoded<Self> {
        let mut bytes = In(value);
        let verb = match bytes.byte()? {
            1 => Verb::Reserve,
            2 => Verb::Activate,
            3 => Verb::Deactivate,
            4 => Verb::Delete,
            other => return Err(unknown("verb", other)),
        };
        Ok(Self {
            name,
            verb,
            at_unix: bytes.varint()?,
            before: bytes.entry()?,
            after: bytes.entry()?,
            identity: bytes.string()?,
            peer: bytes.string()?,
        })
    }
}

impl Doubt {
    pub(super) fn encode(&self) -> Vec<u8> {
        Out::default().varint(self.at_unix).entry(self.effect.as_ref()).done()
    }

    pub(super) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut bytes = In(value);
        Ok(Self { at_unix: bytes.varint()?, effect: bytes.entry()? })
    }
}

impl Conflict {
    pub(super) fn encode(&self) -> Vec<u8> {
        Out::default()
            .varint(self.at_unix)
            .entry(self.base.as_ref())
            .entry(self.theirs.as_ref())
            .entry(self.ours.as_ref())
            .done()
    }

    pub(super) fn decode(name: MailboxName, value: &[u8]) -> Decoded<Self> {
        let mut bytes = In(value);
        Ok(Self {
            name,
            at_unix: bytes.varint()?,
            base: bytes.entry()?,
            theirs: bytes.entry()?,
            ours: bytes.entry()?,
        })
    }
}

impl Synced {
    pub(super) fn encode(&self) -> Vec<u8> {
        Out::default().varint(self.at_unix).text(self.master.as_bytes()).text(self.version.as_bytes()).done()
    }

    pub(super) fn decode(value: &[u8]) -> Decoded<Self> {
        let mut bytes = In(value);
        Ok(Self { at_unix: bytes.varint()?, master: bytes.string()?, version: bytes.string()? })
    }
}

pub(super) fn order_code(order: Order) -> u8 {
    match order {
        Order::Raw => 0,
        Order::DatabaseKey => 1,
    }
}

pub(super) fn order_of_code(code: u8) -> Decoded<Order> {
    match code {
        0 => Ok(Order::Raw),
        1 => Ok(Order::DatabaseKey),
        other => Err(unknown("order", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(acl: Option<&[u8]>) -> Entry {
        let location = Location::new(b"be!p").unwrap();
        match acl {
            None => Entry::reserved(location),
            Some(acl) => Entry::active(location, Acl::new(acl)),
        }
    }

    /// Format 1 as it is on disks; these bytes may not change without a new format.
    #[test]
    fn format_1_stays_what_it_is() {
        let name = || MailboxName::new(b"user.a").unwrap();
        assert_eq!(Listed::encode(&entry(None), 5), b"\x01\x05\x04be!p");
        assert_eq!(Listed::encode(&entry(Some(b"a\tlr\t")), 300), b"\x02\xac\x02\x04be!pa\tlr\t");
        let record = JournalRecord {
            name: name(),
            verb: Verb::Deactivate,
            before: Some(entry(Some(b"A"))),
            after: Some(entry(None)),
            identity: "murder".to_owned(),
            peer: "::1".to_owned(),
            at_unix: 200,
        };
        let bytes = b"\x03\xc8\x01\x02\x04be!p\x01A\x01\x04be!p\x06murder\x03::1";
        assert_eq!(record.encode(), bytes);
        assert_eq!(JournalRecord::decode(name(), bytes), Ok(record));
        let doubt = Doubt { effect: None, at_unix: 1 };
        assert_eq!(doubt.encode(), b"\x01\x00");
        let conflict =
            Conflict { name: name(), base: None, theirs: Some(entry(None)), ours: None, at_unix: 1 };
        assert_eq!(conflict.encode(), b"\x01\x00\x01\x04be!p\x00");
        let synced = Synced { master: "mm".to_owned(), version: "3".to_owned(), at_unix: 0 };
        assert_eq!(synced.encode(), b"\x00\x02mm\x013");
        assert_eq!([Order::Raw, Order::DatabaseKey].map(order_code), [0, 1]);
    }

    proptest! {
        #[test]
        fn no_bytes_lead_to_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let name = MailboxName::new(b"user.a").unwrap();
            let _ = Listed::decode(&bytes).and_then(|listed| listed.entry());
            let _ = JournalRecord::decode(name.clone(), &bytes);
            let _ = Doubt::decode(&bytes);
            let _ = Conflict::decode(name, &bytes);
            let _ = Synced::decode(&bytes);
        }
    }
}
