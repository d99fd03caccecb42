//! The one thread that writes.
//!
//! While a commit waits for the disk, calls queue up; the next commit takes all of them. One call alone waits
//! for nothing but its own commit. Most commits are made durable by the log ([`super::log`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use redb::{Database, Durability, WriteTransaction};
use tokio::sync::oneshot;

use super::StoreError;
use super::batch::{Batch, Filled};
use super::load::{self, Loading};
use super::log::{self, Log, Record};
use super::records::{Change, Synced};
use super::schema::Ledger;
use super::shared::Shared;
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
            Self::Commit(changes) => changes.iter().filter(|change| !change.is_passing()).count(),
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
    /// As of the last commit.
    ledger: Ledger,
    log: Log,
    /// How many changes are in the log only.
    logged: usize,
    loading: Option<Loading>,
    loads: u64,
}

/// A group about to become durable.
struct Attempt {
    filled: Filled,
    answers: Answers,
}

/// What each call of a group is told.
type Answers = Vec<Result<u64, StoreError>>;

impl Writer {
    pub(super) fn new(db: Arc<Database>, shared: Arc<Shared>, ledger: Ledger, log: Log) -> Self {
        Self { db: Some(db), shared, ledger, log, logged: 0, loading: None, loads: 0 }
    }

    /// Works until every sender is gone and the queue is empty.
    pub(super) fn run(mut self, queue: &Receiver<Request>) {
        while let Ok(first) = queue.recv() {
            self.shared.at_work(true);
            let mut weight = first.work.weight().max(1);
            let mut group = vec![first];
            while weight < GROUP
                && let Ok(next) = queue.try_recv()
            {
                weight += next.work.weight().max(1);
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
            self.shared.at_work(false);
        }
        if self.logged > 0 {
            // A store that was closed in order has nothing in its log. Nobody is left to be told of a failure.
            let _ = self.commit(Vec::new());
        }
    }

    /// Carries a group out in one transaction. When this fails, it fails for good.
    pub(super) fn commit(&mut self, group: Vec<Work>) -> Result<Answers, StoreError> {
        let (Some(db), None) = (self.db.clone(), self.shared.poisoned()) else {
            self.db = None;
            return Err(self.shared.poison("an unknown cause"));
        };
        let mut attempt = None;
        let done = catch_unwind(AssertUnwindSafe(|| self.transact(&db, group, &mut attempt)));
        let cause = match done {
            Ok(Ok(())) => {
                let answers = self.committed(Some(&db), attempt);
                // redb need not say so at once when it fails to write a page that nobody waits for.
                if let Some(cause) = self.shared.disk.failure().cloned() {
                    self.db = None;
                    drop(db);
                    self.shared.poison(&cause);
                }
                return Ok(answers);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a panic while committing, which a damaged file can cause".to_owned(),
        };
        self.db = None;
        drop(db);
        let poisoned = self.shared.poison(&cause);
        // redb tidies up after a commit, which can fail too. What readers are shown now decides which it was.
        let shown = self.shared.current().map(|base| base.ledger.seq).ok();
        let tried = attempt.as_ref().map(|a| a.filled.ledger.seq);
        if tried == shown && tried > Some(self.ledger.seq) {
            return Ok(self.committed(None, attempt));
        }
        Err(poisoned)
    }

    fn committed(&mut self, db: Option<&Arc<Database>>, attempt: Option<Attempt>) -> Answers {
        let Some(Attempt { filled, answers }) = attempt else {
            return Answers::new();
        };
        self.ledger = filled.ledger.clone();
        self.shared.committed(db, filled, answers.len() as u64);
        answers
    }

    fn transact(
        &mut self,
        db: &Database,
        group: Vec<Work>,
        attempt: &mut Option<Attempt>,
    ) -> Result<(), StoreError> {
        let mut txn = db.begin_write()?;
        let record = self.record(&group);
        make_durable_by(record.as_ref(), &mut txn)?;
        let weight: usize = group.iter().map(Work::weight).sum();
        let mut batch = Batch::open(&txn, Some(self.ledger.clone()), &self.shared.options);
        let mut answers = Answers::with_capacity(group.len());
        for work in group {
            answers.push(self.apply(&mut batch, work)?);
        }
        let mark = self.ledger.mark;
        batch.ledger.mark =
            record.as_ref().map_or_else(|| mark.past(batch.ledger.seq), |record| record.mark(mark.life));
        let filled = batch.finish()?;
        self.shared.hot.begin(&filled.touched, filled.replaced);
        *attempt = Some(Attempt { filled, answers });
        let Some(record) = record else {
            txn.commit()?;
            self.log.restart();
            self.shared.logged().clear();
            self.logged = 0;
            return Ok(());
        };
        self.log.append(&record).map_err(|e| StoreError::disk("appending to the log", &e))?;
        // From here on it is durable, whatever becomes of the tables in memory.
        self.shared.logged().push(record);
        self.logged += weight;
        Ok(txn.commit()?)
    }

    /// The group as the log would hold it; `None` where the tables have to be made durable themselves.
    fn record(&self, group: &[Work]) -> Option<Record> {
        let mut changes = Vec::new();
        for work in group {
            match work {
                Work::Commit(call) if !call.iter().any(|change| matches!(change, Change::SetOrder(_))) => {
                    changes.extend(call);
                }
                _ => return None,
            }
        }
        if changes.is_empty() || self.logged + group.iter().map(Work::weight).sum::<usize>() > log::CHANGES {
            return None;
        }
        Some(Record::new(self.ledger.mark, changes.into_iter())).filter(|record| self.log.has_room(record))
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

fn make_durable_by(record: Option<&Record>, txn: &mut WriteTransaction) -> Result<(), StoreError> {
    match record {
        Some(_) => txn
            .set_durability(Durability::None)
            .map_err(|e| StoreError::corrupt(format!("a commit in memory is refused: {e}"))),
        None => {
            txn.set_quick_repair(true);
            Ok(())
        }
    }
}
