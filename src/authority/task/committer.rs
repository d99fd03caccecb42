//! Commits in their order; what is durable is published in the same order, then reported.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::driver::Done;
use crate::authority::feed::{Feed, Published};
use crate::authority::machine::CommitId;
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Store, StoreError};
use crate::telemetry::metric::Metric;

/// How many commits may wait for the disk: half of what the store takes before it calls itself busy. A
/// master that changes more names at once waits its turn in here, one commit per name.
const AT_THE_STORE: usize = 8192;

type Durable = Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send>>;

enum Step {
    Commit { id: Option<CommitId>, changes: Vec<Change>, publish: Option<(MailboxName, Option<Entry>)> },
    Fence(oneshot::Sender<()>),
}

enum Submitted {
    Commit {
        id: Option<CommitId>,
        durable: Durable,
        publish: Option<(MailboxName, Option<Entry>)>,
        since: Instant,
        _turn: OwnedSemaphorePermit,
    },
    Fence(oneshot::Sender<()>),
}

/// The submitting side; the tasks behind it end when this is dropped.
pub(super) struct Committer {
    steps: mpsc::UnboundedSender<Step>,
}

impl Committer {
    pub(super) fn spawn(store: Store, feed: Feed, done: mpsc::UnboundedSender<Done>) -> Self {
        let (steps, asked) = mpsc::unbounded_channel();
        let (submitted, waiting) = mpsc::unbounded_channel();
        tokio::spawn(submit(asked, store, submitted));
        tokio::spawn(publish(waiting, feed, done));
        Self { steps }
    }

    /// Puts a commit into the store's queue, after all earlier ones. `id` is reported to the machine.
    pub(super) fn submit(
        &self,
        id: Option<CommitId>,
        changes: Vec<Change>,
        publish: Option<(MailboxName, Option<Entry>)>,
    ) {
        // The tasks outlive us unless the runtime is being shut down.
        let _ = self.steps.send(Step::Commit { id, changes, publish });
    }

    /// Answers once everything submitted before was published.
    pub(super) fn fence(&self, reply: oneshot::Sender<()>) {
        let _ = self.steps.send(Step::Fence(reply));
    }
}

/// Hands commits to the store in their order, no more at a time than it takes.
async fn submit(
    mut steps: mpsc::UnboundedReceiver<Step>,
    store: Store,
    submitted: mpsc::UnboundedSender<Submitted>,
) {
    let turns = Arc::new(Semaphore::new(AT_THE_STORE));
    while let Some(step) = steps.recv().await {
        let next = match step {
            Step::Fence(reply) => Submitted::Fence(reply),
            Step::Commit { id, changes, publish } => {
                let Ok(turn) = turns.clone().acquire_owned().await else { return };
                let durable = Box::pin(store.submit(changes));
                Submitted::Commit { id, durable, publish, since: Instant::now(), _turn: turn }
            }
        };
        if submitted.send(next).is_err() {
            return;
        }
    }
}

async fn publish(
    mut submitted: mpsc::UnboundedReceiver<Submitted>,
    feed: Feed,
    done: mpsc::UnboundedSender<Done>,
) {
    while let Some(step) = submitted.recv().await {
        match step {
            Submitted::Fence(reply) => drop(reply.send(())),
            Submitted::Commit { id, durable, publish, since, _turn } => {
                let result = durable.await;
                Metric::CommitDuration.observe(since.elapsed());
                match (&result, publish) {
                    (Ok(seq), Some((name, entry))) => feed.publish(Published { seq: *seq, name, entry }),
                    (Err(error), _) => tracing::error!(%error, "commit failed"),
                    (Ok(_), None) => {}
                }
                if let Some(id) = id {
                    let _ = done.send(Done::Committed(id, result.map_err(|error| error.to_string())));
                }
            }
        }
    }
}
