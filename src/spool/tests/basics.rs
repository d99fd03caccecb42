//! What a spool does when all is well.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn what_was_accepted_is_there_after_a_restart() {
    let (_, disk) = sim();
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    let mut expected = Vec::new();
    for (len, names) in [(0, vec!["a"]), (100, vec!["a", "b"]), (5_000, vec!["c"]), (3 << 20, vec!["d"])] {
        let text = text(len, b'x');
        let mut body = spool.incoming().begin();
        text.chunks(700).for_each(|part| body.write(part).unwrap());
        let id = spool.enqueue(envelope(&names), body.finish()).await.unwrap();
        expected.push((id, envelope(&names), text));
    }
    let in_memory = text(2 << 20, b'y');
    let id = spool.enqueue(envelope(&["e"]), Body::in_memory(in_memory.clone())).await.unwrap();
    expected.push((id, envelope(&["e"]), in_memory));
    assert_eq!(contents(&spool).await, expected);
    let stats = spool.stats();
    assert_eq!((stats.messages, stats.bytes), (5, expected.iter().map(|e| e.2.len() as u64).sum()));
    drop(spool);
    let spool = Spool::open_on(disk, small()).unwrap();
    assert_eq!(contents(&spool).await, expected);
    assert_eq!(spool.stats().bytes, stats.bytes);
    let later = spool.enqueue(envelope(&["f"]), Body::in_memory(text(1, b'z'))).await.unwrap();
    assert!(later > expected[4].0, "numbers grow across restarts");
}

#[tokio::test]
async fn an_empty_queue_leaves_no_segment_and_no_text() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    for len in [10, 2 << 20] {
        let id = spool.enqueue(envelope(&["a"]), Body::in_memory(text(len, b'x'))).await.unwrap();
        spool.delete(id).await.unwrap();
    }
    drop(spool);
    drop(Spool::open_on(disk.clone(), small()).unwrap());
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(Spool::open_on(disk, small()).unwrap());
    let left: Vec<_> = sim.files().into_keys().collect();
    assert!(left.len() <= 1, "{left:?}");
}

#[tokio::test]
async fn a_held_message_stays_held_and_a_deleted_one_gone() {
    let (_, disk) = sim();
    let spool = Spool::open_on(disk.clone(), small()).unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(spool.enqueue(envelope(&[name]), Body::in_memory(text(9, b'x'))).await.unwrap());
    }
    spool.hold(ids[0]).await.unwrap();
    spool.hold(ids[1]).await.unwrap();
    spool.release(ids[1]).await.unwrap();
    spool.delete(ids[2]).await.unwrap();
    assert_eq!(spool.delete(ids[2]).await, Err(SpoolError::NotFound(ids[2])));
    drop(spool);
    let spool = Spool::open_on(disk, small()).unwrap();
    assert_eq!(spool.ids_after(None, 10), ids[..2]);
    assert_eq!(
        ids.iter().take(2).map(|id| spool.message(*id).unwrap().progress.held).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(spool.stats().held, 1);
}

#[tokio::test]
async fn a_queue_that_is_full_says_so_before_it_takes_a_text() {
    let (sim, disk) = sim();
    let options =
        Options { min_free_bytes: 1000, min_free_inodes: 10, max_messages: 2, max_bytes: 5_000, ..small() };
    let spool = Spool::open_on(disk, options).unwrap();
    let enough = Room { bytes: 1 << 30, inodes: 11 };
    for (room, len, admitted) in [
        (Room { bytes: 1500, ..enough }, 600, false),
        (Room { bytes: 1500, ..enough }, 500, true),
        (Room { inodes: 9, ..enough }, 1, false),
        (enough, 5_001, false),
        (enough, 5_000, true),
    ] {
        sim.set_room(room);
        tokio::time::sleep(Duration::from_millis(260)).await;
        let said = spool.admits(len);
        assert_eq!(said.is_ok(), admitted, "{room:?} {len} {said:?}");
        if let Err(error) = said {
            assert_eq!(error.reply().code, 452);
            assert_eq!(error.reply().enhanced, Some([4, 3, 1]));
        }
    }
    for _ in 0..2 {
        spool.enqueue(envelope(&["a"]), Body::in_memory(text(1, b'x'))).await.unwrap();
    }
    let error = spool.enqueue(envelope(&["a"]), Body::in_memory(text(1, b'x'))).await.unwrap_err();
    assert!(matches!(error, SpoolError::Full(_)), "{error}");
    spool.reconfigure(|old| Options { max_messages: 3, ..old });
    spool.enqueue(envelope(&["a"]), Body::in_memory(text(1, b'x'))).await.unwrap();
    spool.reconfigure(|old| Options { min_free_bytes: 1 << 40, ..old });
    assert!(spool.admits(1).is_err(), "more has to be free from now on");
}

#[tokio::test]
async fn an_envelope_has_at_least_one_recipient_and_not_too_many() {
    let (_, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    let mut many = envelope(&["a"]);
    many.recipients = vec![many.recipients[0].clone(); Envelope::MAX_RECIPIENTS + 1];
    for bad in [envelope(&[]), many] {
        let error = spool.enqueue(bad, Body::in_memory(text(1, b'x'))).await.unwrap_err();
        assert!(matches!(error, SpoolError::TooLong { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_real_directory_serves_one_process_and_forgets_what_had_begun_to_come_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spool");
    let spool = Spool::open(&path, small()).unwrap();
    assert!(matches!(Spool::open(&path, small()), Err(SpoolError::InUse(_))));
    let mut body = spool.incoming().begin();
    body.write(&text(5_000, b'x')).unwrap();
    assert_eq!(std::fs::read_dir(path.join("incoming")).unwrap().count(), 1);
    std::mem::forget(body);
    drop(spool);
    let spool = Spool::open(&path, small()).unwrap();
    assert_eq!(std::fs::read_dir(path.join("incoming")).unwrap().count(), 0);
    assert!(spool.stats().room.unwrap().bytes > 0);
}

/// Callers that come at the same time share a sync.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_its_sync() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    let before = sim.ops();
    let calls: Vec<_> = (0..500)
        .map(|_| {
            let spool = spool.clone();
            tokio::spawn(async move { spool.enqueue(envelope(&["a"]), Body::in_memory(text(9, b'x'))).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let ops = sim.ops() - before;
    assert!(ops < 700, "{ops} operations for 500 messages");
    assert_eq!(spool.ids_after(None, 1000).len(), 500);
}

/// What is dead is given back, although one message stays for ever.
#[tokio::test]
async fn one_old_message_does_not_keep_everything_behind_it_on_disk() {
    let (sim, disk) = sim();
    let options = Options { segment_bytes: 64 << 10, ..small() };
    let spool = Spool::open_on(disk.clone(), options.clone()).unwrap();
    let old = spool.enqueue(envelope(&["old"]), Body::in_memory(text(9, b'o'))).await.unwrap();
    spool.hold(old).await.unwrap();
    let big = bytes::Bytes::from(text(10_000, b'x'));
    for _ in 0..200 {
        let id = spool.enqueue(envelope(&["a"]), Body::in_memory(big.clone())).await.unwrap();
        spool.delete(id).await.unwrap();
    }
    let left: usize = sim.files().values().map(Vec::len).sum();
    assert!(left < 400 << 10, "{left} bytes for one small message");
    let message = spool.message(old).unwrap();
    assert!(message.progress.held);
    drop(spool);
    let spool = Spool::open_on(disk, options).unwrap();
    assert_eq!(contents(&spool).await, [(old, envelope(&["old"]), text(9, b'o'))]);
    assert!(spool.message(old).unwrap().progress.held);
}

#[tokio::test]
async fn a_queue_that_waits_for_its_disk_tells_for_how_long() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    sim.hold_syncs(true);
    let queued = spool.enqueue(envelope(&["a"]), Body::in_memory(text(10, b'x')));
    tokio::pin!(queued);
    while spool.silence() < Duration::from_millis(20) {
        let early = tokio::time::timeout(Duration::from_millis(1), &mut queued).await;
        assert!(early.is_err(), "acknowledged before it was durable: {early:?}");
    }
    sim.hold_syncs(false);
    queued.await.unwrap();
    while !spool.silence().is_zero() {
        tokio::task::yield_now().await;
    }
}
