//! One connection that carries writes, and the task that works it.
//!
//! It takes several writes at once, in order: Cyrus carries out one at a time anyway, and takes about twice as many
//! from a connection that always has the next one ready.
//!
//! A connection on which a write was given up carries no further ones. It is reset once nobody waits on it, but for
//! a deletion, which the master may still have: that is kept for a while, out of sight, until the answer comes, and no
//! other deletion of the name goes to the master meanwhile ([`super::deletions`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use ravenry_parsers::mupdate::{ServerLine, Status};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, LinkError, unexpected};
use super::deletions::Alone;
use crate::authority::master::MasterReply;
use crate::telemetry::metric::Metric;

/// How many writes fill a connection: with so many under way, it has no room for more while another one has.
pub(super) const DEPTH: usize = 16;

/// How long the answer to a deletion that was given up is waited for. No longer: by then the master counts as lost, and
/// gets no more deletions before it has sent its list again; what it still has of an earlier one it carries out first,
/// at the moment when it wakes. And an answer that never comes, eaten on its way, must not keep a replay waiting.
const LINGER: Duration = Duration::from_secs(2);

/// How long a deletion counts as under way, at the least, after its connection ended without an answer: what the master
/// had read by then it still carries out.
const SETTLE: Duration = Duration::from_secs(1);

/// A handle to the connection. The task ends with the last handle, once every reply has come.
#[derive(Clone, Debug)]
pub(super) struct Line {
    requests: mpsc::UnboundedSender<Request>,
    under_way: Arc<AtomicUsize>,
}

/// A write on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) bytes: BytesMut,
    /// Set before the first byte leaves.
    pub(super) sent: Arc<AtomicBool>,
    pub(super) reply: Awaited,
}

/// What somebody waits for.
#[derive(Debug)]
pub(super) struct Awaited {
    /// How many replies are still to come; the last one counts.
    pub(super) replies: usize,
    pub(super) answer: oneshot::Sender<MasterReply>,
    /// Of a deletion: no other one of its name is under way.
    pub(super) alone: Option<Alone>,
}

impl Line {
    /// A connection, and the work on it that is to be run.
    pub(super) fn new(connection: Connection) -> (Self, impl Future<Output = ()> + Send) {
        let (requests, queue) = mpsc::unbounded_channel();
        (Self { requests, under_way: Arc::default() }, work(connection, queue))
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Whether both are handles to one connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.requests.same_channel(&other.requests)
    }

    /// How many writes are under way.
    pub(super) fn load(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// Counts a write that begins.
    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a write that has ended.
    pub(super) fn end(&self) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }

    /// Hands a write to the task; false where the connection has ended.
    pub(super) fn request(&self, request: Request) -> bool {
        self.requests.send(request).is_ok()
    }
}

/// Works until the connection ends or nobody can send any more. Who still waits then sees its answer dropped.
async fn work(connection: Connection, mut queue: mpsc::UnboundedReceiver<Request>) {
    let mut waiting = VecDeque::new();
    if let Err(error) = carry(connection, &mut queue, &mut waiting).await {
        tracing::debug!(%error, "a connection for writes ended");
    }
    drop(queue);
    let unanswered: Vec<Alone> = waiting.into_iter().filter_map(|reply| reply.alone).collect();
    if !unanswered.is_empty() {
        sleep(SETTLE).await;
        for deletion in unanswered {
            deletion.over().await;
        }
    }
}

async fn carry(
    mut connection: Connection,
    queue: &mut mpsc::UnboundedReceiver<Request>,
    waiting: &mut VecDeque<Awaited>,
) -> Result<(), LinkError> {
    connection.reset_when_dropped()?;
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            taken = queue.recv_many(&mut batch, DEPTH) => {
                if taken == 0 {
                    break;
                }
                let mut bytes = BytesMut::new();
                for request in batch.drain(..) {
                    request.sent.store(true, Ordering::Release);
                    bytes.unsplit(request.bytes);
                    waiting.push_back(request.reply);
                }
                connection.write(&bytes).await?;
            }
            line = connection.line() => answer(waiting, line?)?,
        }
    }
    // Nobody waits any more: what has no answer was given up. It is reset, so that what the master has not taken yet
    // never reaches it; but a deletion it may have taken already.
    let lingering = async {
        while waiting.iter().any(|reply| reply.alone.is_some()) {
            answer(waiting, connection.line().await?)?;
        }
        Ok(())
    };
    timeout(LINGER, lingering).await.unwrap_or(Err(LinkError::Closed))
}

/// Gives the one whose turn it is what the master said.
fn answer(waiting: &mut VecDeque<Awaited>, line: ServerLine) -> Result<(), LinkError> {
    let said = match line {
        ServerLine::Status { status: Status::Ok, .. } => MasterReply::Done,
        ServerLine::Status { status: Status::No | Status::Bad, text, tag: Some(_) } => {
            MasterReply::Refused(String::from_utf8_lossy(&text).into_owned())
        }
        other => return Err(unexpected("a write", &other)),
    };
    match waiting.front_mut() {
        None => Err(LinkError::Closed),
        Some(reply) if reply.replies > 1 => {
            reply.replies -= 1;
            // The mark before a DELETE was taken: nobody held the name.
            if said == MasterReply::Done {
                Metric::CrashesAverted.count(1);
            }
            Ok(())
        }
        Some(_) => {
            if let Some(reply) = waiting.pop_front() {
                let _ = reply.answer.send(said);
            }
            Ok(())
        }
    }
}
