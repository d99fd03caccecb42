//! What the list knows of one mailbox.

use std::fmt;
use std::sync::Arc;

/// Where a mailbox lives: `server!partition`.
///
/// The partition may be empty: from 3.6 a Cyrus backend sends `server!` when it renames, and that must be
/// kept as it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Location(Arc<[u8]>);

/// Why bytes are not a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// No `!`, or nothing before it.
    #[error("location is not of the form server!partition")]
    NoServer,
    /// Longer than [`Location::MAX`] bytes.
    #[error("location has {0} bytes, more than {max}", max = Location::MAX)]
    TooLong(usize),
    /// Holds a byte below 0x20, or DEL.
    #[error("location holds the control byte {0:#04x}")]
    Control(u8),
}

impl Location {
    /// The longest location accepted, in bytes.
    pub const MAX: usize = 1024;

    /// Checks bytes from the network or the disk.
    pub fn new(bytes: &[u8]) -> Result<Self, LocationError> {
        if bytes.len() > Self::MAX {
            return Err(LocationError::TooLong(bytes.len()));
        }
        if let Some(control) = bytes.iter().find(|b| **b < 0x20 || **b == 0x7f) {
            return Err(LocationError::Control(*control));
        }
        match bytes.iter().position(|b| *b == b'!') {
            None | Some(0) => Err(LocationError::NoServer),
            Some(_) => Ok(Self(bytes.into())),
        }
    }

    /// All bytes, `server!partition`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The server's name, before the `!`.
    pub fn server(&self) -> &[u8] {
        self.0.split(|b| *b == b'!').next().unwrap_or_default()
    }

    /// Whether both are on the same server, whatever the partition: moving between partitions is a
    /// backend's own affair, moving between servers is not.
    pub fn same_server(&self, other: &Self) -> bool {
        self.server() == other.server()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// An access control list in Cyrus's wire form: `id TAB rights TAB …`. Kept as bytes; Ravenry judges
/// equality only.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Acl(Arc<[u8]>);

impl Acl {
    /// Takes the bytes as they are.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The wire form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// One mailbox of the list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    /// Where it lives.
    pub location: Location,
    /// Whether it can be used yet.
    pub state: EntryState,
}

/// RFC 3656: a name is first reserved, then activated.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntryState {
    /// The name is taken; the mailbox is being made or moved (`RESERVE`).
    Reserved,
    /// The mailbox can be used (`ACTIVATE`, `MAILBOX` on the wire).
    Active(Acl),
}

impl Entry {
    /// A usable mailbox.
    pub fn active(location: Location, acl: Acl) -> Self {
        Self { location, state: EntryState::Active(acl) }
    }

    /// A name taken.
    pub fn reserved(location: Location) -> Self {
        Self { location, state: EntryState::Reserved }
    }

    /// Whether the mailbox can be used.
    pub fn is_active(&self) -> bool {
        matches!(self.state, EntryState::Active(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_keeps_its_empty_partition() {
        let location = Location::new(b"be1.murder.test!").unwrap();
        assert_eq!(location.server(), b"be1.murder.test");
        assert_eq!(location.as_bytes(), b"be1.murder.test!");
        assert!(location.same_server(&Location::new(b"be1.murder.test!default").unwrap()));
        assert_eq!(Location::new(b"default"), Err(LocationError::NoServer));
        assert_eq!(Location::new(b"!default"), Err(LocationError::NoServer));
    }
}
