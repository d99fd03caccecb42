//! Senders and recipients (RFC 5321 §4.1.2).

use std::fmt;

use bytes::Bytes;

/// What stands between `<` and `>`: an address, with its source route if it has one; empty for the null sender.
/// Kept as it came.
///
/// Free of control bytes and of spaces outside quotes, so that it can be written into a command again.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Path(Bytes);

impl Path {
    /// Longest path accepted, in bytes. RFC 5321 §4.5.3.1.3 asks for 256; Cyrus has no limit but its line's.
    pub const MAX: usize = 1000;

    /// Checks what stands between the brackets.
    pub fn new(path: impl Into<Bytes>) -> Option<Self> {
        let path = path.into();
        (path.len() <= Self::MAX && Self::end_of(&path) == Some(path.len())).then_some(Self(path))
    }

    /// Where the first `>` outside of quotes is, or the end; `None` when a byte before it can be in no path.
    pub(super) fn end_of(bytes: &[u8]) -> Option<usize> {
        let (mut quoted, mut escaped) = (false, false);
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                0..=31 | 127 => return None,
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = !quoted,
                b'>' if !quoted => return Some(at),
                b' ' | b'<' if !quoted => return None,
                _ => {}
            }
        }
        (!quoted && !escaped).then_some(bytes.len())
    }

    /// As it came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is `<>`, the sender of what must not be answered.
    pub fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    /// Without a source route (`@a,@b:`), which is to be ignored (RFC 5321 appendix C).
    pub fn mailbox(&self) -> &[u8] {
        if !self.0.starts_with(b"@") {
            return &self.0;
        }
        let colon = self.0.iter().position(|byte| *byte == b':');
        colon.and_then(|at| self.0.get(at + 1..)).unwrap_or_default()
    }

    /// Before and after the last `@`.
    pub fn parts(&self) -> (&[u8], Option<&[u8]>) {
        let mailbox = self.mailbox();
        match mailbox.iter().rposition(|byte| *byte == b'@') {
            Some(at) => {
                (mailbox.get(..at).unwrap_or_default(), Some(mailbox.get(at + 1..).unwrap_or_default()))
            }
            None => (mailbox, None),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
