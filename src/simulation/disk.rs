//! The disk of Ravenry's host: commits in their order and in groups, published when they are durable, then reported; and
//! what is left of them when the power fails.

use std::time::Duration;

use super::faults::LONGEST;
use super::network::Node;
use super::ravenry::{Step, Waiting};
use super::world::{Happening, Key, World};
use crate::authority::feed::Published;
use crate::authority::machine::{CommitId, Policy};
use crate::list::{Entry, MailboxName};
use crate::store::Change;
use crate::store::tests::files::Files;
use crate::store::tests::sim::Unsynced;

/// What waits for the disk, in order.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Commit { id: Option<CommitId>, changes: Vec<Change>, publish: Option<(MailboxName, Option<Entry>)> },
    Fence(Waiting),
}

impl World {
    /// The power fails, or the process is killed: what was being written is there, or not, or in part.
    pub(super) fn ravenry_dies(&mut self, back: Duration) {
        let Some(mut running) = self.ravenry.running.take() else { return };
        self.note(|| "Ravenry is dead".into());
        self.not_taken_back("Ravenry was killed in the middle");
        let before = self.ravenry.files.bytes();
        let mut bytes = before.clone();
        if !running.writing.is_empty() && self.rng.u8(..3) > 0 {
            self.ravenry.files.record();
            running.scribe.commit(calls(&running.writing));
            let unsynced = match self.rng.u8(..3) {
                0 => Unsynced::Lost,
                1 => Unsynced::Kept,
                _ => Unsynced::Mixed(self.rng.u64(..)),
            };
            let at = self.rng.usize(..=self.ravenry.files.recorded());
            bytes = self.ravenry.files.after_power_cut(&before, at, unsynced);
        }
        drop(running);
        self.ravenry.files = Files::holding(bytes);
        self.goes_down(Node::Ravenry);
        self.at(self.now + back, Happening::Ravenry(Step::Up));
    }

    /// Operations that came to nothing just now may not be taken back any more.
    pub(super) fn not_taken_back(&mut self, why: &'static str) {
        let undone = std::mem::take(&mut self.undone).into_iter();
        // Ravenry may hear of the end only when a way is mended.
        let since = self.now.saturating_sub(Policy::default().patience + Duration::from_millis(LONGEST));
        let names: Vec<Key> = undone.filter(|(at, _)| *at > since).flat_map(|(_, names)| names).collect();
        self.history.haunt(&names);
        names.iter().for_each(|key| self.taint(key, why));
    }

    /// Puts a commit behind all earlier ones.
    pub(super) fn submit(
        &mut self,
        id: Option<CommitId>,
        changes: Vec<Change>,
        publish: Option<(MailboxName, Option<Entry>)>,
    ) {
        self.line_up(Job::Commit { id, changes, publish });
    }

    fn line_up(&mut self, job: Job) {
        if let Some(running) = &mut self.ravenry.running {
            running.waiting.push_back(job);
            self.write();
        }
    }

    /// Gives the disk what waits, if it has nothing to do.
    fn write(&mut self) {
        let Some(running) = &mut self.ravenry.running else { return };
        if !running.writing.is_empty() || running.waiting.is_empty() {
            return;
        }
        running.writing = running.waiting.drain(..).collect();
        let slow = self.now < self.ravenry.slow_until;
        let micros = if slow { self.rng.u64(50_000..900_000) } else { self.rng.u64(200..3_000) };
        self.after(Node::Ravenry, Duration::from_micros(micros), Happening::Ravenry(Step::Written));
    }

    /// What was written is durable: it is published, then reported.
    pub(super) fn written(&mut self) {
        let Some(running) = &mut self.ravenry.running else { return };
        let jobs = std::mem::take(&mut running.writing);
        let mut results = running.scribe.commit(calls(&jobs)).into_iter();
        for job in jobs {
            match job {
                Job::Commit { id, changes, publish } => {
                    let result = results.next().expect("one for each call");
                    // A list that a master completed is what it was, whatever failed before.
                    if result.is_ok() && changes.iter().any(|change| matches!(change, Change::Synced(_))) {
                        self.ravenry.suspect = false;
                    }
                    if let (Ok(seq), Some((name, entry)), Some(running)) =
                        (&result, publish, &self.ravenry.running)
                    {
                        running.feed.publish(Published { seq: *seq, name, entry });
                    }
                    if let Some(id) = id {
                        let result = result.map_err(|error| error.to_string());
                        let step = Happening::Ravenry(Step::Committed(id, result));
                        self.after(Node::Ravenry, Duration::from_micros(20), step);
                    }
                }
                Job::Fence(waiting) => {
                    let step = Happening::Ravenry(Step::Fenced(waiting));
                    self.after(Node::Ravenry, Duration::from_micros(20), step);
                }
            }
        }
        self.pump_streams();
        self.write();
    }

    /// Goes on once everything submitted by now was published.
    pub(super) fn fence(&mut self, waiting: Waiting) {
        self.line_up(Job::Fence(waiting));
    }

    /// Nothing of what waits has a place on the list that is about to replace ours.
    pub(super) fn disk_is_idle(&self) -> bool {
        self.ravenry
            .running
            .as_ref()
            .is_none_or(|running| running.waiting.is_empty() && running.writing.is_empty())
    }
}

fn calls(jobs: &[Job]) -> Vec<Vec<Change>> {
    let calls = jobs.iter().filter_map(|job| match job {
        Job::Commit { changes, .. } => Some(changes.clone()),
        Job::Fence(_) => None,
    });
    calls.collect()
}
