//! Queues that earlier releases wrote, and the fuzzer's seeds.
//!
//! `RAVENRY_SPOOL_FIXTURE=DIRECTORY cargo test -p ravenry formats` writes the queue that `fixtures/spool` holds.

use std::path::{Path, PathBuf};

use super::*;

/// The release that wrote each of them knew no newer format.
const FORMATS: [&str; 1] = ["format-1"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn options() -> Options {
    Options { segment_bytes: 900, now_unix_ms: || 1_795_499_494_000, ..small() }
}

fn said(code: u16, enhanced: [u16; 3], text: &str) -> Reply {
    Reply::own(code, enhanced, text)
}

/// What is queued: envelope, text, and how far it has come.
fn expected() -> Vec<(Envelope, Vec<u8>, Progress)> {
    let progress = |fates: &[Fate], attempts| Progress {
        held: false,
        attempts,
        last_attempt_unix_ms: if attempts > 0 { 1_795_499_500_000 } else { 0 },
        fates: fates.to_vec(),
    };
    let waits = Fate::Waiting(Some(said(451, [4, 4, 3], "Server(s) unavailable")));
    let fails = Fate::Failed(said(550, [5, 1, 1], "Mailbox unknown"));
    let mut odd = envelope(&["odd"]);
    odd.sender = address("");
    odd.recipients[0].parameters = vec![Parameter::new(b"IGNOREQUOTA".to_vec()).unwrap()];
    odd.recipients[0].mailbox = None;
    odd.protocol = Protocol::Report;
    vec![
        (envelope(&["a"]), text(40, b'a'), progress(&[Fate::Waiting(None)], 0)),
        (
            envelope(&["b", "c", "d", "e"]),
            text(300, b'b'),
            progress(&[Fate::Delivered, waits.clone(), Fate::Returned, fails], 1),
        ),
        (envelope(&["f"]), text(40, b'f'), Progress { held: true, ..progress(&[Fate::Waiting(None)], 0) }),
        (envelope(&["long"]), text((1 << 20) + 7, b'l'), progress(&[waits], 1)),
        (odd, text(0, b'o'), progress(&[Fate::Waiting(None)], 0)),
    ]
}

/// Writes what is expected, as a process leaves it that is killed.
async fn write(directory: &Path) {
    let spool = Spool::open(directory, options()).unwrap();
    let gone = spool.enqueue(envelope(&["gone"]), Body::in_memory(text(10, b'g'))).await.unwrap();
    for (envelope, text, progress) in expected() {
        let id = spool.enqueue(envelope, Body::in_memory(text)).await.unwrap();
        if progress.held {
            spool.hold(id).await.unwrap();
        } else if progress.attempts > 0 {
            let fates = progress.fates.into_iter().enumerate().collect();
            let attempt_unix_ms = Some(progress.last_attempt_unix_ms);
            spool.change(id, Change::Fates { fates, attempt_unix_ms }).await.unwrap();
        }
    }
    spool.delete(gone).await.unwrap();
    std::mem::forget(spool);
}

/// The segments of the fixture in a directory of their own. The long text is not kept with it: it is one letter.
fn put(fixture: &Path, into: &Path) {
    std::fs::create_dir_all(into.join("segments")).unwrap();
    std::fs::create_dir_all(into.join("texts")).unwrap();
    for segment in std::fs::read_dir(fixture).unwrap() {
        let segment = segment.unwrap().path();
        std::fs::copy(&segment, into.join("segments").join(segment.file_name().unwrap())).unwrap();
    }
    let (_, long, _) = expected().swap_remove(3);
    let id = QueueId(1_795_499_494_000_000 + 4);
    std::fs::write(into.join("texts").join(id.to_string()), long).unwrap();
}

async fn is_all_there(spool: &Spool) {
    let ids = spool.ids_after(None, 100);
    let expected = expected();
    assert_eq!(ids.len(), expected.len());
    for (id, (envelope, text, progress)) in ids.into_iter().zip(expected) {
        let (message, mut body) = spool.message_with_text(id).unwrap();
        assert_eq!(*message.envelope, envelope);
        assert_eq!(message.progress, progress);
        assert!(read(&mut body).await == text, "{id}'s text");
    }
    let stats = spool.stats();
    assert_eq!((stats.held, stats.failed, stats.quarantined), (1, 1, 0));
}

#[tokio::test]
async fn a_queue_of_every_earlier_format_is_taken_over_and_goes_on() {
    if let Some(directory) = std::env::var_os("RAVENRY_SPOOL_FIXTURE") {
        write(Path::new(&directory)).await;
    }
    for format in FORMATS {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        put(&root().join("fixtures/spool").join(format), home);
        let spool = Spool::open(home, options()).unwrap();
        is_all_there(&spool).await;
        let new = spool.enqueue(envelope(&["new"]), Body::in_memory(text(10, b'n'))).await.unwrap();
        drop(spool);
        let spool = Spool::open(home, options()).unwrap();
        assert_eq!(spool.ids_after(None, 100).pop(), Some(new), "{format}: new messages are the newest");
        spool.delete(new).await.unwrap();
        is_all_there(&spool).await;
        assert_eq!(std::fs::read_dir(home.join("quarantine")).unwrap().count(), 0, "{format}: no damage");
    }
}

/// The writer of today writes what the fixture of its own format holds, salts and so checksums apart.
#[tokio::test]
async fn the_newest_format_is_written_as_its_fixture_was() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path()).await;
    let lengths = |segments: PathBuf| {
        let mut lengths: Vec<_> = std::fs::read_dir(segments)
            .unwrap()
            .map(|segment| {
                let path = segment.unwrap().path();
                let number = path.file_name().unwrap().to_string_lossy()[..8].to_owned();
                (number, std::fs::metadata(path).unwrap().len())
            })
            .collect();
        lengths.sort();
        lengths
    };
    let newest = FORMATS.last().unwrap();
    assert!(newest.ends_with(&record::FORMAT.to_string()), "a new format needs a fixture");
    assert_eq!(
        lengths(directory.path().join("segments")),
        lengths(root().join("fixtures/spool").join(newest))
    );
}

/// What was once found stays found without a fuzzer.
#[test]
fn the_fuzzers_seeds_are_opened() {
    let mut seeds = vec![root().join("fuzz/seeds/spool_segment")];
    seeds.extend(FORMATS.map(|format| root().join("fixtures/spool").join(format)));
    let mut count = 0;
    for seed in seeds.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap()) {
        let bytes = std::fs::read(seed.unwrap().path()).unwrap();
        segments::check(&bytes);
        count += 1;
        // Each of them cut off, and each with a byte changed: more than the fuzzer's own first steps.
        for at in (0..bytes.len()).step_by(7) {
            segments::check(&bytes[..at]);
            let mut changed = bytes.clone();
            changed[at] = changed[at].wrapping_add(1);
            segments::check(&changed);
        }
    }
    assert!(count > 0, "no seeds");
}
