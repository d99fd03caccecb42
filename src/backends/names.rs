//! Names as an administrator writes them: `user/alice/Sent@example.org` for `example.org!user.alice.Sent`.
//!
//! Whatever `altnamespace` says, administrators see the plain namespace; only the separator differs, and with `/` a
//! dot inside a component is a dot and not `^`.

use crate::list::MailboxName;

/// An internal name, as it is written to a server with this separator.
pub(super) fn to_wire(name: &MailboxName, separator: u8) -> Vec<u8> {
    let bytes = name.as_bytes();
    let (domain, local) = match bytes.iter().position(|byte| *byte == b'!') {
        None => (None, bytes),
        Some(at) => (bytes.get(..at), bytes.get(at + 1..).unwrap_or_default()),
    };
    let mut wire = outward(local, separator);
    if let Some(domain) = domain {
        wire.push(b'@');
        wire.extend_from_slice(domain);
    }
    wire
}

/// The internal name of what the server calls `wire`; `None` when it can be none.
pub(super) fn from_wire(wire: &[u8], separator: u8) -> Option<MailboxName> {
    let (local, domain) = match wire.iter().rposition(|byte| *byte == b'@') {
        None => (wire, None),
        Some(at) => (wire.get(..at)?, wire.get(at + 1..)),
    };
    let mut name = domain.map(|domain| [domain, b"!"].concat()).unwrap_or_default();
    name.extend(inward(local, separator));
    MailboxName::new(&name).ok()
}

/// `.` and `^` of an internal name, with `/` between components.
fn outward(name: &[u8], separator: u8) -> Vec<u8> {
    let turn = |byte: &u8| match *byte {
        b'.' => separator,
        b'^' if separator != b'.' => b'.',
        other => other,
    };
    name.iter().map(turn).collect()
}

/// The inverse of [`outward`].
fn inward(name: &[u8], separator: u8) -> Vec<u8> {
    let turn = |byte: &u8| match *byte {
        byte if byte == separator => b'.',
        b'.' => b'^',
        other => other,
    };
    name.iter().map(turn).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (internal, separator, wire) in [
            ("user.alice.Sent", b'.', "user.alice.Sent"),
            ("user.a^smith.2^0", b'/', "user/a.smith/2.0"),
            ("user.a^b", b'.', "user.a^b"),
            ("example.org!user.alice", b'.', "user.alice@example.org"),
            ("shared", b'/', "shared"),
        ] {
            let name = MailboxName::new(internal.as_bytes()).unwrap();
            assert_eq!(to_wire(&name, separator), wire.as_bytes());
            assert_eq!(from_wire(wire.as_bytes(), separator), Some(name), "{wire}");
        }
    }
}
