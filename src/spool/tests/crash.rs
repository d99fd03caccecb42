//! Power cuts at every moment.

use std::collections::BTreeMap;

use super::sim::SimDisk;
use super::*;

/// What was promised: after so many operations on the disk, this was acknowledged.
enum Promise {
    Kept(QueueId, Envelope, Vec<u8>),
    Forgotten(QueueId),
}

/// A spool whose disk remembers everything.
struct History {
    disk: SimDisk,
    spool: Option<Spool>,
    promises: Vec<(usize, Promise)>,
}

fn options() -> Options {
    // Small enough that segments begin, end and are moved within a short history.
    Options { segment_bytes: 3_000, ..small() }
}

impl History {
    fn begin() -> Self {
        let (sim, disk) = sim();
        Self { disk: sim, spool: Some(Spool::open_on(disk, options()).unwrap()), promises: Vec::new() }
    }

    fn spool(&self) -> &Spool {
        self.spool.as_ref().unwrap()
    }

    async fn enqueue(&mut self, names: &[&str], len: usize) -> QueueId {
        let text = text(len, names[0].as_bytes()[0]);
        let mut body = self.spool().incoming().begin();
        body.write(&text).unwrap();
        let id = self.spool().enqueue(envelope(names), body.finish()).await.unwrap();
        self.promises.push((self.disk.ops(), Promise::Kept(id, envelope(names), text)));
        id
    }

    async fn delete(&mut self, id: QueueId) {
        self.spool().delete(id).await.unwrap();
        self.promises.push((self.disk.ops(), Promise::Forgotten(id)));
    }

    fn restart(&mut self) {
        self.spool = None;
        self.spool = Some(Spool::open_on(Arc::new(self.disk.clone()), options()).unwrap());
    }

    /// Cuts the power after every operation.
    async fn cut_everywhere(mut self) {
        self.spool = None;
        for at in 0..=self.disk.ops() {
            for seed in 0..8 {
                self.cut(at, seed).await;
            }
        }
    }

    async fn cut(&self, at: usize, seed: u64) {
        let left = self.disk.after_power_cut(at, seed);
        // The power fails once more while the spool opens.
        let spool = Spool::open_on(Arc::new(left.clone()), options())
            .unwrap_or_else(|error| panic!("cut at {at}, {seed}: {error}"));
        self.judge(&spool, at, seed).await;
        assert_eq!(spool.stats().quarantined, 0, "cut at {at}, {seed}: a power cut is no damage");
        let again = {
            let base = self.disk.after_power_cut(at, seed);
            drop(Spool::open_on(Arc::new(base.clone()), options()));
            base
        };
        let spool_again = Spool::open_on(Arc::new(again), options()).unwrap();
        self.judge(&spool_again, at, seed).await;
        // And it goes on working.
        let id = spool.enqueue(envelope(&["later"]), Body::in_memory(text(3, b'l'))).await.unwrap();
        drop(spool);
        let spool = Spool::open_on(Arc::new(left), options()).unwrap();
        assert!(spool.message(id).is_ok(), "cut at {at}, {seed}");
    }

    async fn judge(&self, spool: &Spool, at: usize, seed: u64) {
        let mut expected = BTreeMap::new();
        let mut known = BTreeMap::new();
        for (ops, promise) in &self.promises {
            match promise {
                Promise::Kept(id, envelope, text) => {
                    known.insert(*id, (envelope, text));
                    if *ops <= at {
                        expected.insert(*id, ());
                    }
                }
                // From when it is asked for it may be gone; from when it is acknowledged it must be.
                Promise::Forgotten(id) => {
                    expected.remove(id);
                }
            }
        }
        let found = contents(spool).await;
        for (id, envelope, text) in &found {
            let (known_envelope, known_text) =
                known.get(id).unwrap_or_else(|| panic!("cut at {at}, {seed}: {id} was never queued"));
            assert_eq!((envelope, text), (*known_envelope, *known_text), "cut at {at}, {seed}");
            let gone = self.promises.iter().any(|(ops, promise)| {
                matches!(promise, Promise::Forgotten(gone) if gone == id) && *ops <= at
            });
            assert!(!gone, "cut at {at}, {seed}: {id} came back");
        }
        for id in expected.keys() {
            assert!(found.iter().any(|found| found.0 == *id), "cut at {at}, {seed}: {id} is lost");
        }
    }
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let mut history = History::begin();
    let first = history.enqueue(&["a", "b"], 10).await;
    history.enqueue(&["c"], 600).await;
    history.spool().hold(first).await.unwrap();
    let third = history.enqueue(&["d"], 2_000).await;
    history.delete(third).await;
    history.restart();
    let long = history.enqueue(&["e"], (1 << 20) + 100).await;
    history.enqueue(&["f"], 100).await;
    history.delete(long).await;
    history.cut_everywhere().await;
}

#[tokio::test]
async fn a_power_cut_loses_nothing_while_segments_are_given_back() {
    let mut history = History::begin();
    history.enqueue(&["old"], 10).await;
    for _ in 0..12 {
        let id = history.enqueue(&["x"], 1_500).await;
        history.delete(id).await;
    }
    history.enqueue(&["y"], 10).await;
    history.cut_everywhere().await;
}
