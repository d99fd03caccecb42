//! Writes to the master and their replies.
//!
//! A connection carries several writes at once, in order: Cyrus carries out one at a time anyway, and takes about
//! twice as many from a connection that always has the next one ready. A further connection is opened only when
//! those that are there have enough to do.
//!
//! A connection on which a write was given up carries no further ones. It is reset once nobody waits on it, but for
//! a deletion, which the master may still have: that is kept for a while, out of sight, until the answer comes, and no
//! other deletion of the name goes to the master meanwhile ([`super::deletions`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{CommandBody, ServerLine, Status, put_command};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::LinkConfig;
use super::connection::{Connection, LinkError, unexpected};
use super::deletions::{Alone, Deletions};
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::Write;
use crate::list::DELETE_MARK;
use crate::rules::{Rule, kept};
use crate::telemetry::metric::Metric;

/// How many writes one connection carries at once.
const DEPTH: usize = 16;

/// How long the answer to a deletion that was given up is waited for. No longer: by then the master counts as lost, and
/// gets no more deletions before it has sent its list again; what it still has of an earlier one it carries out first,
/// at the moment when it wakes. And an answer that never comes, eaten on its way, must not keep a replay waiting.
const LINGER: Duration = Duration::from_secs(2);

/// How long a deletion counts as under way after its connection ended without an answer: what the master had read
/// by then it still carries out.
const SETTLE: Duration = Duration::from_secs(1);

/// Connections that carry writes.
#[derive(Debug)]
pub(super) struct Pool {
    config: Arc<LinkConfig>,
    turns: Semaphore,
    lines: Mutex<Vec<Line>>,
    deletions: Deletions,
}

/// A connection, and the task that works it. It ends with the last handle, once every reply has come.
#[derive(Clone, Debug)]
struct Line {
    requests: mpsc::UnboundedSender<Request>,
    under_way: Arc<AtomicUsize>,
}

/// A write on its way.
#[derive(Debug)]
struct Request {
    bytes: BytesMut,
    /// Set before the first byte leaves.
    sent: Arc<AtomicBool>,
    reply: Awaited,
}

/// What somebody waits for.
#[derive(Debug)]
struct Awaited {
    /// How many replies are still to come; the last one counts.
    replies: usize,
    answer: oneshot::Sender<Result<MasterReply, String>>,
    /// Of a deletion: no other one of its name is under way.
    alone: Option<Alone>,
}

impl Pool {
    pub(super) fn new(config: Arc<LinkConfig>) -> Self {
        let turns = Semaphore::new(config.connections.max(1) * DEPTH);
        Self { config, turns, lines: Mutex::default(), deletions: Deletions::default() }
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the connections: the next writes dial anew.
    pub(super) fn clear(&self) {
        self.lines().clear();
    }

    /// Sends a write and waits for its reply, all within the deadline.
    pub(super) async fn send(&self, write: Write, deadline: Duration) -> Result<MasterReply, Lost> {
        let sent = Arc::new(AtomicBool::new(false));
        let ended = timeout(deadline, self.exchange(&write, &sent)).await;
        let why = match ended {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(why)) => why,
            Err(_) => format!("no reply within {} ms", deadline.as_millis()),
        };
        Err(if sent.load(Ordering::Acquire) { Lost::InDoubt(why) } else { Lost::Unsent(why) })
    }

    async fn exchange(&self, write: &Write, sent: &Arc<AtomicBool>) -> Result<MasterReply, String> {
        let _turn = self.turns.acquire().await.map_err(|_| "the link has ended".to_owned())?;
        loop {
            let alone = match write {
                Write::Delete { name } | Write::Forget { name, .. } => Some(self.deletions.begin(name).await),
                Write::Reserve { .. } | Write::Activate { .. } | Write::Deactivate { .. } => None,
            };
            let line = self.line();
            let mut under_way = UnderWay { pool: self, line: &line, ended: false };
            let (answer, answered) = oneshot::channel();
            let Encoded { bytes, replies } = encode(write);
            let reply = Awaited { replies, answer, alone };
            let queued = line.requests.send(Request { bytes, sent: sent.clone(), reply }).is_ok();
            let answer = if queued { answered.await.ok() } else { None };
            under_way.ended = true;
            match answer {
                Some(answer) => return answer,
                None if sent.load(Ordering::Acquire) => return Err("the connection ended".to_owned()),
                // An idle connection that the master had closed: nothing was sent, another one will do.
                None => {}
            }
        }
    }

    /// The connection with the least to do, or a new one. Counts one more write under way on it.
    fn line(&self) -> Line {
        let mut lines = self.lines();
        lines.retain(|line| !line.requests.is_closed());
        let load = |line: &Line| line.under_way.load(Ordering::Acquire);
        let least = lines.iter().min_by_key(|line| load(line));
        let line = match least {
            Some(line) if load(line) < DEPTH || lines.len() >= self.config.connections.max(1) => line.clone(),
            _ => {
                let line = Line::open(self.config.clone());
                lines.push(line.clone());
                line
            }
        };
        line.under_way.fetch_add(1, Ordering::AcqRel);
        line
    }

    /// The next writes take another connection.
    fn retire(&self, line: &Line) {
        self.lines().retain(|other| !other.requests.same_channel(&line.requests));
    }
}

/// Counts a write while it is under way.
struct UnderWay<'a> {
    pool: &'a Pool,
    line: &'a Line,
    ended: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.line.under_way.fetch_sub(1, Ordering::AcqRel);
        if !self.ended {
            self.pool.retire(self.line);
        }
    }
}

impl Line {
    fn open(config: Arc<LinkConfig>) -> Self {
        let (requests, queue) = mpsc::unbounded_channel();
        tokio::spawn(work(config, queue));
        Self { requests, under_way: Arc::default() }
    }
}

/// Opens a connection and works it until it ends or nobody can send any more. Who still waits then sees its answer
/// dropped, or is told why there was no connection.
async fn work(config: Arc<LinkConfig>, mut queue: mpsc::UnboundedReceiver<Request>) {
    let opened = timeout(config.connect_deadline, Connection::open(&config)).await;
    let why = match opened {
        Ok(Ok(connection)) => {
            let mut waiting = VecDeque::new();
            if let Err(error) = carry(connection, &mut queue, &mut waiting).await {
                tracing::debug!(%error, "a connection for writes ended");
            }
            drop(queue);
            let unanswered: Vec<Alone> = waiting.into_iter().filter_map(|reply| reply.alone).collect();
            if !unanswered.is_empty() {
                sleep(SETTLE).await;
            }
            return;
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {} ms", config.connect_deadline.as_millis()),
    };
    queue.close();
    while let Some(request) = queue.recv().await {
        let _ = request.reply.answer.send(Err(why.clone()));
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
                let _ = reply.answer.send(Ok(said));
            }
            Ok(())
        }
    }
}

struct Encoded {
    bytes: BytesMut,
    replies: usize,
}

/// Rule 5, the master is never crashed. A DELETE of a name that it does not hold kills it, also when it
/// arrives late; so it leaves behind a RESERVE at a place nobody has, in one segment: a name that exists
/// answers that NO, one that does not becomes deletable. A DEACTIVATE of a name that it does not hold kills
/// masters up to 3.12.1; a RESERVE at the same location has the same effect and does not.
fn encode(write: &Write) -> Encoded {
    let text = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let mailbox = text(write.name().as_bytes());
    let mut bytes = BytesMut::new();
    let mut replies = 1;
    match write {
        Write::Activate { location, acl, .. } => {
            let (location, acl) = (text(location.as_bytes()), text(acl.as_bytes()));
            put_command(&mut bytes, b"X0", &CommandBody::Activate { mailbox, location, acl });
        }
        Write::Reserve { location, .. } | Write::Deactivate { location, .. } => {
            let location = text(location.as_bytes());
            put_command(&mut bytes, b"X0", &CommandBody::Reserve { mailbox, location });
        }
        Write::Delete { .. } if !kept(Rule::MasterNeverCrashed) => {
            put_command(&mut bytes, b"X0", &CommandBody::Delete { mailbox });
        }
        Write::Delete { .. } | Write::Forget { .. } => {
            let location = Bytes::from_static(DELETE_MARK);
            put_command(&mut bytes, b"X0", &CommandBody::Reserve { mailbox: mailbox.clone(), location });
            put_command(&mut bytes, b"X1", &CommandBody::Delete { mailbox });
            replies = 2;
        }
    }
    Encoded { bytes, replies }
}
