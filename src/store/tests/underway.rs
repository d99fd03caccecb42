//! What is under way, and what of it an earlier run of the process left.

use redb::{Database, ReadableDatabase};

use super::basics::{active, name, open, put, remove};
use super::sim::SimDisk;
use crate::list::Entry;
use crate::store::log::Region;
use crate::store::schema::UNDERWAY;
use crate::store::{Change, Options, Store, Underway};

fn underway(operation: u64, before: Option<Entry>) -> Underway {
    Underway { operation, before, identity: "murder".to_owned(), peer: "[::1]:4242".to_owned(), at_unix: 7 }
}

fn step(text: &str, before: Option<Entry>) -> Change {
    Change::Underway { name: name(text), underway: underway(1, before) }
}

/// What is left over, with the versions that the operation left.
fn left(store: &Store) -> Vec<(String, Option<u64>, Option<Entry>)> {
    let left = store.snapshot().unwrap().left_over().unwrap();
    left.into_iter().map(|left| (left.name.to_string(), left.version, left.underway.before)).collect()
}

#[tokio::test]
async fn only_what_an_earlier_run_left_is_left_over() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let held = active("be1!default", "a\tlrs\t");
    store.commit(vec![put("user.a", &held), put("user.b", &held)]).await.unwrap();
    store.commit(vec![remove("user.a"), step("user.a", Some(held.clone()))]).await.unwrap();
    store.commit(vec![put("user.n", &held), step("user.n", None)]).await.unwrap();
    store.commit(vec![put("user.b", &held), step("user.b", Some(held.clone()))]).await.unwrap();
    store.commit(vec![Change::Ended { name: name("user.b") }]).await.unwrap();
    assert_eq!((left(&store), store.stats().underway), (vec![], 2));

    drop(store);
    let store = open(&disk);
    let (gone, new) = (("user.a".to_owned(), None, Some(held.clone())), ("user.n".to_owned(), Some(5), None));
    assert_eq!(left(&store), [gone, new.clone()]);
    let version = store.snapshot().unwrap().versioned(&name("user.n")).unwrap().unwrap().1;
    assert_eq!(version, 5);

    // The user tries again: it is under way now.
    store.commit(vec![step("user.a", Some(held))]).await.unwrap();
    assert_eq!(left(&store), [new]);
}

#[tokio::test]
async fn a_copy_has_everything_left_over_that_was_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("list"), Options::default()).unwrap();
    let held = active("be1!default", "a\tlrs\t");
    store.commit(vec![put("user.n", &held), step("user.n", None)]).await.unwrap();
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    store.backup_to(&copy.join("list.redb"), |_| ()).await.unwrap();
    let copy = Store::open(&copy, Options::default()).unwrap();
    assert_eq!(left(&copy), [("user.n".to_owned(), Some(1), None)]);
}

#[tokio::test]
async fn a_file_of_a_release_that_knew_nothing_of_it_opens() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let held = active("be1!default", "a\tlrs\t");
    store.commit(vec![put("user.a", &held)]).await.unwrap();
    drop(store);
    let tables = Region::split(disk.clone(), Options::default().log_bytes).1;
    {
        let db = Database::builder().create_with_backend(tables).unwrap();
        let txn = db.begin_write().unwrap();
        assert!(txn.delete_table(UNDERWAY).unwrap());
        txn.commit().unwrap();
        assert!(db.begin_read().unwrap().open_table(UNDERWAY).is_err());
    }
    let store = open(&disk);
    assert_eq!((left(&store), store.stats().underway, store.stats().entries), (vec![], 0, 1));
    store.commit(vec![remove("user.a"), step("user.a", Some(held.clone()))]).await.unwrap();
    drop(store);
    assert_eq!(left(&open(&disk)), [("user.a".to_owned(), None, Some(held))]);
}
