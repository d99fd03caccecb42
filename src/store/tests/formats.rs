//! Stores that earlier releases wrote.
//!
//! `RAVENRY_STORE_FIXTURE=FILE cargo test -p ravenry store::tests::formats` writes the one that `fixtures/store` holds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::basics::{active, name};
use super::model::{Model, View, numbered, synced};
use crate::list::Order;
use crate::store::{Cause, Change, Conflict, Deed, Doubt, JournalRecord, Options, Store, Verb, schema};

/// The release that wrote each of them knew no newer format.
const FORMATS: [&str; 1] = ["format-1"];

/// What was told to it: every kind of change, and each kind of record is there in the end.
fn told() -> Vec<Vec<Change>> {
    let put = |text: &str, n| Change::Put { name: name(text), entry: numbered(n) };
    let journal = |text: &str, verb, nth| {
        Change::Journal(JournalRecord {
            name: name(text),
            verb,
            before: None,
            after: Some(numbered(nth)),
            identity: "cyrus".to_owned(),
            peer: "192.0.2.1:40000".to_owned(),
            at_unix: 1_795_000_000 + nth,
        })
    };
    let conflict = |text: &str| {
        let [base, theirs, ours] = [None, Some(numbered(1)), Some(numbered(2))];
        Change::Conflict(Conflict { name: name(text), base, theirs, ours, at_unix: 1_795_000_100 })
    };
    let remembered = |text: &str, cause, nth| {
        let at_unix = (1 << 40) + nth;
        let state = "standing-in".to_owned();
        Change::Remember(Deed { name: name(text), after: Some(numbered(nth)), cause, state, at_unix })
    };
    let person = Cause::Asked { identity: "cyrus".to_owned(), peer: "192.0.2.1:40000".to_owned() };
    vec![
        (0..40).map(|n| put(&format!("user.u{n:02}.a b"), n)).collect(),
        vec![
            Change::SetOrder(Order::DatabaseKey),
            Change::Synced(synced(1_795_000_000)),
            Change::Attended { at_unix: 1_795_000_001 },
            Change::Held { held: true },
            Change::Reseeding(Some(7)),
        ],
        vec![
            journal("user.new", Verb::Reserve, 3),
            put("user.new", 3),
            journal("user.new", Verb::Activate, 4),
            put("user.new", 4),
            journal("user.settled", Verb::Reserve, 6),
            Change::Settle { name: name("user.settled"), upto: 1_000 },
        ],
        vec![
            remembered("user.u01.a b", person, 1),
            put("user.u01.a b", 1),
            remembered("user.u02.a b", Cause::Master, 2),
            Change::Remove { name: name("user.u02.a b") },
            remembered("user.u03.a b", Cause::Person, 4),
        ],
        vec![
            Change::Doubt { name: name("user.u04.a b"), doubt: Doubt { effect: None, at_unix: 5 } },
            Change::Doubt {
                name: name("user.u05.a b"),
                doubt: Doubt { effect: Some(numbered(4)), at_unix: 6 },
            },
            Change::Undoubt { name: name("user.u04.a b") },
            conflict("user.torn"),
            conflict("user.decided"),
            Change::ResolveConflict { name: name("user.decided") },
            Change::Unconfirmed { name: name("user.u06.a b"), theirs: Some(numbered(8)) },
            Change::Unconfirmed { name: name("user.u07.a b"), theirs: None },
            Change::Confirm { name: name("user.u07.a b") },
            Change::Expected { server: b"be1.test".to_vec(), until_unix: 1_795_003_600 },
            Change::Ghost { server: b"be2.test".to_vec(), day: 20_776 },
        ],
        // A long ACL is kept in pages of its own.
        vec![Change::Put {
            name: name("shared.long"),
            entry: active("be3.test!ssd", &"x\tlrs\t".repeat(900)),
        }],
    ]
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What is not zero of the two files, 32 bytes a line: as they are they would be megabytes of nothing.
fn sparse(directory: &Path) -> String {
    let mut text = String::new();
    for file in ["list.redb", "list.log"] {
        let bytes = std::fs::read(directory.join(file)).unwrap();
        writeln!(text, "{file} {}", bytes.len()).unwrap();
        for (nth, line) in bytes.chunks(32).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0))
        {
            let hex: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(text, "{:x} {hex}", nth * 32).unwrap();
        }
    }
    text
}

/// The other way round.
fn lay_out(text: &str, directory: &Path) {
    let mut files: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    let mut file = "";
    for line in text.lines() {
        let (first, second) = line.split_once(' ').unwrap();
        if first.starts_with("list.") {
            file = first;
            files.insert(file, vec![0; second.parse().unwrap()]);
            continue;
        }
        let at = usize::from_str_radix(first, 16).unwrap();
        let bytes = second
            .as_bytes()
            .chunks(2)
            .map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap());
        for (slot, byte) in files.get_mut(file).unwrap()[at..].iter_mut().zip(bytes) {
            *slot = byte;
        }
    }
    for (file, bytes) in files {
        std::fs::write(directory.join(file), bytes).unwrap();
    }
}

#[tokio::test]
async fn a_store_of_every_earlier_format_is_taken_over_and_goes_on() {
    if let Some(file) = std::env::var_os("RAVENRY_STORE_FIXTURE") {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), Options::default()).unwrap();
        for call in told() {
            store.commit(call).await.unwrap();
        }
        // As a process leaves it that is killed: some of it in the log only.
        std::fs::write(file, sparse(directory.path())).unwrap();
    }
    assert!(FORMATS.last().unwrap().ends_with(&schema::FORMAT.to_string()), "a new format needs a fixture");
    let mut model = Model::default();
    for call in told() {
        model.commit(&call);
    }
    for format in FORMATS {
        let directory = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("fixtures/store").join(format)).unwrap();
        lay_out(&text, directory.path());
        let store = Store::open(directory.path(), Options::default()).unwrap();
        assert_eq!(View::of(&store).unwrap(), model.view(), "{format}");
        let later = vec![Change::Put { name: name("user.later"), entry: numbered(2) }];
        let mut after = model.clone();
        after.commit(&later);
        store.commit(later).await.unwrap();
        drop(store);
        let store = Store::open(directory.path(), Options::default()).unwrap();
        assert_eq!(View::of(&store).unwrap(), after.view(), "{format}, opened again");
    }
}
