//! One JSON object with a member for each name, as `ctl_mboxlist -d` prints it from 3.6.

use std::fmt;
use std::io::Read;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::{DumpError, Kind, Sequence, Take, entry};
use crate::list::{Entry, EntryState, MailboxName};

/// What is read of a mailbox; the rest is the backend's own affair.
#[derive(Deserialize)]
struct Member {
    name: Option<String>,
    mbtype: String,
    #[serde(default)]
    partition: String,
    #[serde(default)]
    server: String,
    #[serde(default)]
    acl: Rights,
}

/// An ACL, in the order in which it is written.
#[derive(Default)]
struct Rights(String);

impl<'de> Deserialize<'de> for Rights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Rights;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("rights by identifier")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Rights, A::Error> {
                let mut acl = String::new();
                while let Some((who, what)) = map.next_entry::<String, String>()? {
                    if who.contains('\t') || what.contains('\t') {
                        return Err(A::Error::custom("an identifier or its rights hold a TAB"));
                    }
                    acl.extend([who.as_str(), "\t", what.as_str(), "\t"]);
                }
                Ok(Rights(acl))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

struct Mailboxes<'a, 't> {
    server: Option<&'a str>,
    take: Take<'t>,
}

impl<'de> Visitor<'de> for Mailboxes<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("mailboxes by name")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut sequence = Sequence::default();
        while let Some((key, member)) = map.next_entry::<String, Member>()? {
            if let Some(name) = member.name.as_ref().filter(|name| **name != key) {
                return Err(A::Error::custom(format!("{key:?} calls itself {name:?}")));
            }
            let wrong = |why: String| A::Error::custom(format!("{key:?}: {why}"));
            let name = MailboxName::new(key.as_bytes()).map_err(|error| wrong(error.to_string()))?;
            let kind = Kind::of_letters(&member.mbtype).map_err(wrong)?;
            let server = if member.server.is_empty() { self.server } else { Some(member.server.as_str()) };
            let held = entry(kind, server, &member.partition, member.acl.0.as_bytes()).map_err(wrong)?;
            sequence.next(&name).map_err(wrong)?;
            if let Some(held) = held {
                (self.take)(name, held).map_err(wrong)?;
            }
        }
        Ok(())
    }
}

/// Reads all of it.
pub(super) fn read(from: impl Read, server: Option<&str>, take: Take<'_>) -> Result<(), DumpError> {
    let failed = |error: serde_json::Error| {
        // serde_json ends its text with the place, which is told beside it.
        let text = error.to_string();
        let why = text.split(" at line ").next().unwrap_or_default().to_owned();
        DumpError::new(error.line().max(1) as u64, why)
    };
    let mut json = serde_json::Deserializer::from_reader(from);
    json.deserialize_map(Mailboxes { server, take }).map_err(failed)?;
    json.end().map_err(failed)
}

#[derive(Serialize)]
struct Written<'a> {
    name: &'a str,
    mbtype: &'a str,
    partition: &'a str,
    server: &'a str,
    #[serde(serialize_with = "in_order")]
    acl: Vec<(&'a str, &'a str)>,
}

fn in_order<S: Serializer>(rights: &[(&str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(rights.iter().copied())
}

/// One member of the object, without the comma: `"user.alice": {…}`. What cannot be said in this form, because it
/// is not UTF-8 or an identifier comes twice, is an error.
pub fn write(name: &MailboxName, entry: &Entry) -> Result<String, String> {
    let text = |bytes: &[u8]| {
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("{name} is not UTF-8: export it as jsonl"))
    };
    let (name, location) = (text(name.as_bytes())?, text(entry.location.as_bytes())?);
    let (server, partition) = location.split_once('!').unwrap_or((&location, ""));
    let acl = match &entry.state {
        EntryState::Active(acl) => text(acl.as_bytes())?,
        EntryState::Reserved => String::new(),
    };
    let mut rights = Vec::new();
    let mut words = acl.strip_suffix('\t').into_iter().flat_map(|acl| acl.split('\t'));
    while let Some(who) = words.next() {
        let what = words.next().ok_or_else(|| format!("{name}: its ACL is odd: export it as jsonl"))?;
        rights.push((who, what));
    }
    if !acl.is_empty() && rights.is_empty() {
        return Err(format!("{name}: its ACL is odd: export it as jsonl"));
    }
    let mbtype = if entry.is_active() { "er" } else { "erz" };
    let member = Written { name: &name, mbtype, partition, server, acl: rights };
    let member = serde_json::to_string(&member).map_err(|error| error.to_string())?;
    Ok(format!("{}: {member}", serde_json::Value::from(name.as_str())))
}
