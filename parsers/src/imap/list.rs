//! Replies to LIST.

use std::borrow::Cow;

use nom::Parser;
use nom::bytes::complete::{tag_no_case, take_until};

use super::command::argument;

/// One mailbox of a LIST reply (RFC 9051 §7.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// `\HasNoChildren \Marked`, as they stand in the parentheses.
    pub attributes: &'a [u8],
    /// The hierarchy separator; `None` for `NIL`.
    pub separator: Option<u8>,
    /// The name, as the server writes it.
    pub name: Cow<'a, [u8]>,
}

impl<'a> Listed<'a> {
    /// Reads `* LIST (…) "." name`; `None` when it is no such reply.
    pub fn parse(reply: &'a [u8]) -> Option<Self> {
        let start = (tag_no_case::<_, _, nom::error::Error<&[u8]>>("* LIST ("), take_until(")"));
        let (rest, attributes) = start.map(|(_, attributes)| attributes).parse(reply).ok()?;
        let (rest, separator) = argument(rest.strip_prefix(b")")?).ok()?;
        let (_, name) = argument(rest).ok()?;
        let separator = match separator.as_ref() {
            [separator] => Some(*separator),
            nil if nil.eq_ignore_ascii_case(b"NIL") => None,
            _ => return None,
        };
        Some(Self { attributes, separator, name })
    }

    /// Whether there is such a mailbox, rather than only mailboxes below that name.
    pub fn exists(&self) -> bool {
        let missing = [b"\\Noselect".as_slice(), b"\\NonExistent"];
        !self
            .attributes
            .split(|byte| *byte == b' ')
            .any(|word| missing.iter().any(|m| word.eq_ignore_ascii_case(m)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_every_form() {
        for (reply, name) in [
            ("* LIST (\\HasNoChildren) \".\" user.alice\r\n", "user.alice"),
            ("* list () \"/\" \"user/alice/a \\\"b\\\"\"\r\n", "user/alice/a \"b\""),
            ("* LIST (\\HasChildren) NIL {5}\r\na b c\r\n", "a b c"),
            ("* LIST () \".\" x (CHILDINFO (\"SUBSCRIBED\"))\r\n", "x"),
        ] {
            let listed = Listed::parse(reply.as_bytes()).unwrap();
            assert_eq!(listed.name.as_ref(), name.as_bytes());
            assert!(listed.exists());
        }
        assert!(!Listed::parse(b"* LIST (\\NonExistent \\HasChildren) \".\" x\r\n").unwrap().exists());
        for other in
            ["* LSUB () \".\" x\r\n", "* LIST (\r\n", "* LIST () \".\"\r\n", "* LIST () \"..\" x\r\n", ""]
        {
            assert_eq!(Listed::parse(other.as_bytes()), None, "{other}");
        }
    }
}
