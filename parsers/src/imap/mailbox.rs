//! Names of mailboxes as clients write them, to Cyrus's internal ones.

use std::borrow::Cow;

use super::utf7::{decode_utf7, encode_utf7};

/// How a server writes names to one user (RFC 2342, and `altnamespace`, `unixhierarchysep` of Cyrus).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// `.` or `/`.
    pub separator: u8,
    /// In front of the user's own mailboxes; empty with `altnamespace`, else `INBOX.`.
    pub personal: Vec<u8>,
    /// In front of other users' mailboxes: `user.`, or `Other Users.`.
    pub others: Option<Vec<u8>>,
    /// In front of shared mailboxes: empty, or `Shared Folders.`.
    pub shared: Option<Vec<u8>>,
    /// Who is logged in, as Cyrus knows him: `alice`, or `alice@example.org`.
    pub user: Vec<u8>,
    /// Names are sent in UTF-8 (`UTF8=ACCEPT`, RFC 6855).
    pub utf8: bool,
}

impl Namespace {
    /// Reads a reply `* NAMESPACE …` of Cyrus: the first prefix and separator of each class.
    pub fn parse(reply: &[u8], user: &[u8], utf8: bool) -> Option<Self> {
        let text = reply.strip_prefix(b"* NAMESPACE ")?.trim_ascii_end();
        let (personal, rest) = class(text)?;
        let (others, rest) = class(rest.strip_prefix(b" ")?)?;
        let (shared, _) = class(rest.strip_prefix(b" ")?)?;
        let (personal, separator) = personal?;
        let prefix = |class: Option<(Vec<u8>, u8)>| class.map(|(prefix, _)| prefix);
        Some(Self {
            separator,
            personal,
            others: prefix(others),
            shared: prefix(shared),
            user: user.to_vec(),
            utf8,
        })
    }

    /// The internal name of what the client calls `name`: `user.alice.Sent`. `None` where this is not sure.
    pub fn internal(&self, name: &[u8]) -> Option<Vec<u8>> {
        let name: Cow<'_, [u8]> = if self.utf8 {
            Cow::Owned(encode_utf7(std::str::from_utf8(name).ok()?).into_owned().into_bytes())
        } else {
            decode_utf7(name)?;
            Cow::Borrowed(name)
        };
        let (user, domain) = match self.user.iter().position(|byte| *byte == b'@') {
            None => (self.user.as_slice(), None),
            Some(at) => (self.user.get(..at)?, self.user.get(at + 1..)),
        };
        let owner = self.component(user);
        let mine = |folder: Option<&[u8]>| self.join(&owner, folder);
        let local = if name.eq_ignore_ascii_case(b"INBOX") {
            mine(None)?
        } else if let Some(folder) = self.below_inbox(&name) {
            mine(Some(folder))?
        } else if let Some(rest) = self.others.as_deref().and_then(|prefix| name.strip_prefix(prefix)) {
            // Another user's mailbox can be in another domain, written `bob@example.org`.
            if rest.contains(&b'@') {
                return None;
            }
            self.prefixed(b"user.", rest)?
        } else if let Some(rest) = self.shared.as_deref().and_then(|prefix| name.strip_prefix(prefix)) {
            self.prefixed(b"", rest)?
        } else if self.personal.is_empty() {
            mine(Some(&name))?
        } else {
            return None;
        };
        Some(match domain {
            None => local,
            Some(domain) => [domain, b"!", local.as_slice()].concat(),
        })
    }

    /// What is behind the prefix of the user's own mailboxes, if it is not empty: `INBOX.` in any case.
    fn below_inbox<'n>(&self, name: &'n [u8]) -> Option<&'n [u8]> {
        if self.personal.is_empty() {
            return None;
        }
        let (start, rest) = name.split_at_checked(self.personal.len())?;
        start.eq_ignore_ascii_case(&self.personal).then_some(rest)
    }

    fn join(&self, owner: &[u8], folder: Option<&[u8]>) -> Option<Vec<u8>> {
        let inbox = [b"user.", owner].concat();
        match folder {
            None => Some(inbox),
            Some(folder) => self.prefixed(&[inbox.as_slice(), b"."].concat(), folder),
        }
    }

    fn prefixed(&self, prefix: &[u8], folder: &[u8]) -> Option<Vec<u8>> {
        // A trailing separator is allowed with CREATE and says nothing.
        let folder = folder.strip_suffix(&[self.separator]).unwrap_or(folder);
        let parts: Vec<Vec<u8>> =
            folder.split(|byte| *byte == self.separator).map(|part| self.component(part)).collect();
        // `!` and an empty component have meanings of their own.
        if parts.iter().any(|part| part.is_empty() || part.contains(&b'!')) {
            return None;
        }
        Some([prefix, parts.join(&b'.').as_slice()].concat())
    }

    /// With `/` between components, a dot inside one is kept as `^`.
    fn component(&self, part: &[u8]) -> Vec<u8> {
        if self.separator == b'.' {
            return part.to_vec();
        }
        part.iter().map(|byte| if *byte == b'.' { b'^' } else { *byte }).collect()
    }
}

/// One class of a NAMESPACE reply: `NIL`, or `(("prefix" "/") …)`.
#[expect(clippy::type_complexity, reason = "a parser's answer: what it read and what is left")]
fn class(text: &[u8]) -> Option<(Option<(Vec<u8>, u8)>, &[u8])> {
    if let Some(rest) = text.strip_prefix(b"NIL") {
        return Some((None, rest));
    }
    let mut rest = text.strip_prefix(b"((\"")?;
    let mut prefix = Vec::new();
    loop {
        match rest {
            [b'"', behind @ ..] => {
                rest = behind;
                break;
            }
            [b'\\', byte, behind @ ..] | [byte, behind @ ..] => {
                prefix.push(*byte);
                rest = behind;
            }
            [] => return None,
        }
    }
    let rest = rest.strip_prefix(b" \"")?;
    let (separator, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(b"\"")?;
    // Further namespaces of the class, and extensions, up to its closing parenthesis.
    let (mut depth, mut quoted) = (2usize, false);
    for (at, byte) in rest.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((Some((prefix, *separator)), rest.get(at + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(reply: &str, user: &str) -> Namespace {
        Namespace::parse(reply.as_bytes(), user.as_bytes(), false).unwrap()
    }

    fn internal(space: &Namespace, name: &str) -> Option<String> {
        space.internal(name.as_bytes()).map(|name| String::from_utf8(name).unwrap())
    }

    #[track_caller]
    fn maps(space: &Namespace, pairs: &[(&str, &str)]) {
        for (name, expected) in pairs {
            assert_eq!(internal(space, name).as_deref(), Some(*expected), "{name}");
        }
    }

    #[test]
    fn cyrus_as_it_comes() {
        let space =
            namespace("* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) ((\"\" \".\"))\r\n", "alice");
        maps(
            &space,
            &[
                ("INBOX", "user.alice"),
                ("inbox.Sent", "user.alice.Sent"),
                ("INBOX.a^b.&AOk-", "user.alice.a^b.&AOk-"),
                ("user.bob.x", "user.bob.x"),
                ("announce", "announce"),
                ("user.alice", "user.alice"),
            ],
        );
        for name in ["INBOX.a..b", "INBOX.", "INBOX.a!b", "INBOX.&bad", "INBOX.\u{e9}", ""] {
            assert_eq!(internal(&space, name), None, "{name}");
        }
    }

    #[test]
    fn the_other_namespace_and_separator() {
        let reply = "* NAMESPACE ((\"\" \"/\")) ((\"Other Users/\" \"/\")) ((\"Shared Folders/\" \"/\"))\r\n";
        let space = namespace(reply, "a.smith@example.org");
        maps(
            &space,
            &[
                ("INBOX", "example.org!user.a^smith"),
                ("Work/2.0", "example.org!user.a^smith.Work.2^0"),
                ("Other Users/b.jones/x", "example.org!user.b^jones.x"),
                ("Shared Folders/news", "example.org!news"),
            ],
        );
    }

    #[test]
    fn utf8_names() {
        let mut space = namespace("* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\n", "alice");
        space.utf8 = true;
        assert_eq!(internal(&space, "INBOX.été").as_deref(), Some("user.alice.&AOk-t&AOk-"));
        assert_eq!(internal(&space, "user.bob"), None);
    }
}
