//! Writes to the master: as what they are sent, and what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{CommandBody, put_command};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::LinkConfig;
use super::deletions::{Deletions, Followed};
use super::line::{Awaited, DEPTH, Request};
use super::pool::Pool;
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::Write;
use crate::list::DELETE_MARK;
use crate::rules::{Rule, kept};

/// The way of writes to the master.
#[derive(Debug)]
pub(super) struct Forward {
    pool: Arc<Pool>,
    turns: Semaphore,
    deletions: Deletions,
}

impl Forward {
    pub(super) fn new(config: &LinkConfig, pool: Arc<Pool>, followed: Followed) -> Self {
        let turns = Semaphore::new(config.connections.max(1) * DEPTH);
        Self { pool, turns, deletions: Deletions::new(followed) }
    }

    /// Lets go of the connections: the next writes dial anew.
    pub(super) fn clear(&self) {
        self.pool.clear();
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
                Write::Reserve { .. }
                | Write::Activate { .. }
                | Write::Deactivate { .. }
                | Write::Revive { .. } => None,
            };
            let mut busy = self.pool.line().await?;
            let (answer, answered) = oneshot::channel();
            let Encoded { bytes, replies } = encode(write);
            let reply = Awaited { replies, answer, alone };
            let queued = busy.line().request(Request { bytes, sent: sent.clone(), reply });
            let answer = if queued { answered.await.ok() } else { None };
            busy.ended();
            match answer {
                Some(answer) => return Ok(answer),
                None if sent.load(Ordering::Acquire) => return Err("the connection ended".to_owned()),
                // An idle connection that the master had closed: nothing was sent, another one will do.
                None => {}
            }
        }
    }
}

/// What the master is sent.
pub(crate) struct Encoded {
    pub(crate) bytes: BytesMut,
    /// How many replies come; the last one counts.
    pub(crate) replies: usize,
}

/// Rule 5, the master is never crashed. A DELETE of a name that it does not hold kills it, also when it
/// arrives late; so it leaves behind a RESERVE at a place nobody has, in one segment: a name that exists
/// answers that NO, one that does not becomes deletable. A DEACTIVATE of a name that it does not hold kills
/// masters up to 3.12.1; a RESERVE at the same location has the same effect and does not.
pub(crate) fn encode(write: &Write) -> Encoded {
    let text = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    let mailbox = text(write.name().as_bytes());
    let mut bytes = BytesMut::new();
    let mut replies = 1;
    match write {
        Write::Activate { location, acl, .. } | Write::Revive { location, acl, .. } => {
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
