//! Mailbox names in Cyrus's internal form.

use std::fmt;
use std::sync::Arc;

/// A mailbox name in Cyrus's internal form: `user.alice.Sent`, `example.org!user.bob^smith`,
/// modified UTF-7, `^` for a dot inside a component.
///
/// Cheap to clone. Never empty, never longer than [`MailboxName::MAX`], and free of control bytes, which
/// the database-key order needs for itself (see [`super::Order`]). Equality is byte equality; names have
/// no order of their own: compare them through an [`super::Order`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MailboxName(Arc<[u8]>);

/// Why bytes are not a mailbox name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("mailbox name is empty")]
    Empty,
    /// Longer than [`MailboxName::MAX`] bytes.
    #[error("mailbox name has {0} bytes, more than {max}", max = MailboxName::MAX)]
    TooLong(usize),
    /// Holds NUL, CR, LF or another byte below 0x20, or DEL.
    #[error("mailbox name holds the control byte {0:#04x}")]
    Control(u8),
}

impl MailboxName {
    /// The longest name accepted, in bytes. Cyrus's own limit is `MAX_MAILBOX_NAME`, 490; room is left for
    /// releases that raise it.
    pub const MAX: usize = 1024;

    /// Checks bytes from the network or the disk.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > Self::MAX {
            return Err(NameError::TooLong(bytes.len()));
        }
        match bytes.iter().find(|b| **b < 0x20 || **b == 0x7f) {
            Some(control) => Err(NameError::Control(*control)),
            None => Ok(Self(bytes.into())),
        }
    }

    /// The name's bytes in internal form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is a mailbox kept by Cyrus's delayed delete (`DELETED.` or `domain!DELETED.`).
    pub fn is_deleted(&self) -> bool {
        let local = match self.0.iter().position(|b| *b == b'!') {
            Some(at) => self.0.get(at + 1..).unwrap_or_default(),
            None => &self.0,
        };
        local.starts_with(b"DELETED.")
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_break_a_line_or_the_order() {
        assert_eq!(MailboxName::new(b""), Err(NameError::Empty));
        assert_eq!(MailboxName::new(b"user.a\r\nX"), Err(NameError::Control(b'\r')));
        assert_eq!(MailboxName::new(b"user.a\x1fb"), Err(NameError::Control(0x1f)));
        assert_eq!(MailboxName::new(&[b'a'; 1025]), Err(NameError::TooLong(1025)));
        assert!(MailboxName::new("user.café".as_bytes()).is_ok());
    }

    #[test]
    fn knows_delayed_deletes_in_every_domain() {
        for (name, deleted) in [
            ("DELETED.user.alice.6B041D87", true),
            ("example.org!DELETED.user.bob", true),
            ("user.DELETED.x", false),
        ] {
            assert_eq!(MailboxName::new(name.as_bytes()).unwrap().is_deleted(), deleted, "{name}");
        }
    }
}
