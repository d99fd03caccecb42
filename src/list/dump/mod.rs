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
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::list::Record;

    type List = BTreeMap<Vec<u8>, Entry>;

    fn load(dump: &[u8], server: Option<&str>) -> Result<List, DumpError> {
        let mut list = List::new();
        read(dump, server, &mut |name, entry| {
            list.insert(name.as_bytes().to_vec(), entry);
            Ok(())
        })?;
        Ok(list)
    }

    /// What the master answered to LIST when the dumps were made: see fixtures/dumps/README.md.
    fn listed(lines: &str) -> List {
        let records = lines.lines().map(|line| serde_json::from_str::<Record>(line).unwrap());
        records.map(|r| (r.name.bytes().unwrap(), r.held.entry().unwrap())).collect()
    }

    macro_rules! release {
        ($release:literal) => {
            (
                $release,
                include_str!(concat!("../../../fixtures/dumps/", $release, "/master.txt")),
                include_str!(concat!("../../../fixtures/dumps/", $release, "/frontend.txt")),
                include_str!(concat!("../../../fixtures/dumps/", $release, "/backend.txt")),
                include_str!(concat!("../../../fixtures/dumps/", $release, "/list.jsonl")),
            )
        };
    }

    fn releases() -> [(&'static str, &'static str, &'static str, &'static str, &'static str); 4] {
        [release!("3.2"), release!("3.6"), release!("3.10"), release!("3.12")]
    }

    #[test]
    fn real_dumps_say_what_the_master_said() {
        for (release, master, frontend, backend, lines) in releases() {
            let list = listed(lines);
            assert_eq!(load(master.as_bytes(), None).as_ref(), Ok(&list), "{release}, master");
            assert_eq!(load(frontend.as_bytes(), None).as_ref(), Ok(&list), "{release}, frontend");
            let held = load(backend.as_bytes(), Some("be1.murder.test")).unwrap();
            // A backend knows the partition that a rename does not tell the master.
            let places = |list: &List| {
                let here = list.iter().filter(|(_, entry)| entry.location.server() == b"be1.murder.test");
                here.map(|(name, entry)| (name.clone(), entry.state.clone())).collect::<Vec<_>>()
            };
            assert_eq!(places(&held), places(&list), "{release}, backend");
            let nameless = load(backend.as_bytes(), None).unwrap_err();
            assert!(nameless.why.contains("--server"), "{nameless}");
        }
    }

    #[test]
    fn what_is_truncated_is_refused_with_its_line() {
        for (release, master, ..) in releases() {
            for (at, _) in master.char_indices().skip(1) {
                let cut = &master[..at];
                match load(cut.as_bytes(), None) {
                    Err(error) => {
                        let lines = cut.lines().count() as u64;
                        assert!((1..=lines + 1).contains(&error.line), "{release} cut at {at}: {error}");
                    }
                    // Nothing in the old form says where it ends: cut between lines it is a shorter list.
                    Ok(_) => {
                        let whole = cut.trim_end() == master.trim_end();
                        let between = release == "3.2" && cut.ends_with('\n');
                        assert!(whole || between, "{release} cut at {at} is believed");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_hostile_is_refused_with_its_line_and_reason() {
        let good = "user.a\t1 be1!default a\tlrs\t\n";
        for (bad, line, why) in [
            ("user.b\n", 2, "no TAB"),
            ("user.b\t1 be1!default a\tlrs\t", 2, "cut off"),
            ("user.b\t99999999999 be1!default \n", 2, "type"),
            ("user.\u{1}b\t1 be1!default \n", 2, "control byte"),
            ("user.b\t1 !default \n", 2, "no server"),
            ("user.a\t1 be2!default \n", 2, "twice"),
            (&format!("{}\t1 be1!default \n", "x".repeat(2000)), 2, "bytes"),
        ] {
            let error = load(format!("{good}{bad}").as_bytes(), None).unwrap_err();
            assert!(error.line == line && error.why.contains(why), "{bad:?}: {error}");
        }
        let json = |members: &str| format!("{{\n{members}\n}}\n");
        let member = |name: &str, rest: &str| {
            format!(
                "\"{name}\": {{\"name\": \"{name}\", \"mbtype\": \"er\", \"server\": \"be1\", \"partition\": \"p\"{rest}}}"
            )
        };
        for (bad, why) in [
            (json(&format!("{},\n{}", member("a", ""), member("a", ""))), "twice"),
            (json(&member("a\\u0001", "")), "control byte"),
            (
                json(
                    "\"a\": {\"name\": \"b\", \"mbtype\": \"er\", \"server\": \"be1\", \"partition\": \"p\"}",
                ),
                "calls itself",
            ),
            (json("\"a\": {\"mbtype\": 7}"), "invalid type"),
            (json("\"a\": {\"name\": \"a\", \"server\": \"be1\", \"partition\": \"p\"}"), "mbtype"),
            (json(&member("a", ", \"acl\": {\"x\\ty\": \"lrs\"}")), "TAB"),
            ("{} {}".to_owned(), "trailing"),
            ("{\"end\": 3".to_owned(), "cut off"),
            ("{\n\"a\": {".to_owned(), "EOF"),
        ] {
            let error = load(bad.as_bytes(), None).unwrap_err();
            assert!(error.why.contains(why), "{bad}: {error}");
        }
        assert!(load(b"", None).is_err());
    }

    #[test]
    fn lines_know_their_end() {
        let whole = "{\"name\":\"a\",\"location\":\"be1!p\",\"acl\":\"\"}\n{\"end\":1}\n";
        assert_eq!(load(whole.as_bytes(), None).unwrap().len(), 1);
        for bad in [
            &whole[..whole.len() - 10],
            "{\"name\":\"a\",\"location\":\"be1!p\"}\n{\"end\":2}\n",
            "{\"end\":0}\nx\n",
        ] {
            assert!(load(bad.as_bytes(), None).is_err(), "{bad}");
        }
        assert_eq!(load(b"{\"end\":0}\n", None), Ok(List::new()));
    }

    proptest! {
        #[test]
        fn what_is_exported_is_read_back(
            entries in prop::collection::btree_map(
                "[a-c.^ &-]{1,8}",
                (prop::option::of(prop::collection::btree_map("[a-z:-]{1,4}", "[lrswipkxtecdan]{0,5}", 0..3)), "[a-z]{0,4}"),
                0..20,
            ),
        ) {
            let list: List = entries.into_iter().map(|(name, (acl, partition))| {
                let location = Location::new(format!("be1.example!{partition}").as_bytes()).unwrap();
                let entry = match acl {
                    None => Entry::reserved(location),
                    Some(rights) => {
                        let acl: String = rights.iter().map(|(who, what)| format!("{who}\t{what}\t")).collect();
                        Entry::active(location, Acl::new(acl.as_bytes()))
                    }
                };
                (name.into_bytes(), entry)
            }).collect();
            let names = list.iter().map(|(name, entry)| (MailboxName::new(name).unwrap(), entry.clone()));
            let mut names: Vec<_> = names.collect();
            names.sort_by(|(a, _), (b, _)| Order::DatabaseKey.compare(a, b));
            let mut lines = Vec::new();
            let mut writer = LineWriter::default();
            let mut json = b"{".to_vec();
            for (at, (name, entry)) in names.iter().enumerate() {
                lines.extend(writer.line(name, entry).into_bytes());
                json.extend(if at == 0 { "\n" } else { ",\n" }.bytes());
                json.extend(write_json(name, entry).unwrap().into_bytes());
            }
            lines.extend(writer.end().into_bytes());
            json.extend(b"\n}\n");
            prop_assert_eq!(load(&lines, None), Ok(list.clone()));
            prop_assert_eq!(load(&json, None), Ok(list));
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = load(&bytes, Some("be1"));
        }
    }
}
