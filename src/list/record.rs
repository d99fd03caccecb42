//! One mailbox as a line of JSON: what `ravenry list export` writes and what its commands show. Nothing is lost
//! on the way, whatever the bytes.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::{Acl, Entry, EntryState, Location, MailboxName};

/// Bytes as JSON: a string where they are UTF-8, which Cyrus's own always are, and `{"base64":"…"}` elsewhere.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Plain(String),
    /// Anything.
    Encoded {
        /// Base64, with padding.
        base64: String,
    },
}

impl Text {
    /// Of any bytes.
    pub fn new(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Plain(text.to_owned()),
            Err(_) => Self::Encoded { base64: BASE64.encode(bytes) },
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::Plain(text) => Ok(text.clone().into_bytes()),
            Self::Encoded { base64 } => BASE64.decode(base64).map_err(|_| "this is not base64".to_owned()),
        }
    }

    /// As a mailbox name.
    pub fn name(&self) -> Result<MailboxName, String> {
        MailboxName::new(&self.bytes()?).map_err(|error| error.to_string())
    }
}

impl From<&MailboxName> for Text {
    fn from(name: &MailboxName) -> Self {
        Self::new(name.as_bytes())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Encoded { .. } => f.write_str(&String::from_utf8_lossy(&self.bytes().unwrap_or_default())),
        }
    }
}

/// What a list holds for a name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// `server!partition`
    pub location: Text,
    /// `id TAB rights TAB …`; a name without is only reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Text>,
}

impl From<&Entry> for Held {
    fn from(entry: &Entry) -> Self {
        let acl = match &entry.state {
            EntryState::Active(acl) => Some(Text::new(acl.as_bytes())),
            EntryState::Reserved => None,
        };
        Self { location: Text::new(entry.location.as_bytes()), acl }
    }
}

impl Held {
    /// The entry.
    pub fn entry(&self) -> Result<Entry, String> {
        let location = Location::new(&self.location.bytes()?).map_err(|error| error.to_string())?;
        Ok(match &self.acl {
            Some(acl) => Entry::active(location, Acl::new(&acl.bytes()?)),
            None => Entry::reserved(location),
        })
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reserved = if self.acl.is_none() { ", reserved" } else { "" };
        write!(f, "{}{reserved}", self.location)
    }
}

/// In words: where a name is, or `nowhere`.
pub fn place(held: Option<&Held>) -> String {
    held.map_or_else(|| "nowhere".into(), Held::to_string)
}

/// In words: where a name is, and who may use it.
pub fn place_and_acl(held: Option<&Held>) -> String {
    let acl = held.and_then(|held| held.acl.as_ref());
    let acl = acl.map(|acl| format!("  [{}]", acl.to_string().trim().replace('\t', " ")));
    format!("{}{}", place(held), acl.unwrap_or_default())
}

/// A name with what a list holds for it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The mailbox, in Cyrus's internal form.
    pub name: Text,
    /// What is known of it.
    #[serde(flatten)]
    pub held: Held,
}

impl Record {
    /// Of an entry.
    pub fn new(name: &MailboxName, entry: &Entry) -> Self {
        Self { name: name.into(), held: entry.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_readable() {
        let entry = Entry::active(Location::new(b"be1!default").unwrap(), Acl::new(b"alice\tlrs\t"));
        let record = Record::new(&MailboxName::new(b"user.alice").unwrap(), &entry);
        let line = serde_json::to_string(&record).unwrap();
        assert_eq!(line, r#"{"name":"user.alice","location":"be1!default","acl":"alice\tlrs\t"}"#);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_nothing_is_lost(
            name in prop::collection::vec(0x20..0x7eu8, 1..20), high in prop::collection::vec(0x80..=0xffu8, 0..3),
            acl in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
        ) {
            let name = MailboxName::new(&[name, high].concat()).unwrap();
            let location = Location::new(b"be1!").unwrap();
            let entry = match acl {
                Some(acl) => Entry::active(location, Acl::new(&acl)),
                None => Entry::reserved(location),
            };
            let line = serde_json::to_string(&Record::new(&name, &entry)).unwrap();
            let back: Record = serde_json::from_str(&line).unwrap();
            prop_assert_eq!((back.name.name().unwrap(), back.held.entry().unwrap()), (name, entry));
        }
    }
}
