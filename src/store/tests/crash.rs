//! Power cuts at every moment.

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::files::Files;
use super::model::{Model, View, numbered, synced};
use super::random::{calls, name};
use super::sim::Unsynced;
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Options, Store};

/// A store whose disk remembers everything, and what should be there: after every call, and how far the disk
/// was when that call was acknowledged.
struct History {
    files: Files,
    /// What they held before.
    start: [Vec<u8>; 2],
    store: Store,
    model: Model,
    states: Vec<(usize, View)>,
    options: Options,
}

impl History {
    /// With a log of this length.
    fn begin(log_bytes: u64) -> Self {
        let options = Options { log_bytes, ..Options::default() };
        let files = Files::holding([Vec::new(), Vec::new()]);
        let store = files.open(options).unwrap();
        files.record();
        let mut model = Model::default();
        model.open();
        Self { start: files.bytes(), states: vec![(0, model.view())], files, store, model, options }
    }

    fn acknowledged(&mut self) {
        self.states.push((self.files.recorded(), self.model.view_after_restart()));
    }

    async fn commit_together(&mut self, calls: &[Vec<Change>]) {
        let waiting: Vec<_> = calls.iter().map(|call| self.store.submit(call.clone())).collect();
        for (call, answer) in calls.iter().zip(waiting) {
            answer.await.unwrap();
            self.model.commit(call);
            self.acknowledged();
        }
    }

    async fn load(&mut self, parts: &[Vec<(MailboxName, Entry)>]) {
        let mut loader = self.store.begin_load().await.unwrap();
        let version = self.store.stats().seq;
        self.model.skip_to(version);
        self.acknowledged();
        for part in parts {
            loader.put(part.clone()).await.unwrap();
        }
        loader.finish(synced(1)).await.unwrap();
        let seq = self.store.stats().seq;
        self.model.load(&parts.concat(), &synced(1), version, seq);
        self.acknowledged();
    }

    /// Cuts the power after every operation, with and without what was not synced.
    async fn cut_everywhere(&self) {
        for at in 0..=self.files.recorded() {
            self.cut(at, Unsynced::Mixed(at as u64)).await;
            self.cut(at, Unsynced::Reordered(at as u64)).await;
            // Neither is likely to come up by chance.
            self.cut(at, [Unsynced::Kept, Unsynced::Lost][at % 2]).await;
        }
    }

    /// Opens what the cut leaves, which must be one of the states it may be, and goes on working with it.
    async fn cut(&self, at: usize, unsynced: Unsynced) {
        let left = self.files.after_power_cut(&self.start, at, unsynced);
        let files = Files::holding(left.clone());
        files.record();
        let store = files.open(self.options).unwrap_or_else(|e| panic!("cut at {at}, {unsynced:?}: {e}"));
        let found = View::of(&store).unwrap();
        let mut states = self.states.iter().map(|(_, view)| view);
        let kept = states.position(|view| view.seq() == found.seq());
        let kept = kept.unwrap_or_else(|| panic!("cut at {at}, {unsynced:?}: part of a call is there"));
        let acknowledged = self.states.iter().rposition(|(upto, _)| *upto <= at).unwrap();
        assert!(kept >= acknowledged, "cut at {at}, {unsynced:?}: an acknowledged call is gone");
        assert_eq!(found, self.states[kept].1, "cut at {at}, {unsynced:?}");

        if !at.is_multiple_of(4) {
            return;
        }
        // The machine comes up, and the power fails again while the store opens.
        let again = files.after_power_cut(&left, files.recorded() / 2, unsynced);
        let store_again = Files::holding(again).open(self.options).unwrap();
        let found_again = View::of(&store_again).unwrap();
        assert_eq!(found_again, found, "cut again after {at}, {unsynced:?}");

        let later = vec![Change::Attended { at_unix: 77 }];
        store.commit(later).await.unwrap();
        drop(store);
        let store = files.open(self.options).unwrap();
        assert_eq!(store.stats().attended_at, Some(77));
    }
}

#[tokio::test]
async fn a_power_cut_leaves_every_acknowledged_call_and_no_part_of_another() {
    // A log for all, one that is full every few calls, none.
    for log_bytes in [32 << 10, 1024, 64] {
        let mut history = History::begin(log_bytes);
        for call in calls(12).chunks(1) {
            history.commit_together(call).await;
        }
        history.cut_everywhere().await;
    }
}

#[tokio::test]
async fn a_power_cut_leaves_whole_calls_of_a_group() {
    for log_bytes in [32 << 10, 4096, 64] {
        let mut history = History::begin(log_bytes);
        for group in calls(20).chunks(5) {
            history.commit_together(group).await;
        }
        history.cut_everywhere().await;
    }
}

#[tokio::test]
async fn a_power_cut_leaves_the_old_list_or_the_loaded_one() {
    let mut runner = TestRunner::deterministic();
    let part = proptest::collection::vec((name(), (0..30_u64).prop_map(numbered)), 12);
    let parts = proptest::collection::vec(part, 3).new_tree(&mut runner).unwrap().current();
    let mut history = History::begin(4096);
    history.commit_together(&calls(2)).await;
    history.load(&parts).await;
    history.cut_everywhere().await;
}
