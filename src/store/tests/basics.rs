//! Opening, committing, reading: one behaviour at a time.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use redb::Database;

use super::model::numbered;
use super::sim::SimDisk;
use crate::list::{Acl, Entry, EntryState, Location, MailboxName};
use crate::store::log::Region;
use crate::store::schema::META;
use crate::store::{Change, Options, Store, StoreError, Synced};

pub(super) fn name(text: &str) -> MailboxName {
    MailboxName::new(text.as_bytes()).unwrap()
}

pub(super) fn active(location: &str, acl: &str) -> Entry {
    Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(acl.as_bytes()))
}

pub(super) fn put(text: &str, entry: &Entry) -> Change {
    Change::Put { name: name(text), entry: entry.clone() }
}

pub(super) fn remove(text: &str) -> Change {
    Change::Remove { name: name(text) }
}

fn tables(disk: &SimDisk) -> Region {
    Region::split(disk.clone(), Options::default().log_bytes).1
}

pub(super) fn open(disk: &SimDisk) -> Store {
    Store::open_on(disk.clone(), Options::default()).unwrap()
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("made-by-the-store");
    let entry = numbered(1);
    {
        let store = Store::open(&dir, Options::default()).unwrap();
        let changes = vec![
            put("user.alice", &entry),
            put("user.bob", &numbered(3)),
            remove("user.bob"),
            Change::Attended { at_unix: 17 },
            Change::Held { held: true },
        ];
        assert_eq!(store.commit(changes).await, Ok(5));
    }
    let store = Store::open(&dir, Options::default()).unwrap();
    assert_eq!(store.get(&name("user.alice")), Ok(Some(entry)));
    assert_eq!(store.get(&name("user.bob")), Ok(None));
    let stats = store.stats();
    assert_eq!((stats.entries, stats.active, stats.reserved), (1, 1, 0));
    assert_eq!((stats.forgotten, stats.attended_at, stats.held, stats.seq), (1, Some(17), true, 5));
}

#[test]
fn a_directory_has_one_master() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    let refused = Store::open(dir.path(), Options::default()).unwrap_err();
    let holder = format!("process {}", std::process::id());
    assert!(refused.to_string().contains(&holder), "{refused}");
    assert!(matches!(refused, StoreError::InUse { .. }));

    let snapshot = store.snapshot().unwrap();
    drop(store);
    assert!(Store::open(dir.path(), Options::default()).is_err());
    assert_eq!(snapshot.get(&name("user.alice")), Ok(None));
    drop(snapshot);
    assert!(Store::open(dir.path(), Options::default()).is_ok());
}

#[test]
fn a_directory_is_not_made_in_the_middle_of_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("not-mounted/store");
    assert!(matches!(Store::open(&missing, Options::default()), Err(StoreError::Disk(_))));
}

#[test]
fn a_store_that_was_cut_off_while_it_was_made_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("list.new"), b"half a header").unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.stats().entries, 0);
    assert!(!dir.path().join("list.new").exists());
}

#[test]
fn the_format_of_a_newer_release_is_refused() {
    let disk = SimDisk::new();
    drop(open(&disk));
    {
        let db = Database::builder().create_with_backend(tables(&disk)).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(META).unwrap().insert("format", [99].as_slice()).unwrap();
        txn.commit().unwrap();
    }
    let refused = Store::open_on(disk, Options::default()).map(|_| ());
    assert_eq!(refused, Err(StoreError::TooNew { found: 99, known: 1 }));
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let disk = SimDisk::holding(b"From: someone else's file\n".repeat(80_000));
    assert!(Store::open_on(disk, Options::default()).is_err());
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_panic() {
    let disk = SimDisk::new();
    let store = open(&disk);
    for part in 0..8 {
        let changes = (0..200).map(|i| put(&format!("user.u{part}.{i}"), &numbered(i)));
        store.commit(changes.collect()).await.unwrap();
    }
    drop(store);
    let whole = disk.bytes();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut noticed = 0;
    for _ in 0..40 {
        let mut bytes = whole.clone();
        let at = rng.usize(0..bytes.len() / 4096) * 4096;
        bytes[at..at + 4096].fill_with(|| rng.u8(..));
        // Where the page is not in use nothing is noticed, which is fine.
        let Ok(store) = Store::open_on(SimDisk::holding(bytes), Options::default()) else {
            noticed += 1;
            continue;
        };
        let listed = store.snapshot().and_then(|s| s.chunk(None, usize::MAX));
        noticed += usize::from(listed.is_err());
        let _ = store.commit(vec![remove("user.u3.77")]).await;
    }
    assert!(noticed > 0);
    let checking = Options { check: true, ..Options::default() };
    assert!(Store::open_on(SimDisk::holding(whole), checking).is_ok());
}

#[tokio::test]
async fn calls_that_wait_for_the_disk_share_the_next_commit() {
    let disk = SimDisk::new();
    let store = open(&disk);
    disk.hold_syncs();
    let first = store.submit(vec![put("user.first", &numbered(1))]);
    disk.wait_for_sync();
    let rest: Vec<_> =
        (0..50).map(|i| store.submit(vec![put(&format!("user.u{i}"), &numbered(i))])).collect();
    disk.release_syncs();
    assert_eq!(first.await, Ok(1));
    for (i, call) in rest.into_iter().enumerate() {
        assert_eq!(call.await, Ok(i as u64 + 2));
    }
    let stats = store.stats();
    assert_eq!((stats.calls, stats.commits), (51, 2));
}

#[tokio::test]
async fn calls_are_applied_in_the_order_in_which_they_were_made() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let calls: Vec<_> = (0..100).map(|i| store.submit(vec![put("user.one", &numbered(i))])).collect();
    // Nobody polled the earlier ones, nor has to.
    assert_eq!(calls.into_iter().next_back().unwrap().await, Ok(100));
    assert_eq!(store.get(&name("user.one")), Ok(Some(numbered(99))));
}

#[tokio::test]
async fn a_call_nobody_waits_for_is_carried_out_before_the_store_closes() {
    let disk = SimDisk::new();
    let store = open(&disk);
    drop(store.submit(vec![put("user.one", &numbered(1))]));
    drop(store);
    assert_eq!(open(&disk).get(&name("user.one")), Ok(Some(numbered(1))));
}

#[tokio::test]
async fn too_many_waiting_calls_are_refused() {
    let disk = SimDisk::new();
    let few = Options { waiting_calls: 2, ..Options::default() };
    let store = Store::open_on(disk.clone(), few).unwrap();
    disk.hold_syncs();
    let first = store.submit(vec![remove("user.one")]);
    disk.wait_for_sync();
    let second = store.submit(vec![remove("user.one")]);
    let third = store.submit(vec![remove("user.one")]);
    let fourth = store.submit(vec![remove("user.one")]);
    assert_eq!(fourth.await, Err(StoreError::Busy(2)));
    disk.release_syncs();
    assert_eq!((first.await, second.await, third.await), (Ok(1), Ok(2), Ok(3)));
}

#[tokio::test]
async fn a_store_that_waits_for_its_disk_tells_for_how_long() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.commit(vec![put("user.one", &numbered(1))]).await.unwrap();
    disk.hold_syncs();
    let call = store.submit(vec![put("user.one", &numbered(2))]);
    disk.wait_for_sync();
    let silent = |store: &Store| store.silence() >= std::time::Duration::from_millis(20);
    while !silent(&store) {
        tokio::task::yield_now().await;
    }
    disk.release_syncs();
    call.await.unwrap();
    while !store.silence().is_zero() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn readers_see_a_change_when_it_is_durable_and_not_before() {
    let disk = SimDisk::new();
    let store = open(&disk);
    store.commit(vec![put("user.one", &numbered(1))]).await.unwrap();
    let before = store.snapshot().unwrap();
    disk.hold_syncs();
    let call = store.submit(vec![put("user.one", &numbered(2))]);
    disk.wait_for_sync();
    // The writer waits for its fsync; readers do not.
    assert_eq!(store.get(&name("user.one")), Ok(Some(numbered(1))));
    let during = store.snapshot().unwrap();
    disk.release_syncs();
    call.await.unwrap();
    assert_eq!(store.get(&name("user.one")), Ok(Some(numbered(2))));
    for old in [before, during] {
        assert_eq!(old.versioned(&name("user.one")), Ok(Some((numbered(1), 1))));
        assert_eq!(old.seq(), 1);
    }
}

#[test]
fn lookups_never_go_back_in_time() {
    let hot = Options { hot_entries: 3, ..Options::default() };
    let store = Store::open_on(SimDisk::new(), hot).unwrap();
    let names: Vec<_> = (0..6).map(|i| name(&format!("user.u{i}"))).collect();
    let entry = |n: u64| active("be.test!p", &n.to_string());
    let number = |found: Option<Entry>| match found.map(|entry| entry.state) {
        Some(EntryState::Active(acl)) => String::from_utf8_lossy(acl.as_bytes()).parse().unwrap(),
        _ => 0_u64,
    };
    let committing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let lookups = || {
            let mut seen = vec![0; names.len()];
            while committing.load(Relaxed) {
                for (name, seen) in names.iter().zip(&mut seen) {
                    // What a snapshot shows was committed, so a later lookup may not be older.
                    let shown = number(store.snapshot().unwrap().get(name).unwrap());
                    let found = number(store.get(name).unwrap());
                    assert!(found >= shown && shown >= *seen, "{found}, {shown}, {seen}");
                    *seen = found;
                }
            }
        };
        let readers = [scope.spawn(lookups), scope.spawn(lookups)];
        let commits = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for n in 1..400 {
                let name = names[n as usize % names.len()].clone();
                let change = Change::Put { name: name.clone(), entry: entry(n) };
                runtime.block_on(store.commit(vec![change])).unwrap();
                assert_eq!(number(store.get(&name).unwrap()), n);
            }
        });
        let committed = commits.join();
        committing.store(false, Relaxed);
        committed.unwrap();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
}

#[tokio::test]
async fn what_cyrus_could_not_send_is_refused_and_harms_nobody() {
    let disk = SimDisk::new();
    let store = open(&disk);
    let endless = active("be.test!p", &"x".repeat(Change::MAX_TEXT + 1));
    let refused = store.commit(vec![put("user.one", &endless)]).await;
    assert!(matches!(refused, Err(StoreError::TooLong { .. })), "{refused:?}");
    assert_eq!(store.commit(vec![put("user.one", &numbered(1))]).await, Ok(1));
}

#[tokio::test]
async fn a_failure_is_remembered_until_a_master_completed_the_list() {
    let dir = tempfile::tempdir().unwrap();
    let synced =
        Change::Synced(Synced { master: "mm.test".to_owned(), version: "3.6.1".to_owned(), at_unix: 9 });
    let store = Store::open(dir.path(), Options::default()).unwrap();
    store.commit(vec![synced.clone()]).await.unwrap();
    assert_eq!(store.stats().suspect, None);
    store.handle.shared.poison("fsync failed: the disk fell off");
    assert!(store.commit(vec![synced.clone()]).await.is_err());
    drop(store);
    for _ in 0..2 {
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let stats = store.stats();
        assert_eq!(stats.poisoned, None);
        assert_eq!(stats.suspect.as_deref(), Some("fsync failed: the disk fell off"));
    }
    let store = Store::open(dir.path(), Options::default()).unwrap();
    store.commit(vec![synced]).await.unwrap();
    assert_eq!(store.stats().suspect, None);
    drop(store);
    let store = Store::open(dir.path(), Options::default()).unwrap();
    assert_eq!(store.stats().suspect, None);
}
