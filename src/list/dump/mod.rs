//! Mailbox lists in files: what `ctl_mboxlist -d` prints, whatever the release, and Ravenry's own lines.
//!
//! | file | form |
//! |---|---|
//! | `text` | Cyrus up to 3.4: a line for each name, fields apart by TAB and space |
//! | `json` | Cyrus from 3.6: one JSON object, a member for each name |
//! | `lines` | `ravenry list export`: a line of JSON for each name, and a last one with their number |
//!
//! A dump is read in a stream, entry by entry, and costs no more memory than its longest entry. One that is
//! truncated or that holds what cannot be believed is an error as a whole, with its line.

mod json;
mod lines;
mod text;

use std::io::{BufRead, Read};

use super::{Acl, Entry, Location, MailboxName, Order};

pub use json::write as write_json;
pub use lines::Writer as LineWriter;

/// The longest line, or member, that is believed: names and ACLs are far below it.
const MAX_LINE: u64 = 4 << 20;

/// Why a dump is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct DumpError {
    /// Counted from 1.
    pub line: u64,
    /// In a sentence.
    pub why: String,
}

impl DumpError {
    fn new(line: u64, why: impl ToString) -> Self {
        Self { line, why: why.to_string() }
    }
}

/// What a reader of a dump does with an entry; its error refuses the dump.
pub type Take<'a> = &'a mut dyn FnMut(MailboxName, Entry) -> Result<(), String>;

/// Reads a dump of any form and hands on what a list holds of it: tombstones and intermediate names are left out.
/// `server` is the server that mailboxes without one belong to, for the dump of a backend.
pub fn read(from: impl Read, server: Option<&str>, take: Take<'_>) -> Result<u64, DumpError> {
    let mut from = std::io::BufReader::new(from);
    let start = from.fill_buf().map_err(|error| DumpError::new(1, error))?;
    let first_line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut count = 0;
    let mut counted = |name: MailboxName, entry: Entry| {
        count += 1;
        take(name, entry)
    };
    match first_line {
        [] if start.is_empty() => return Err(DumpError::new(1, "the file is empty")),
        [b'{', b'"', b'n', b'a', b'm', b'e', b'"', ..] | [b'{', b'"', b'e', b'n', b'd', b'"', ..] => {
            lines::read(from, &mut counted)?;
        }
        [b'{', ..] => json::read(from, server, &mut counted)?,
        _ => text::read(from, server, &mut counted)?,
    }
    Ok(count)
}

/// Watches that names come in one of Cyrus's orders, and so none twice.
#[derive(Default)]
struct Sequence {
    last: Option<MailboxName>,
    raw_broken: bool,
    key_broken: bool,
}

impl Sequence {
    fn next(&mut self, name: &MailboxName) -> Result<(), String> {
        if let Some(last) = &self.last {
            if last == name {
                return Err(format!("{name} is listed twice"));
            }
            self.raw_broken |= Order::Raw.compare(last, name).is_gt();
            self.key_broken |= Order::DatabaseKey.compare(last, name).is_gt();
        }
        if self.raw_broken && self.key_broken {
            return Err(format!("{name} is out of order"));
        }
        self.last = Some(name.clone());
        Ok(())
    }
}

/// What Cyrus keeps of a mailbox's kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Active,
    Reserved,
    /// In the database, and in no list: a tombstone, or a name that only has children.
    Unlisted,
}

impl Kind {
    /// From letters: one type, then flags.
    fn of_letters(letters: &str) -> Result<Self, String> {
        if let Some(odd) = letters.chars().find(|letter| !letter.is_ascii_lowercase()) {
            return Err(format!("{odd:?} is no letter of a mailbox type"));
        }
        Ok(if letters.contains(['d', 'i']) {
            Self::Unlisted
        } else if letters.contains('z') {
            Self::Reserved
        } else {
            Self::Active
        })
    }

    /// From bits, as written up to 3.2: 1 remote, 2 reserved, 8 moving, 16 deleted, 32 intermediate.
    fn of_bits(bits: u32) -> Self {
        if bits & (16 | 32) != 0 {
            Self::Unlisted
        } else if bits & 2 != 0 {
            Self::Reserved
        } else {
            Self::Active
        }
    }
}

/// Puts an entry together, or says what is wrong with it.
fn entry(kind: Kind, server: Option<&str>, partition: &str, acl: &[u8]) -> Result<Option<Entry>, String> {
    if kind == Kind::Unlisted {
        return Ok(None);
    }
    let Some(server) = server.filter(|server| !server.is_empty()) else {
        return Err(
            "no server is named: this looks like the dump of a backend; say whose with --server".into()
        );
    };
    if server.contains('!') {
        return Err(format!("{server:?} is no server name"));
    }
    let location =
        Location::new(format!("{server}!{partition}").as_bytes()).map_err(|error| error.to_string())?;
    Ok(Some(match kind {
        Kind::Reserved => Entry::reserved(location),
        _ => Entry::active(location, Acl::new(acl)),
    }))
}

#[cfg(test)]
mod tests;
