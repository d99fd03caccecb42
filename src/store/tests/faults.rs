//! Disks that fail.

use super::basics::{active, name, put};
use super::model::synced;
use super::sim::{Kind, SimDisk};
use crate::list::Entry;
use crate::store::{Change, Options, Store, StoreError, backup};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// Entries in the list, each of about a kilobyte.
const COUNT: u64 = 48;

/// A cache that holds next to nothing, so that reads go to the disk.
fn options() -> Options {
    Options { cache_bytes: 8192, hot_entries: 1, ..Options::default() }
}

/// The same with a log that is too small for anything: every commit makes the tables durable.
fn without_log() -> Options {
    Options { log_bytes: 64, ..options() }
}

fn many(n: u64) -> Vec<Change> {
    let acl = |i: u64| format!("user{i}\tlrswipkxtecda\t").repeat(40) + &format!("generation{n}\tlr\t");
    (0..COUNT).map(|i| put(&format!("user.u{i:04}"), &active("be1.test!default", &acl(i)))).collect()
}

fn entry(n: u64, i: u64) -> Option<Entry> {
    many(n).into_iter().nth(i as usize).and_then(|change| match change {
        Change::Put { entry, .. } => Some(entry),
        _ => None,
    })
}

async fn filled(disk: &SimDisk, options: Options) -> Store {
    let store = Store::open_on(disk.clone(), options).unwrap();
    store.commit(many(1)).await.unwrap();
    store
}

/// The list is wholly of this generation.
fn shows(store: &Store, n: u64) {
    let listed = store.snapshot().unwrap().chunk(None, usize::MAX).unwrap();
    assert_eq!(listed.len() as u64, COUNT);
    for (i, (_, found)) in listed.into_iter().enumerate() {
        assert_eq!(Some(found), entry(n, i as u64));
    }
    assert_eq!(store.get(&name("user.u0007")), Ok(entry(n, 7)));
}

/// Fails every single operation of a commit in turn; returns how many there were.
async fn fail_each(kind: Kind, error: i32, once: bool, options: Options) -> usize {
    for after in 0.. {
        let disk = SimDisk::new();
        let store = filled(&disk, options).await;
        disk.fail(kind, after, error, once);
        let answer = store.commit(many(2)).await;
        if disk.faults() == 0 {
            assert!(answer.is_ok());
            return after;
        }
        // redb writes once more after the commit is durable: then the call was acknowledged.
        let now = if answer.is_ok() { 2 } else { 1 };
        let cause = store.stats().poisoned.unwrap();
        let text = std::io::Error::from_raw_os_error(error).to_string();
        assert!(cause.contains(&text), "{kind:?} {after}: {cause}");
        let refused = Err(StoreError::Poisoned(cause));
        assert!(answer.is_ok() || answer == refused, "{kind:?} {after}: {answer:?}");

        // What was acknowledged is still to be read, and nothing else; nothing more is taken.
        shows(&store, now);
        let later = store.commit(vec![Change::Attended { at_unix: 1 }]).await;
        assert_eq!(later, refused);
        let written = disk.bytes();
        drop(store);
        assert!(disk.bytes() == written, "{kind:?} {after}: closing wrote to the failed disk");

        // A restart finds all or nothing of the call that failed.
        let store = Store::open_on(SimDisk::holding(written), options).unwrap();
        let first = store.get(&name("user.u0000")).unwrap();
        let found = if first == entry(1, 0) { 1 } else { 2 };
        assert!(found >= now);
        shows(&store, found);
    }
    unreachable!()
}

#[tokio::test]
async fn a_failed_fsync_ends_all_writing() {
    assert!(fail_each(Kind::Sync, EIO, false, without_log()).await >= 2);
    assert!(fail_each(Kind::Sync, EIO, false, options()).await >= 1);
}

#[tokio::test]
async fn an_fsync_that_fails_once_is_not_tried_again() {
    assert!(fail_each(Kind::Sync, EIO, true, without_log()).await >= 2);
    assert!(fail_each(Kind::Sync, EIO, true, options()).await >= 1);
}

#[tokio::test]
async fn a_failed_write_ends_all_writing() {
    assert!(fail_each(Kind::Write, EIO, true, without_log()).await > 10);
    // The log's, and with so small a cache some of the tables'.
    assert!(fail_each(Kind::Write, EIO, true, options()).await >= 1);
}

#[tokio::test]
async fn a_full_disk_ends_all_writing() {
    assert!(fail_each(Kind::Write, ENOSPC, false, without_log()).await > 10);
    assert!(fail_each(Kind::SetLen, ENOSPC, false, without_log()).await >= 1);
    assert!(fail_each(Kind::Write, ENOSPC, false, options()).await >= 1);
    fail_each(Kind::SetLen, ENOSPC, false, options()).await;
}

/// Fails every single operation of a load in turn: until it is done with an OK, the old list is there.
async fn fail_each_of_a_load(kind: Kind, error: i32) -> usize {
    for after in 0.. {
        let disk = SimDisk::new();
        let store = filled(&disk, without_log()).await;
        disk.fail(kind, after, error, true);
        let loaded = async {
            let mut loader = store.begin_load().await?;
            let all: Vec<_> =
                (0..COUNT).map(|i| (name(&format!("user.u{i:04}")), entry(2, i).unwrap())).collect();
            for part in all.chunks(COUNT as usize / 2) {
                loader.put(part.to_vec()).await?;
            }
            loader.finish(synced(1)).await
        }
        .await;
        if disk.faults() == 0 {
            assert!(loaded.is_ok());
            return after;
        }
        let now = if loaded.is_ok() { 2 } else { 1 };
        shows(&store, now);
        let written = disk.bytes();
        drop(store);
        let store = Store::open_on(SimDisk::holding(written), without_log()).unwrap();
        let found = if store.get(&name("user.u0000")).unwrap() == entry(1, 0) { 1 } else { 2 };
        assert!(found >= now, "{kind:?} {after}: a load that was acknowledged is gone");
        shows(&store, found);
    }
    unreachable!()
}

#[tokio::test]
async fn a_load_that_fails_leaves_the_old_list() {
    for error in [EIO, ENOSPC] {
        assert!(fail_each_of_a_load(Kind::Write, error).await > 10);
        fail_each_of_a_load(Kind::SetLen, error).await;
    }
    assert!(fail_each_of_a_load(Kind::Sync, EIO).await > 2);
}

#[tokio::test]
async fn an_opening_that_fails_harms_nothing() {
    // Of the many reads every third.
    for (kind, step) in [(Kind::Read, 3), (Kind::Write, 1), (Kind::SetLen, 1), (Kind::Sync, 1)] {
        for after in (0..).step_by(step) {
            let disk = SimDisk::new();
            let store = filled(&disk, options()).await;
            store.commit(many(2)).await.unwrap();
            // As a process leaves it that is killed: the second is in the log only.
            let killed = SimDisk::holding(disk.bytes());
            drop(store);
            killed.fail(kind, after, EIO, false);
            if let Ok(store) = Store::open_on(killed.clone(), options()) {
                let listed = store.snapshot().and_then(|snapshot| snapshot.chunk(None, usize::MAX));
                assert!(listed.is_err() || listed.is_ok_and(|list| list.len() as u64 == COUNT));
            }
            let faults = killed.faults();
            let store = Store::open_on(SimDisk::holding(killed.bytes()), options()).unwrap();
            shows(&store, 2);
            if faults == 0 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn what_is_only_in_the_log_can_still_be_read_after_a_failure() {
    let disk = SimDisk::new();
    let store = filled(&disk, options()).await;
    store.commit(many(2)).await.unwrap();
    disk.fail(Kind::Sync, 0, EIO, false);
    assert!(matches!(store.commit(many(3)).await, Err(StoreError::Poisoned(_))));
    shows(&store, 2);
}

#[tokio::test]
async fn a_checkpoint_that_fails_takes_nothing_that_was_logged_with_it() {
    for after in 0..24 {
        let disk = SimDisk::new();
        let store = filled(&disk, options()).await;
        // Four times 48 changes fit; the sixth commit is a checkpoint.
        for n in 2..6 {
            store.commit(many(n)).await.unwrap();
        }
        disk.fail(Kind::Write, after, EIO, true);
        let now = if store.commit(many(6)).await.is_ok() { 6 } else { 5 };
        shows(&store, now);
        drop(store);
        let store = Store::open_on(SimDisk::holding(disk.bytes()), options()).unwrap();
        let found = if store.get(&name("user.u0000")).unwrap() == entry(5, 0) { 5 } else { 6 };
        assert!(found >= now);
        shows(&store, found);
    }
}

#[tokio::test]
async fn after_a_failed_read_the_rest_can_still_be_read() {
    for after in 0..8 {
        let disk = SimDisk::new();
        let store = filled(&disk, without_log()).await;
        disk.fail(Kind::Read, after, EIO, true);
        let read = || store.snapshot()?.chunk(None, usize::MAX);
        let failed = (0..8).find_map(|_| read().err());
        assert!(matches!(failed, Some(StoreError::Disk(_))), "{failed:?}");
        shows(&store, 1);
        let refused = store.commit(many(2)).await;
        assert!(matches!(refused, Err(StoreError::Poisoned(_))), "{refused:?}");
        shows(&store, 1);
    }
}

#[tokio::test]
async fn a_full_disk_under_a_backup_harms_the_backup_only() {
    let store = filled(&SimDisk::new(), options()).await;
    let full = SimDisk::new();
    full.fail(Kind::Write, 3, ENOSPC, false);
    let failed = backup::fill(&store.snapshot().unwrap(), full, |_| ());
    assert!(matches!(failed, Err(StoreError::Disk(_))), "{failed:?}");
    store.commit(many(2)).await.unwrap();
    shows(&store, 2);
}
