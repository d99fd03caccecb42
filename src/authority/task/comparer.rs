//! The comparison with the master's list, beside the task: it reads our list to its end, and looks things up for each name
//! that differs, while writes go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::authority::differ::Differ;
use crate::authority::facts::Comparison;
use crate::list::{Entry, MailboxName};
use crate::store::{Snapshot, StoreError};

/// How many parts of the master's list may wait for their comparison.
const PARTS: usize = 16;

type Part = Vec<(MailboxName, Entry)>;

/// What came of it, and our list as it was compared.
pub(super) type Compared = Result<(Comparison, Snapshot), StoreError>;

/// Carries out, somewhere else, what takes long.
pub(super) type Aside = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Where a thread may wait for the disk.
pub(super) fn on_a_blocking_thread() -> Aside {
    Arc::new(|work| drop(tokio::task::spawn_blocking(work)))
}

/// The near end. When it is dropped, the far end stops.
pub(super) struct Comparer {
    parts: mpsc::Sender<Part>,
    whole: oneshot::Sender<Duration>,
    compared: oneshot::Receiver<Compared>,
}

impl Comparer {
    /// Begins to compare. `differ` holds our list as it is at this moment.
    pub(super) fn begin(aside: &Aside, differ: Differ) -> Self {
        let (parts, arriving) = mpsc::channel(PARTS);
        let (whole, took) = oneshot::channel();
        let (report, compared) = oneshot::channel();
        aside(Box::new(move || compare(differ, arriving, took, report)));
        Self { parts, whole, compared }
    }

    /// Waits until one more part can be taken in, or none will be any more.
    pub(super) async fn room(&self) {
        drop(self.parts.reserve().await);
    }

    /// Whether one more part can be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.parts.capacity() > 0
    }

    /// Takes the next part of the master's list in, for which there must be room.
    pub(super) fn push(&self, part: Part) {
        // Where the far end has stopped, it says why when the list is whole.
        let _ = self.parts.try_send(part);
    }

    /// The master's list is whole; it took so long. What comes of the comparison follows.
    pub(super) fn complete(self, took: Duration) -> oneshot::Receiver<Compared> {
        let _ = self.whole.send(took);
        self.compared
    }
}

fn compare(
    mut differ: Differ,
    mut parts: mpsc::Receiver<Part>,
    mut took: oneshot::Receiver<Duration>,
    report: oneshot::Sender<Compared>,
) {
    while let Some(part) = parts.blocking_recv() {
        if let Err(error) = differ.push(part) {
            return drop(report.send(Err(error)));
        }
    }
    let Ok(took) = took.try_recv() else { return };
    while !report.is_closed() {
        match differ.pass_rest() {
            Ok(true) => {}
            Ok(false) => return drop(report.send(differ.finish(took))),
            Err(error) => return drop(report.send(Err(error))),
        }
    }
}
