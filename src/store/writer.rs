//! The one thread that writes.
//!
//! While a commit waits for the disk, calls queue up; the next commit takes all of them. One call alone waits
//! for nothing but its own commit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use redb::Database;
use tokio::sync::oneshot;

use super::StoreError;
use super::batch::Batch;
use super::load::{self, Loading};
use super::records::{Change, Synced};
use super::shared::{Published, Shared};
use crate::list::{Entry, MailboxName};

/// So many changes at most share a commit, so that the first of them does not wait for ever.
const GROUP: usize = 10_000;

/// What the writer can be asked to do. Every answer is a number: the sequence number of the last change, or
/// that of a load.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Vec<Change>),
    BeginLoad,
    PutLoad { id: u64, entries: Vec<(MailboxName, Entry)> },
    FinishLoad { id: u64, synced: Synced },
    DropLoad { id: u64 },
}

impl Work {
    fn weight(&self) -> usize {
        match self {
            Self::Commit(changes) => changes.len(),
            Self::PutLoad { entries, .. } => entries.len(),
            Self::BeginLoad | Self::FinishLoad { .. } | Self::DropLoad { .. } => 1,
        }
    }
}

pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<u64, StoreError>>,
}

pub(super) struct Writer {
    /// `None` once the store is poisoned.
    db: Option<Arc<Database>>,
    shared: Arc<Shared>,
    loading: Option<Loading>,
    loads: u64,
}

impl Writer {
    pub(super) fn new(db: Arc<Database>, shared: Arc<Shared>) -> Self {
        Self { db: Some(db), shared, loading: None, loads: 0 }
    }

    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            let mut weight = first.work.weight();
            let mut group = vec![first];
            while weight < GROUP
                && let Ok(next) = queue.try_recv()
            {
                weight += next.work.weight();
                group.push(next);
            }
            let (work, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|r| (r.work, r.reply)).unzip();
            match self.commit(work) {
                Ok(answers) => {
                    for (reply, answer) in replies.into_iter().zip(answers) {
                        // The caller may have stopped waiting; the change is made all the same.
                        let _ = reply.send(answer);
                    }
                }
                Err(poisoned) => {
                    for reply in replies {
                        let _ = reply.send(Err(poisoned.clone()));
                    }
                }
            }
        }
    }

    /// Carries a group out in one transaction. When this fails, it fails for good.
    fn commit(&mut self, group: Vec<Work>) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
        let (Some(db), None) = (self.db.clone(), self.shared.poisoned()) else {
            self.db = None;
            return Err(self.shared.poison("an unknown cause"));
        };
        let done = catch_unwind(AssertUnwindSafe(|| self.transact(&db, group)));
        let cause = match done {
            Ok(Ok(answers)) => return Ok(answers),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic while committing, which a damaged file can cause".to_owned(),
        };
        self.db = None;
        drop(db);
        Err(self.shared.poison(&cause))
    }

    fn transact(
        &mut self,
        db: &Database,
        group: Vec<Work>,
    ) -> Result<Vec<Result<u64, StoreError>>, StoreError> {
        let calls = group.len() as u64;
        let mut txn = db.begin_write()?;
        txn.set_quick_repair(true);
        let mut batch = Batch::open(&txn, self.shared.limits())?;
        let mut answers = Vec::with_capacity(group.len());
        for work in group {
            answers.push(self.apply(&mut batch, work)?);
        }
        let lengths = batch.lengths()?;
        let (ledger, touched, replaced) = batch.finish()?;
        self.shared.hot.begin(&touched, replaced);
        txn.commit()?;
        self.shared.disk.acknowledge();
        self.shared.publish(Published { ledger, lengths }, calls);
        self.shared.hot.end(touched);
        Ok(answers)
    }

    /// The outer error is the disk's and concerns the whole group, the inner one is the caller's own.
    fn apply(&mut self, batch: &mut Batch<'_>, work: Work) -> Result<Result<u64, StoreError>, StoreError> {
        match work {
            Work::Commit(changes) => {
                let mut seq = batch.ledger.seq;
                let order = batch.ledger.order;
                for change in changes {
                    seq = batch.apply(change)?;
                }
                if batch.ledger.order != order {
                    self.loading = None;
                }
                Ok(Ok(seq))
            }
            Work::BeginLoad => {
                self.loads += 1;
                self.loading = Some(Loading::begin(self.loads, batch)?);
                Ok(Ok(self.loads))
            }
            Work::PutLoad { id, entries } => match self.loading.as_mut().filter(|l| l.id == id) {
                None => Ok(Err(StoreError::LoadSuperseded)),
                Some(loading) => {
                    loading.put(batch, entries)?;
                    Ok(Ok(id))
                }
            },
            Work::FinishLoad { id, synced } => match self.loading.take_if(|l| l.id == id) {
                None => Ok(Err(StoreError::LoadSuperseded)),
                Some(loading) => {
                    loading.finish(batch, synced)?;
                    Ok(Ok(batch.ledger.seq))
                }
            },
            Work::DropLoad { id } => {
                if self.loading.take_if(|l| l.id == id).is_some() {
                    batch.with_tables_closed(load::discard)?;
                }
                Ok(Ok(id))
            }
        }
    }
}
