//! UPDATE: the whole list, then every change as it happens.
//!
//! A stream is never ended by NO, BAD or BYE (rule 2): a slave takes any of them for the end of the list and
//! deletes what it was not sent. Whatever goes wrong in here closes the socket bare.

use std::sync::Arc;

use bytes::Bytes;
use ravenry_parsers::mupdate::{
    Command, CommandBody, CommandEvent, Status, put_delete, put_mailbox, put_reserve,
};
use tokio::time::Instant;

use super::Hangup;
use super::dump::{Dump, Filter, Part, Sent};
use super::session::Session;
use super::wire::Wire;
use crate::authority::feed::Published;
use crate::authority::master::BoxFuture;
use crate::list::EntryState;
use crate::rules::{Rule, kept};

/// Changes encoded at a time.
const BATCH: usize = 4096;

/// NOOPs that may wait for their answers before more are read.
const MOST_NOOPS: usize = 16;

/// Runs a stream to its end.
pub(super) async fn run(mut session: Session, tag: Bytes, hosts: Vec<Bytes>) -> Hangup {
    let filter = (!hosts.is_empty()).then(|| Filter::Hosts(hosts.into()));
    let hangup = match follow(&mut session, &tag, filter).await {
        Ok(never) => match never {},
        Err(hangup) => hangup,
    };
    if let Some((status, text)) = last_words() {
        session.wire.status(Some(&tag), status, text);
        session.wire.close().await;
    }
    hangup
}

/// What a stream is told at its end: nothing (rule 2).
pub(crate) fn last_words() -> Option<(Status, &'static str)> {
    (!kept(Rule::StreamsEndBare)).then_some((Status::No, "the stream ends"))
}

/// Whether entries are sent again behind the list. A slave merges two lists in database-key order with `strcmp`, and
/// so drops entries that it was sent; as changes it takes them one by one (rule 3).
pub(crate) fn repeats(sent: &Sent) -> bool {
    sent.in_danger > 0 && kept(Rule::WholeListInOrder)
}

async fn follow(
    session: &mut Session,
    tag: &Bytes,
    filter: Option<Filter>,
) -> Result<std::convert::Infallible, Hangup> {
    let mut feed = session.namespace.subscribe();
    let snapshot = session.namespace.snapshot()?;
    let seq = snapshot.seq();
    let status = session.streams.begin(&session.peer, &session.user, feed.backlog());
    let dump = |part| Dump::new(snapshot.clone(), tag.clone(), filter.clone(), part);
    let sent = session.send(dump(Part::Whole)).await?;
    session.wire.status(Some(tag), Status::Ok, "streaming starts");
    if repeats(&sent) {
        session.send(dump(Part::InDanger)).await?;
    }
    // Held on to, the file could not reuse the space of what changes from now on.
    drop(snapshot);
    session.wire.flush().await?;
    feed.written(seq);
    status.written(seq);
    let mut changes: Vec<Arc<Published>> = Vec::new();
    let mut noops = Noops::default();
    let mut heard = Instant::now();
    loop {
        tokio::select! {
            biased;
            received = feed.recv(&mut changes, BATCH) => {
                received?;
                let last = write_changes(&mut session.wire, tag, seq, &mut changes).await?;
                feed.written(last);
                status.written(last);
            }
            tag_of_noop = noops.passed() => {
                // Everything before the barrier is in the feed by now: it goes out ahead of the OK.
                feed.drain(&mut changes)?;
                if !changes.is_empty() {
                    let last = write_changes(&mut session.wire, tag, seq, &mut changes).await?;
                    feed.written(last);
                    status.written(last);
                }
                session.wire.status(Some(&tag_of_noop), Status::Ok, "Noop done");
                session.wire.flush().await?;
            }
            // Whoever asks faster than the master answers is read no further.
            filled = session.wire.fill(), if noops.waiting.len() < MOST_NOOPS => {
                filled?;
                heard = Instant::now();
                while let Some(event) = session.wire.buffered()? {
                    take(session, event, &mut noops).await?;
                }
            }
            () = tokio::time::sleep_until(heard + session.config.idle_timeout) => return Err(Hangup::Idle),
        }
    }
}

async fn take(session: &mut Session, event: CommandEvent, noops: &mut Noops) -> Result<(), Hangup> {
    match event {
        CommandEvent::Continue => session.wire.out.extend_from_slice(b"+ go ahead\r\n"),
        CommandEvent::Bad { tag, text } => session.wire.status(tag.as_deref(), Status::Bad, text),
        CommandEvent::Command(Command { tag, body }) => match body {
            CommandBody::Noop => noops.ask(tag, session.namespace.barrier()),
            CommandBody::Logout => {
                session.wire.status(Some(&tag), Status::Ok, "bye-bye");
                session.wire.flush().await?;
                return Err(Hangup::Logout);
            }
            _ => session.wire.status(Some(&tag), Status::Bad, "not legal when streaming"),
        },
    }
    session.wire.flush().await
}

/// The NOOPs of one stream that wait for a barrier. A slave has few; each is answered in turn.
#[derive(Default)]
struct Noops {
    waiting: std::collections::VecDeque<(Bytes, BoxFuture<()>)>,
}

impl Noops {
    fn ask(&mut self, tag: Bytes, barrier: BoxFuture<()>) {
        self.waiting.push_back((tag, barrier));
    }

    /// The tag of the oldest NOOP, once its barrier has passed. Cancelling it loses nothing.
    async fn passed(&mut self) -> Bytes {
        match self.waiting.front_mut() {
            None => std::future::pending().await,
            Some((tag, barrier)) => {
                barrier.await;
                let tag = tag.clone();
                self.waiting.pop_front();
                tag
            }
        }
    }
}

/// Writes changes newer than the dump; gives back the last sequence number.
async fn write_changes(
    wire: &mut Wire,
    tag: &[u8],
    after: u64,
    changes: &mut Vec<Arc<Published>>,
) -> Result<u64, Hangup> {
    let mut last = after;
    for change in changes.drain(..) {
        last = last.max(change.seq);
        if change.seq <= after {
            continue;
        }
        let name = change.name.as_bytes();
        match &change.entry {
            None => put_delete(&mut wire.out, tag, name),
            Some(entry) => match &entry.state {
                EntryState::Active(acl) => {
                    put_mailbox(&mut wire.out, tag, name, entry.location.as_bytes(), acl.as_bytes());
                }
                EntryState::Reserved => put_reserve(&mut wire.out, tag, name, entry.location.as_bytes()),
            },
        }
    }
    wire.flush().await?;
    Ok(last)
}
