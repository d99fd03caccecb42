//! A disk that refuses: nothing is acknowledged that it did not take, and nothing is lost that it did.

use super::sim::{Fault, Kind, SimDisk};
use super::*;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

fn options() -> Options {
    Options { segment_bytes: 2_000, ..small() }
}

/// Works, with every answer noted; what was acknowledged comes back.
async fn work(spool: &Spool) -> (Vec<QueueId>, Vec<SpoolError>) {
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for n in 0..12 {
        let text = text(if n == 3 { (1 << 20) + 9 } else { 300 }, b'x');
        let mut body = spool.incoming().begin();
        let queued = match body.write(&text) {
            Ok(()) => spool.enqueue(envelope(&["a"]), body.finish()).await,
            Err(error) => Err(SpoolError::disk("coming in", &error)),
        };
        match queued {
            Ok(id) => kept.push(id),
            Err(error) => refused.push(error),
        }
        if n == 5 && kept.len() > 1 {
            let id = kept.remove(0);
            // Not durable perhaps, but true as long as the process lives.
            let _ = spool.delete(id).await;
            assert!(spool.message(id).is_err());
        }
    }
    (kept, refused)
}

async fn is_all_there(disk: &SimDisk, kept: &[QueueId], how: &str) {
    for seed in 0..2 {
        let left = disk.after_power_cut(disk.ops(), seed);
        let spool = Spool::open_on(Arc::new(left), options()).unwrap_or_else(|e| panic!("{how}: {e}"));
        for id in kept {
            let found = spool.message_with_text(*id);
            assert!(found.is_ok(), "{how}: {id} was acknowledged: {found:?}");
        }
        assert_eq!(spool.stats().quarantined, 0, "{how}");
        spool.enqueue(envelope(&["later"]), Body::in_memory(text(3, b'l'))).await.unwrap();
    }
}

#[tokio::test]
async fn whatever_fails_whenever_no_acknowledged_message_is_lost() {
    for kind in Kind::CHANGING.into_iter().chain([Kind::Open]) {
        for errno in [EIO, ENOSPC, EROFS, EMFILE] {
            let often = errno == EIO || errno == ENOSPC;
            for after in if often { 0..16 } else { 0..2 } {
                for times in [1, usize::MAX] {
                    let how = format!("{kind:?} fails {times} times after {after} with {errno}");
                    let disk = SimDisk::default();
                    let spool = Spool::open_on(Arc::new(disk.clone()), options()).unwrap();
                    disk.fail(Fault { kind, after, times, errno });
                    let (kept, refused) = work(&spool).await;
                    for error in &refused {
                        assert_eq!(error.reply().code / 100, 4, "{how}: {error}");
                    }
                    if kind == Kind::Sync && !refused.is_empty() {
                        assert!(spool.stats().poisoned.is_some(), "{how}: a failed fsync ends all promises");
                    }
                    for id in &kept {
                        disk.heal();
                        assert!(spool.message_with_text(*id).is_ok(), "{how}: {id}");
                    }
                    drop(spool);
                    is_all_there(&disk, &kept, &how).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_failed_fsync_is_not_asked_for_again() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap();
    sim.fail(Fault { kind: Kind::Sync, after: 0, times: 1, errno: EIO });
    for _ in 0..3 {
        let error = spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap_err();
        assert!(matches!(error, SpoolError::Poisoned(_)), "{error}");
        assert_eq!((error.reply().code, error.reply().enhanced), (451, Some([4, 3, 0])));
    }
    let before = sim.ops();
    assert!(spool.admits(1).is_err());
    assert_eq!(sim.ops(), before);
    assert!(spool.stats().poisoned.unwrap().contains("fsync"));
}

#[tokio::test]
async fn a_full_disk_is_survived() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    let first = spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap();
    sim.fail(Fault { kind: Kind::Write, after: 0, times: 2, errno: ENOSPC });
    let error = spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap_err();
    assert_eq!((error.reply().code, error.reply().enhanced), (452, Some([4, 3, 1])));
    assert!(spool.stats().full.is_some(), "it is told");
    // What was delivered meanwhile is not delivered again, and is written down when there is room.
    assert!(matches!(spool.delete(first).await, Err(SpoolError::Full(_))));
    assert!(spool.message(first).is_err());
    let second = spool.enqueue(envelope(&["b"]), Body::in_memory(text(3, b'y'))).await.unwrap();
    assert_eq!(spool.stats().full, None);
    drop(spool);
    let spool = Spool::open_on(Arc::new(sim), small()).unwrap();
    assert_eq!(spool.ids_after(None, 10), [second]);
}

#[tokio::test]
async fn that_the_disk_is_full_is_told_until_there_is_room_or_it_took_something() {
    for (errno, more_room_helps) in [(ENOSPC, true), (EMFILE, false)] {
        let (sim, disk) = sim();
        sim.set_room(Room { bytes: 10_000, inodes: 10 });
        let spool = Spool::open_on(disk, small()).unwrap();
        sim.fail(Fault { kind: Kind::Create, after: 0, times: 2, errno });
        // Refused as a segment, and as a long text that comes in.
        let queued = spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await;
        assert!(queued.is_err() && spool.stats().full.is_some(), "{errno}");
        let mut body = spool.incoming().begin();
        let error = body.write(&text(2000, b'x')).unwrap_err();
        let expected = if errno == ENOSPC { 452 } else { 451 };
        assert_eq!(spool.lost(&body, &error).reply().code, expected);
        assert!(spool.stats().full.is_some(), "{errno}");
        sim.set_room(Room { bytes: 20_000_000, inodes: 10 });
        let looked = async {
            while spool.stats().full.is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(if more_room_helps { 20 } else { 1 }), looked);
        assert_eq!(told.await.is_ok(), more_room_helps, "{errno}");
        spool.enqueue(envelope(&["b"]), Body::in_memory(text(3, b'y'))).await.unwrap();
        assert_eq!(spool.stats().full, None);
    }
}

#[tokio::test]
async fn a_queue_on_a_full_disk_is_there_after_a_kill_and_takes_more_when_there_is_room() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    let first = spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap();
    // Killed, and not closed in peace: what the last segment speaks of is to be written again.
    std::mem::forget(spool);
    sim.fail(Fault { kind: Kind::Write, after: 0, times: usize::MAX, errno: ENOSPC });
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    assert_eq!(spool.ids_after(None, 10), [first]);
    assert!(spool.message_with_text(first).is_ok(), "it can be delivered");
    let error = spool.enqueue(envelope(&["b"]), Body::in_memory(text(3, b'y'))).await.unwrap_err();
    assert_eq!((error.reply().code, error.reply().enhanced), (452, Some([4, 3, 1])));
    sim.heal();
    let second = spool.enqueue(envelope(&["b"]), Body::in_memory(text(3, b'y'))).await.unwrap();
    drop(spool);
    let spool = Spool::open_on(Arc::new(sim), small()).unwrap();
    assert_eq!(spool.ids_after(None, 10), [first, second]);
}

#[tokio::test]
async fn a_disk_that_fails_to_read_costs_what_cannot_be_read() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    let id = spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap();
    sim.fail(Fault { kind: Kind::Read, after: 0, times: 1, errno: EIO });
    assert!(matches!(spool.message(id), Err(SpoolError::Disk(_))), "it may be read later");
    assert!(spool.message(id).is_ok());
    drop(spool);
    sim.fail(Fault { kind: Kind::Read, after: 1, times: usize::MAX, errno: EIO });
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    assert_eq!(spool.stats().messages, 0);
    assert!(spool.stats().quarantined > 0, "it starts, and says what is missing");
    drop(spool);
    sim.heal();
    let spool = Spool::open_on(Arc::new(sim), small()).unwrap();
    assert!(spool.message_with_text(id).is_ok(), "what a disk gives later is not lost");
}
