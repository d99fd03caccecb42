//! The list as a whole: its order, loads, forgotten names.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::basics::{name, open, put, remove};
use super::model::{View, numbered, synced};
use super::random::calls;
use super::sim::SimDisk;
use crate::list::{Entry, MailboxName, Order, slave_drops};
use crate::store::{Cause, Change, Cursor, Deed, EntryRef, Options, Snapshot, Store, StoreError};

fn names(snapshot: &Snapshot) -> Vec<String> {
    let listed = snapshot.chunk(None, usize::MAX).unwrap();
    listed.into_iter().map(|(name, _)| name.to_string()).collect()
}

fn all(snapshot: &Snapshot) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut cursor = Cursor::default();
    let mut each = |name: &[u8], entry: Option<EntryRef<'_>>| {
        found.push((String::from_utf8_lossy(name).into_owned(), entry.is_some()));
    };
    while snapshot.read_chunk_with_forgotten(&mut cursor, 1, &mut each).unwrap() {}
    found
}

#[tokio::test]
async fn the_order_can_change_under_a_reader() {
    let store = open(&SimDisk::new());
    let some = ["user.foo", "user.foo-x", "user.foo.bar"];
    let changes = some.iter().map(|n| put(n, &numbered(1))).collect();
    store.commit(changes).await.unwrap();
    let before = store.snapshot().unwrap();
    store.commit(vec![Change::SetOrder(Order::Raw)]).await.unwrap();
    let after = store.snapshot().unwrap();
    assert_eq!(names(&before), ["user.foo", "user.foo.bar", "user.foo-x"]);
    assert_eq!(names(&after), ["user.foo", "user.foo-x", "user.foo.bar"]);
    assert_eq!((before.order(), after.order()), (Order::DatabaseKey, Order::Raw));
    assert_eq!(store.get(&name("user.foo.bar")), Ok(Some(numbered(1))));
}

#[tokio::test]
async fn a_stream_tells_what_a_slave_may_drop_over_a_forgotten_name() {
    let store = open(&SimDisk::new());
    let some = ["user.foo", "user.foo.bar", "user.foo-x"];
    store.commit(some.iter().map(|n| put(n, &numbered(1))).collect()).await.unwrap();
    store.commit(vec![remove("user.foo.bar")]).await.unwrap();
    let mut drops = slave_drops();
    let again: Vec<_> = all(&store.snapshot().unwrap())
        .into_iter()
        .filter(|(name, listed)| drops(name.as_bytes()) && *listed)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(again, ["user.foo-x"]);
}

#[tokio::test]
async fn the_history_of_a_name_says_who_and_what_before_and_is_not_too_old() {
    static NOW: AtomicU64 = AtomicU64::new(1000);
    let options = Options { history_seconds: 60, now_unix: || NOW.load(Relaxed), ..Options::default() };
    let disk = SimDisk::new();
    let store = Store::open_on(disk.clone(), options).unwrap();
    let name = name("user.a");
    let changed = |n: Option<u64>| {
        let after = n.map(numbered);
        let cause = Cause::Asked { identity: "murder".to_owned(), peer: "[::1]:7".to_owned() };
        let (state, at_unix) = ("standing-in".to_owned(), NOW.load(Relaxed));
        let change = after.clone().map_or(remove("user.a"), |entry| put("user.a", &entry));
        vec![Change::Remember(Deed { name: name.clone(), after, cause, state, at_unix }), change]
    };
    let told = |store: &Store, most| -> Vec<(Option<Entry>, Option<Entry>)> {
        let history = store.snapshot().unwrap().history(&name, most).unwrap();
        history.into_iter().map(|past| (past.before, past.deed.after)).collect()
    };
    for n in [Some(1), Some(2), None] {
        store.commit(changed(n)).await.unwrap();
        NOW.fetch_add(20, Relaxed);
    }
    let all = [(None, Some(numbered(1))), (Some(numbered(1)), Some(numbered(2))), (Some(numbered(2)), None)];
    assert_eq!(told(&store, 10), all);
    assert_eq!(told(&store, 1), all[2..]);
    store.commit(vec![Change::SetOrder(Order::Raw)]).await.unwrap();
    drop(store);
    let store = Store::open_on(disk, options).unwrap();
    assert_eq!(told(&store, 10), all, "kept over a restart, and whatever the order");
    NOW.store(1000 + 20 + 61, Relaxed);
    store.commit(vec![remove("user.unheard-of")]).await.unwrap();
    assert_eq!(told(&store, 10), all[2..]);
}

#[tokio::test]
async fn forgotten_names_are_the_latest_and_not_too_old() {
    static NOW: AtomicU64 = AtomicU64::new(1000);
    let options = Options {
        forgotten_names: 2,
        forgotten_seconds: 60,
        now_unix: || NOW.load(Relaxed),
        ..Options::default()
    };
    let store = Store::open_on(SimDisk::new(), options).unwrap();
    let some = ["user.c", "user.b", "user.a"];
    let forgotten = || -> Vec<String> {
        let all = all(&store.snapshot().unwrap());
        all.into_iter().filter(|(_, listed)| !listed).map(|(n, _)| n).collect()
    };
    for gone in some {
        store.commit(vec![put(gone, &numbered(1))]).await.unwrap();
        store.commit(vec![remove(gone)]).await.unwrap();
        NOW.fetch_add(20, Relaxed);
    }
    assert_eq!(forgotten(), ["user.a", "user.b"]);
    NOW.store(1000 + 20 + 61, Relaxed);
    store.commit(vec![remove("user.unheard-of")]).await.unwrap();
    assert_eq!(forgotten(), ["user.a"]);
    store.commit(vec![put("user.a", &numbered(1))]).await.unwrap();
    assert_eq!(forgotten(), Vec::<String>::new());
    assert_eq!(store.stats().forgotten, 0);
}

fn entries(range: std::ops::Range<u64>) -> Vec<(MailboxName, Entry)> {
    range.map(|i| (name(&format!("user.u{i:05}")), numbered(i))).collect()
}

#[tokio::test]
async fn a_load_takes_the_place_of_the_list_when_it_is_finished() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let old = vec![put("user.old", &numbered(1)), put("user.u00007", &numbered(1))];
    store.commit(old).await.unwrap();
    let mut loader = store.begin_load().await.unwrap();
    for start in (0..3000).step_by(500) {
        loader.put(entries(start..start + 500)).await.unwrap();
    }
    // In no order, and some of them twice.
    let mut mixed = entries(2900..4000);
    fastrand::Rng::with_seed(3).shuffle(&mut mixed);
    loader.put(mixed).await.unwrap();
    assert_eq!(store.get(&name("user.u00007")), Ok(Some(numbered(1))));
    assert_eq!(store.stats().entries, 2);
    assert!(!store.stats().complete);
    loader.finish(synced(5)).await.unwrap();

    assert_eq!(store.get(&name("user.u00007")), Ok(Some(numbered(7))));
    assert_eq!(store.get(&name("user.old")), Ok(None));
    let check = |store: &Store| {
        let stats = store.stats();
        assert!(stats.complete);
        assert_eq!((stats.entries, stats.reserved), (4000, 1334));
        assert_eq!((stats.forgotten, stats.synced), (1, Some(synced(5))));
        let snapshot = store.snapshot().unwrap();
        assert_eq!(snapshot.chunk(None, usize::MAX).unwrap(), entries(0..4000));
    };
    check(&store);
    drop(store);
    check(&open(&disk));
}

#[tokio::test]
async fn a_load_that_is_not_finished_changes_nothing() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.commit(vec![put("user.old", &numbered(1))]).await.unwrap();
    let mut dropped = store.begin_load().await.unwrap();
    dropped.put(entries(0..10)).await.unwrap();
    drop(dropped);
    let mut cut = store.begin_load().await.unwrap();
    cut.put(entries(5..20)).await.unwrap();
    // As a crash would leave it.
    let store_again = open(&SimDisk::holding(disk.bytes()));
    for store in [&store, &store_again] {
        assert_eq!(names(&store.snapshot().unwrap()), ["user.old"]);
    }
    let mut whole = store_again.begin_load().await.unwrap();
    whole.put(entries(0..3)).await.unwrap();
    whole.finish(synced(1)).await.unwrap();
    assert_eq!(store_again.stats().entries, 3);
    drop(cut);
}

#[tokio::test]
async fn a_load_gives_way_to_a_newer_one_and_to_another_order() {
    let store = open(&SimDisk::new());
    let mut first = store.begin_load().await.unwrap();
    let mut second = store.begin_load().await.unwrap();
    assert_eq!(first.put(entries(0..1)).await, Err(StoreError::LoadSuperseded));
    drop(first);
    second.put(entries(0..2)).await.unwrap();
    store.commit(vec![Change::SetOrder(Order::Raw)]).await.unwrap();
    assert_eq!(second.finish(synced(1)).await, Err(StoreError::LoadSuperseded));
    assert_eq!(store.stats().entries, 0);
    // What concerns one load alone does no harm to others.
    assert_eq!(store.stats().poisoned, None);
}

#[tokio::test]
async fn a_backup_is_a_store_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SimDisk::new();
    let changes: Vec<_> = calls(60).concat();
    open(&disk).commit(changes).await.unwrap();
    let store = open(&disk);
    let expected = View::of(&store).unwrap();

    let copies = dir.path().join("copy");
    std::fs::create_dir(&copies).unwrap();
    let file = copies.join("list.redb");
    let seq = store.backup_to(&file, |_| ()).await.unwrap();
    store.commit(vec![put("user.later", &numbered(1))]).await.unwrap();
    assert_eq!(seq, expected.seq());
    let again = store.backup_to(&file, |_| ()).await;
    assert!(matches!(again, Err(StoreError::Disk(_))), "{again:?}");

    let copy = Store::open(&copies, Options::default()).unwrap();
    assert_eq!(View::of(&copy).unwrap(), expected);
}
