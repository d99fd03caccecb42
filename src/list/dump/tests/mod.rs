//! Dumps: real ones, hostile ones, and any bytes whatsoever.

mod any;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::list::{self, Record};

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

/// As `ravenry list export` writes it.
fn exported(list: &List) -> Vec<u8> {
    let names = list.iter().map(|(name, entry)| (MailboxName::new(name).unwrap(), entry.clone()));
    let mut names: Vec<_> = names.collect();
    names.sort_by(|(a, _), (b, _)| Order::DatabaseKey.compare(a, b));
    let mut writer = LineWriter::default();
    let lines: String = names.iter().map(|(name, entry)| writer.line(name, entry)).collect();
    (lines + &writer.end()).into_bytes()
}

macro_rules! release {
    ($release:literal) => {
        (
            $release,
            include_str!(concat!("../../../../fixtures/dumps/", $release, "/master.txt")),
            include_str!(concat!("../../../../fixtures/dumps/", $release, "/frontend.txt")),
            include_str!(concat!("../../../../fixtures/dumps/", $release, "/backend.txt")),
            include_str!(concat!("../../../../fixtures/dumps/", $release, "/list.jsonl")),
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
        // What has a server keeps it, whoever the dump is said to be of.
        for dump in [master, frontend] {
            assert_eq!(
                load(dump.as_bytes(), Some("be9.murder.test")).as_ref(),
                Ok(&list),
                "{release}, --server"
            );
        }
        assert_eq!(
            load(&exported(&list), Some("be9.murder.test")).as_ref(),
            Ok(&list),
            "{release}, and back"
        );
        assert_eq!(
            load(&exported(&held), Some("be9.murder.test")).as_ref(),
            Ok(&held),
            "{release}, and back"
        );
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
            json("\"a\": {\"name\": \"b\", \"mbtype\": \"er\", \"server\": \"be1\", \"partition\": \"p\"}"),
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

/// What was once found stays found without a fuzzer.
#[test]
fn the_fuzzers_seeds_hold() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> = std::fs::read_dir(root.join("fuzz/seeds/dump")).unwrap().collect();
    for release in ["3.2", "3.6", "3.10", "3.12"] {
        files.extend(std::fs::read_dir(root.join("fixtures/dumps").join(release)).unwrap());
    }
    assert!(files.len() > 16, "no seeds");
    for file in files {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        any::check(&bytes);
        for at in (0..bytes.len()).step_by(bytes.len() / 50 + 1) {
            any::check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] = changed[at].wrapping_add(1);
            any::check(&changed);
        }
    }
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
        any::check(&bytes);
    }
}
