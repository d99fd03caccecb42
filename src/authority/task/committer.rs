//! Commits in their order; what is durable is published in the same order, then reported.

use std::pin::Pin;

use tokio::sync::{mpsc, oneshot};

use super::driver::Done;
use crate::authority::feed::{Feed, Published};
use crate::authority::machine::CommitId;
use crate::list::{Entry, MailboxName};
use crate::store::{Change, Store, StoreError};

type Durable = Pin<Box<dyn Future<Output = Result<u64, StoreError>> + Send>>;

enum Step {
    Commit { id: Option<CommitId>, durable: Durable, publish: Option<(MailboxName, Option<Entry>)> },
    Fence(oneshot::Sender<()>),
}

/// The submitting side; the publishing side is a task of its own that ends when this is dropped.
pub(super) struct Committer {
    store: Store,
    steps: mpsc::UnboundedSender<Step>,
}

impl Committer {
    pub(super) fn spawn(store: Store, feed: Feed, done: mpsc::UnboundedSender<Done>) -> Self {
        let (steps, waiting) = mpsc::unbounded_channel();
        tokio::spawn(publish(waiting, feed, done));
        Self { store, steps }
    }

    /// Puts a commit into the store's queue, after all earlier ones. `id` is reported to the machine.
    pub(super) fn submit(
        &self,
        id: Option<CommitId>,
        changes: Vec<Change>,
        publish: Option<(MailboxName, Option<Entry>)>,
    ) {
        let durable = Box::pin(self.store.submit(changes));
        // The publishing task outlives us unless the runtime is being shut down.
        let _ = self.steps.send(Step::Commit { id, durable, publish });
    }

    /// Answers once everything submitted before was published.
    pub(super) fn fence(&self, reply: oneshot::Sender<()>) {
        let _ = self.steps.send(Step::Fence(reply));
    }
}

async fn publish(mut steps: mpsc::UnboundedReceiver<Step>, feed: Feed, done: mpsc::UnboundedSender<Done>) {
    while let Some(step) = steps.recv().await {
        match step {
            Step::Fence(reply) => drop(reply.send(())),
            Step::Commit { id, durable, publish } => {
                let result = durable.await;
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
