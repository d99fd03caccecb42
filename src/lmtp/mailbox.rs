//! Which mailbox a recipient means, as the lmtpd of a frontend reads it (Cyrus 3.2 to 3.12, observed by
//! `integration/tests/lmtp_recipients.rs`).
//!
//! - What is before the last `@` is the user, up to the first `+`. What follows that names a folder; for a user only
//!   the inbox is looked up, since mail for a folder that is missing or closed goes there.
//! - The domain is without meaning, unless `virtdomains` is on and it is another than `defaultdomain`. Then it is part
//!   of the name.
//! - User and domain are folded to lower case (`lmtp_downcase_rcpt`). A dot in a user is `^` inside, whatever
//!   `unixhierarchysep` says.
//! - Without a user, or with `postuser` as user, the folder is a shared one.
//!
//! Where any of this is in doubt the answer is [`Target::Unsure`], and nobody is refused or accepted by it.

use crate::list::{Acl, MailboxName};

/// What of a frontend's imapd.conf decides about names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naming {
    /// `unixhierarchysep`: folders of an address are separated by `/` rather than `.`.
    pub unix_separator: bool,
    /// `virtdomains` is not `off`.
    pub virtual_domains: bool,
    /// `defaultdomain`
    pub default_domain: Option<String>,
    /// `lmtp_downcase_rcpt`
    pub downcase: bool,
    /// `postuser`
    pub post_user: String,
}

impl Default for Naming {
    /// Cyrus's own defaults since 3.0.
    fn default() -> Self {
        Self {
            unix_separator: true,
            virtual_domains: false,
            default_domain: None,
            downcase: true,
            post_user: String::new(),
        }
    }
}

/// What an address means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A user's inbox.
    User(MailboxName),
    /// A shared folder. Who may post to it, its ACL says.
    Shared(MailboxName),
    /// It cannot be told.
    Unsure,
}

impl Target {
    /// The mailbox, if it is known which.
    pub fn name(&self) -> Option<&MailboxName> {
        match self {
            Self::User(name) | Self::Shared(name) => Some(name),
            Self::Unsure => None,
        }
    }
}

/// Bytes that every release takes for themselves in a name. Others are escapes, wildcards or separators somewhere.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-=~,'#$".contains(&byte)
}

/// The mailbox of an address, given by its part before the last `@` and the one after it.
pub fn target(local: &[u8], domain: Option<&[u8]>, naming: &Naming) -> Target {
    let fold = |bytes: &[u8]| if naming.downcase { bytes.to_ascii_lowercase() } else { bytes.to_vec() };
    let (user, folder) = match local.iter().position(|byte| *byte == b'+') {
        Some(at) => local.split_at(at),
        None => (local, &b""[..]),
    };
    let domain = domain.filter(|_| naming.virtual_domains);
    let default = naming.default_domain.as_deref().unwrap_or_default().as_bytes();
    let domain = domain.filter(|domain| domain.is_empty() || *domain != default);
    // Cyrus 3.2 takes it for another domain when only its case differs, later releases do not.
    if domain.is_some_and(|domain| !domain.is_empty() && domain.eq_ignore_ascii_case(default)) {
        return Target::Unsure;
    }
    if domain.is_some_and(|domain| domain.is_empty() || !domain.iter().all(|byte| is_plain(*byte))) {
        return Target::Unsure;
    }
    let mut name = domain.map(|domain| [&fold(domain), &b"!"[..]].concat()).unwrap_or_default();
    let user = fold(user);
    if user != naming.post_user.as_bytes() {
        // A dot at an end would make an empty component.
        let odd = user.is_empty() || !user.iter().all(|byte| is_plain(*byte));
        if odd || user.starts_with(b".") || user.ends_with(b".") {
            return Target::Unsure;
        }
        name.extend_from_slice(b"user.");
        name.extend(user.iter().map(|byte| if *byte == b'.' { b'^' } else { *byte }));
        return MailboxName::new(&name).map_or(Target::Unsure, Target::User);
    }
    let folder = folder.get(1..).unwrap_or_default();
    let separator = if naming.unix_separator { b'/' } else { b'.' };
    for (at, component) in folder.split(|byte| *byte == separator).enumerate() {
        // `user` and `DELETED` begin what is not shared.
        let reserved = at == 0 && (component == b"user" || component == b"DELETED");
        if component.is_empty() || reserved || !component.iter().all(|byte| is_plain(*byte)) {
            return Target::Unsure;
        }
        if at > 0 {
            name.push(b'.');
        }
        name.extend(component.iter().map(|byte| if *byte == b'.' { b'^' } else { *byte }));
    }
    MailboxName::new(&name).map_or(Target::Unsure, Target::Shared)
}

/// Whether anybody may post here: `p` for `anyone`, and not taken away again.
pub fn anyone_may_post(acl: &Acl) -> bool {
    let mut words = acl.as_bytes().split(|byte| *byte == b'\t');
    let (mut granted, mut denied) = (false, false);
    while let (Some(who), Some(rights)) = (words.next(), words.next()) {
        let posts = rights.contains(&b'p');
        granted |= posts && who == b"anyone";
        denied |= posts && (who == b"-anyone" || who == b"-anonymous");
    }
    granted && !denied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: &str, naming: &Naming) -> String {
        let (local, domain) = match address.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain.as_bytes())),
            None => (address, None),
        };
        match target(local.as_bytes(), domain, naming) {
            Target::User(name) => name.to_string(),
            Target::Shared(name) => format!("shared {name}"),
            Target::Unsure => "unsure".into(),
        }
    }

    #[test]
    fn users() {
        let naming = Naming::default();
        for (address, expected) in [
            ("alice", "user.alice"),
            ("alice@example.org", "user.alice"),
            ("Alice+Play/x@EXAMPLE.org", "user.alice"),
            ("alice+", "user.alice"),
            ("first.last", "user.first^last"),
            ("\"alice\"", "unsure"),
            ("a\\b", "unsure"),
            (".alice", "unsure"),
            ("a^b", "unsure"),
            ("a/b", "unsure"),
            ("a!b", "unsure"),
            ("a%b", "unsure"),
            ("caf\u{e9}", "unsure"),
        ] {
            assert_eq!(name(address, &naming), expected, "{address}");
        }
        let naming = Naming { downcase: false, ..naming };
        assert_eq!(name("Alice@x", &naming), "user.Alice");
    }

    #[test]
    fn domains() {
        let naming =
            Naming { virtual_domains: true, default_domain: Some("example.org".into()), ..Naming::default() };
        for (address, expected) in [
            ("alice@example.org", "user.alice"),
            ("alice", "user.alice"),
            ("alice@Example.NET", "example.net!user.alice"),
            ("alice@EXAMPLE.org", "unsure"),
            ("alice@[127.0.0.1]", "unsure"),
            ("alice@", "unsure"),
            ("+a/b@example.net", "shared example.net!a.b"),
        ] {
            assert_eq!(name(address, &naming), expected, "{address}");
        }
    }

    #[test]
    fn shared_folders() {
        let unix = Naming::default();
        let netnews = Naming { unix_separator: false, ..unix.clone() };
        let post = Naming { post_user: "bb".into(), ..unix.clone() };
        assert_eq!(name("+list/x.y@example.org", &unix), "shared list.x^y");
        assert_eq!(name("+list.x@example.org", &netnews), "shared list.x");
        assert_eq!(name("bb+list@example.org", &post), "shared list");
        assert_eq!(name("+list@example.org", &post), "unsure");
        for odd in ["+", "", "+a//b", "+user/alice", "+DELETED/x", "+a&b", "+a b"] {
            assert_eq!(name(odd, &unix), "unsure", "{odd}");
        }
    }

    #[test]
    fn an_acl_opens_a_folder_to_anyone_or_not() {
        let open = |acl: &str| anyone_may_post(&Acl::new(acl.as_bytes()));
        assert!(open("anyone\tlrsp\t") && open("alice\tlrs\tanyone\tp\t"));
        assert!(!open("alice\tlrswipcda\t") && !open("anyone\tlrs\t") && !open(""));
        assert!(!open("anyone\tp\t-anyone\tp\t"));
    }
}
