//! One write to the master, on a connection of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{CommandBody, ServerLine, Status, put_command};
use tokio::sync::Semaphore;

use super::LinkConfig;
use super::connection::{Connection, LinkError, unexpected};
use crate::authority::master::{Lost, MasterReply};
use crate::authority::write::Write;
use crate::list::DELETE_MARK;
use crate::rules::{Rule, kept};
use crate::telemetry::metric::Metric;

/// Connections that carry writes, one at a time each.
#[derive(Debug)]
pub(super) struct Pool {
    config: Arc<LinkConfig>,
    turns: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(super) fn new(config: Arc<LinkConfig>) -> Self {
        Self { turns: Semaphore::new(config.connections.max(1)), idle: Mutex::default(), config }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the idle connections: the next writes dial anew.
    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    /// Sends a write and waits for its reply, all within the deadline.
    pub(super) async fn send(&self, write: Write, deadline: Duration) -> Result<MasterReply, Lost> {
        let mut sent = false;
        let ended = tokio::time::timeout(deadline, self.exchange(&write, &mut sent)).await;
        let why = match ended {
            Ok(Ok(reply)) => return Ok(reply),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no reply within {} ms", deadline.as_millis()),
        };
        Err(if sent { Lost::InDoubt(why) } else { Lost::Unsent(why) })
    }

    async fn exchange(&self, write: &Write, sent: &mut bool) -> Result<MasterReply, LinkError> {
        let _turn = self.turns.acquire().await.map_err(|_| LinkError::Closed)?;
        let mut connection = self.connection().await?;
        let request = encode(write);
        *sent = true;
        connection.write(&request.bytes).await?;
        let mut reply = MasterReply::Done;
        for nth in 0..request.replies {
            // The mark before a DELETE was taken: nobody held the name.
            if nth > 0 && reply == MasterReply::Done {
                Metric::CrashesAverted.count(1);
            }
            reply = match connection.line().await? {
                ServerLine::Status { status: Status::Ok, .. } => MasterReply::Done,
                ServerLine::Status { status: Status::No | Status::Bad, text, tag: Some(_) } => {
                    MasterReply::Refused(String::from_utf8_lossy(&text).into_owned())
                }
                other => return Err(unexpected("a write", &other)),
            };
        }
        self.idle().push(connection);
        Ok(reply)
    }

    /// An idle connection that is still good, or a new one.
    async fn connection(&self) -> Result<Connection, LinkError> {
        loop {
            let idle = self.idle().pop();
            let Some(mut connection) = idle else {
                let connection = Connection::open(&self.config).await?;
                connection.reset_when_dropped()?;
                return Ok(connection);
            };
            if connection.is_quiet().await {
                return Ok(connection);
            }
        }
    }
}

struct Request {
    bytes: BytesMut,
    replies: usize,
}

/// Rule 5, the master is never crashed. A DELETE of a name that it does not hold kills it, also when it
/// arrives late; so it leaves behind a RESERVE at a place nobody has, in one segment: a name that exists
/// answers that NO, one that does not becomes deletable. A DEACTIVATE of a name that it does not hold kills
/// masters up to 3.12.1; a RESERVE at the same location has the same effect and does not.
fn encode(write: &Write) -> Request {
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
    Request { bytes, replies }
}
