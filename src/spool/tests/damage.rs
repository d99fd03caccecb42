//! Segments that are not what was written.

use std::path::PathBuf;

use super::sim::SimDisk;
use super::*;

type Files = std::collections::BTreeMap<PathBuf, Vec<u8>>;

/// A small queue in two segments, the second not closed, and what is in it.
async fn queue() -> (Files, Vec<(QueueId, Envelope, Vec<u8>)>) {
    let (sim, disk) = sim();
    let options = Options { segment_bytes: 600, ..small() };
    let spool = Spool::open_on(disk.clone(), options.clone()).unwrap();
    for name in ["a", "b", "c", "d"] {
        let id = spool.enqueue(envelope(&[name]), Body::in_memory(text(40, b'x'))).await.unwrap();
        if name == "b" {
            spool.hold(id).await.unwrap();
        }
    }
    // As a killed process leaves it.
    let files = sim.files();
    let expected = contents(&spool).await;
    assert!(files.len() >= 2, "{files:?}");
    (files, expected)
}

fn segments(files: &Files) -> Vec<PathBuf> {
    files.keys().filter(|name| name.starts_with("segments")).cloned().collect()
}

fn open(files: Files) -> (SimDisk, Spool) {
    let disk = SimDisk::holding(files);
    let spool = Spool::open_on(Arc::new(disk.clone()), small()).unwrap();
    (disk, spool)
}

/// What can be read is right; returns how many messages can be read, and keeps aside what cannot, as an
/// attempt would.
async fn readable(spool: &Spool, expected: &[(QueueId, Envelope, Vec<u8>)]) -> usize {
    let mut read_back = 0;
    for id in spool.ids_after(None, 100) {
        match spool.message_with_text(id) {
            Ok((message, mut body)) => {
                let found = (id, (*message.envelope).clone(), read(&mut body).await);
                assert!(expected.contains(&found), "{found:?} was never queued");
                read_back += 1;
            }
            Err(SpoolError::Damaged(why)) => {
                spool.change(id, Change::Damaged(why)).await.unwrap();
            }
            Err(other) => panic!("{other}"),
        }
    }
    read_back
}

fn kept_aside(disk: &SimDisk) -> usize {
    disk.files().keys().filter(|name| name.starts_with("quarantine")).count()
}

#[tokio::test]
async fn a_flipped_bit_costs_at_most_one_message_and_is_never_silent() {
    let (files, expected) = queue().await;
    let names = segments(&files);
    for name in &names {
        for at in 0..files[name].len() {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
            let (disk, spool) = open(files);
            let found = readable(&spool, &expected).await;
            assert!(found + 1 >= expected.len(), "{} at {at}: only {found} left", name.display());
            let reported = kept_aside(&disk);
            assert!(reported > 0, "{} at {at}: nothing was kept aside", name.display());
            // Not found again and again.
            let left = disk.files();
            drop(spool);
            let (disk, spool) = open(left);
            assert_eq!(readable(&spool, &expected).await, found, "{} at {at}", name.display());
            assert_eq!(kept_aside(&disk), reported, "{} at {at}: reported twice", name.display());
        }
    }
}

#[tokio::test]
async fn a_torn_end_is_kept_aside_and_the_rest_is_there() {
    let (files, expected) = queue().await;
    let name = segments(&files).pop().unwrap();
    let whole = files[&name].len();
    for len in 0..whole {
        let mut files = files.clone();
        files.get_mut(&name).unwrap().truncate(len);
        let (disk, spool) = open(files);
        let found = readable(&spool, &expected).await;
        // The last segment holds the last messages; those before it are untouched.
        assert!(found >= 2, "cut off at {len}: {found}");
        assert_eq!(spool.stats().quarantined, 0, "cut off at {len}: a torn end is no damage");
        let kept: Vec<u8> = disk
            .files()
            .into_iter()
            .filter(|(name, _)| name.to_string_lossy().contains("torn-"))
            .flat_map(|(_, bytes)| bytes)
            .collect();
        assert!(len < 32 || files_end(&name, &kept, len), "cut off at {len}");
    }
}

/// What is kept of a torn end is the end of the file.
fn files_end(_: &std::path::Path, kept: &[u8], len: usize) -> bool {
    kept.len() <= len
}

/// Also one that was closed long ago: the less is left of it, the less is there, and what other segments hold always is.
#[tokio::test]
async fn a_segment_torn_anywhere_costs_only_what_was_torn_off() {
    let (files, expected) = queue().await;
    for name in segments(&files) {
        let mut others = files.clone();
        others.remove(&name);
        let mut least = readable(&open(others).1, &expected).await;
        for len in 0..=files[&name].len() {
            let mut torn = files.clone();
            torn.get_mut(&name).unwrap().truncate(len);
            let (disk, spool) = open(torn);
            let found = readable(&spool, &expected).await;
            assert!(found >= least, "{} cut off at {len}: {found} of {least}", name.display());
            least = found;
            // Not found again and again, nor less of it.
            let (left, kept) = (disk.files(), kept_aside(&disk));
            drop(spool);
            let (disk, spool) = open(left);
            assert_eq!(readable(&spool, &expected).await, found, "{} cut off at {len}", name.display());
            assert_eq!(kept_aside(&disk), kept, "{} cut off at {len}: reported twice", name.display());
        }
        assert_eq!(least, expected.len(), "{}: all of it is left", name.display());
    }
}

#[tokio::test]
async fn a_segment_that_vanished_costs_its_messages_and_no_others() {
    let (files, expected) = queue().await;
    for name in segments(&files) {
        let mut files = files.clone();
        files.remove(&name);
        let (_, spool) = open(files);
        let found = readable(&spool, &expected).await;
        assert!(found < expected.len());
    }
}

#[tokio::test]
async fn a_long_text_that_is_damaged_or_gone_is_reported() {
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    let id = spool.enqueue(envelope(&["a"]), Body::in_memory(text(2 << 20, b'x'))).await.unwrap();
    let files = sim.files();
    drop(spool);
    let name = files.keys().find(|name| name.starts_with("texts")).unwrap().clone();
    let mut flipped = files.clone();
    flipped.get_mut(&name).unwrap()[1 << 20] ^= 4;
    let mut gone = files.clone();
    gone.remove(&name);
    for files in [flipped, gone] {
        let (disk, spool) = open(files);
        let Err(SpoolError::Damaged(why)) = spool.message_with_text(id) else { panic!("not noticed") };
        spool.change(id, Change::Damaged(why)).await.unwrap();
        assert_eq!((spool.stats().messages, spool.stats().quarantined), (0, 1));
        assert!(kept_aside(&disk) >= 1);
    }
}

/// A message may hold whatever its sender likes, bytes that look like records too.
#[tokio::test]
async fn a_text_that_looks_like_a_segment_is_only_a_text() {
    let (files, _) = queue().await;
    let forged: Vec<u8> = segments(&files).iter().flat_map(|name| files[name].clone()).collect();
    let (sim, disk) = sim();
    let spool = Spool::open_on(disk, small()).unwrap();
    let id = spool.enqueue(envelope(&["a"]), Body::in_memory(forged)).await.unwrap();
    let mut files = sim.files();
    drop(spool);
    // Its record's frame is damaged, so that the text is searched for the next record.
    let name = segments(&files).pop().unwrap();
    files.get_mut(&name).unwrap()[40] ^= 1;
    let (_, spool) = open(files);
    assert_eq!(spool.ids_after(None, 10), []);
    assert!(spool.message(id).is_err());
}

#[tokio::test]
async fn a_newer_format_is_refused_and_nothing_is_changed() {
    let (mut files, _) = queue().await;
    for name in segments(&files) {
        let bytes = files.get_mut(&name).unwrap();
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..28]).to_le_bytes();
        bytes[28..32].copy_from_slice(&crc);
    }
    let disk = SimDisk::holding(files.clone());
    let error = Spool::open_on(Arc::new(disk.clone()), small()).unwrap_err();
    assert!(matches!(error, SpoolError::TooNew { found: 2, known: 1, .. }), "{error}");
    assert_eq!(disk.files(), files);
}

#[tokio::test]
async fn strangers_in_the_directory_are_left_alone() {
    let (mut files, expected) = queue().await;
    files.insert("segments/README".into(), b"hello".to_vec());
    let (disk, spool) = open(files);
    assert_eq!(readable(&spool, &expected).await, expected.len());
    assert!(disk.files().contains_key(&PathBuf::from("segments/README")));
}
