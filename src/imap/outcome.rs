//! The commands whose outcome matters to the rest of Ravenry, and what their refusals say. Pure.

use bytes::BytesMut;
use ravenry_parsers::imap::{CommandBody, Verb};

/// A command that was sent, with names as the client writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Acted {
    /// `CREATE`
    Create(Vec<u8>),
    /// `DELETE`
    Delete(Vec<u8>),
    /// `RENAME`: from, to.
    Rename(Vec<u8>, Vec<u8>),
    /// `SETACL` or `DELETEACL`
    Acl(Vec<u8>),
    /// `ENABLE UTF8=ACCEPT`: names are in UTF-8 from now on.
    Utf8,
    /// `NAMESPACE`: the answer tells how names are written.
    Namespace,
}

impl Acted {
    /// What a command does to the list, as far as it is watched.
    pub(super) fn of(body: CommandBody<'_>) -> Option<Self> {
        Some(match body {
            CommandBody::Create(name) => Self::Create(name.into_owned()),
            CommandBody::Delete(name) => Self::Delete(name.into_owned()),
            CommandBody::Rename { from, to } => Self::Rename(from.into_owned(), to.into_owned()),
            CommandBody::Acl(name) => Self::Acl(name.into_owned()),
            CommandBody::Enable(words) => {
                let utf8 = words.iter().any(|word| word.to_ascii_uppercase().starts_with(b"UTF8="));
                utf8.then_some(Self::Utf8)?
            }
            CommandBody::Plain(Verb::Namespace) => Self::Namespace,
            CommandBody::Login { .. } | CommandBody::Authenticate { .. } | CommandBody::Plain(_) => {
                return None;
            }
        })
    }

    /// The mailbox that it is about, as the client writes it.
    pub(super) fn mailbox(&self) -> Option<&[u8]> {
        match self {
            Self::Create(name) | Self::Delete(name) | Self::Rename(name, _) | Self::Acl(name) => Some(name),
            Self::Utf8 | Self::Namespace => None,
        }
    }

    /// The word for logs and metrics.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Delete(_) => "delete",
            Self::Rename(..) => "rename",
            Self::Acl(_) => "setacl",
            Self::Utf8 => "enable",
            Self::Namespace => "namespace",
        }
    }
}

/// Whether commands with this verb are read.
pub(super) fn is_watched(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::Create
            | Verb::Delete
            | Verb::Rename
            | Verb::SetAcl
            | Verb::DeleteAcl
            | Verb::Enable
            | Verb::Namespace
    )
}

/// How Cyrus says that it had no word from the mupdate master, in 3.x and before.
const WORDINGS: [&str; 2] = ["no connection to server", "mupdate"];

/// If a `NO` tells that the mupdate master could not be asked: the same reply with `[UNAVAILABLE]` (RFC 5530 §3)
/// and a plain sentence in front of the server's text, and that text.
pub(super) fn without_master(reply: &[u8]) -> Option<(BytesMut, String)> {
    let line = std::str::from_utf8(reply).ok()?.trim_end_matches(['\r', '\n']);
    let mut words = line.splitn(3, ' ');
    let (tag, no, text) = (words.next()?, words.next()?, words.next()?);
    let lower = text.to_ascii_lowercase();
    // A code of the server's own says more than ours would.
    if text.starts_with('[') || !WORDINGS.iter().any(|known| lower.contains(known)) {
        return None;
    }
    let marked = format!(
        "{tag} {no} [UNAVAILABLE] The mail system cannot do this right now, try again later ({text})\r\n"
    );
    Some((BytesMut::from(marked.as_bytes()), text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_for_want_of_a_master_are_marked_and_others_left_alone() {
        for text in [
            "no connection to server",
            "can not connect to mupdate server for reservation on 'user.foo.test'",
            "unable to reserve mailbox on mupdate server",
            "the mupdate operation failed",
        ] {
            let (marked, told) = without_master(format!("a1 NO {text}\r\n").as_bytes()).unwrap();
            assert_eq!(told, text);
            assert!(marked.starts_with(b"a1 NO [UNAVAILABLE] The mail system"), "{marked:?}");
            assert!(marked.ends_with(format!("({text})\r\n").as_bytes()), "{marked:?}");
        }
        for reply in ["a1 NO Permission denied\r\n", "a1 NO [LIMIT] no connection to server\r\n", "a1 NO\r\n"]
        {
            assert_eq!(without_master(reply.as_bytes()), None, "{reply}");
        }
    }
}
