//! A server's whole list, read once over a connection of its own: for the plan, to verify a reseed, and to
//! learn from a frontend's slave. Nothing is followed and nothing is written.

use std::time::Duration;

use ravenry_parsers::mupdate::{CommandBody, ServerLine, Status};
use tokio::time::timeout;

use super::LinkConfig;
use super::connection::{Connection, LinkError, entry_of, unexpected};
use crate::authority::master::MasterIdentity;
use crate::list::{Entry, MailboxName};

/// Names handed on at a time.
const BATCH: usize = 1000;

/// How long a server may be silent before its list begins: it waits for its lock while others are served.
const FIRST_LINE: Duration = Duration::from_secs(30);

/// A list being read.
#[derive(Debug)]
pub struct Listing {
    connection: Connection,
    silence: Duration,
    complete: bool,
}

impl Listing {
    /// Connects, logs in, and asks for the list. Masters and slaves both have one; see
    /// [`MasterIdentity::is_master`].
    pub async fn open(config: &LinkConfig) -> Result<Self, LinkError> {
        let opened = timeout(config.connect_deadline, Connection::open(config)).await;
        let mut connection = opened.map_err(|_| LinkError::Silent(config.connect_deadline))??;
        connection.command(b"U01", &CommandBody::Update { hosts: Vec::new() }).await?;
        Ok(Self { connection, silence: config.silence.max(FIRST_LINE), complete: false })
    }

    /// Who answers.
    pub fn identity(&self) -> &MasterIdentity {
        self.connection.identity()
    }

    /// The next part of the list, in the server's order; `None` once the server said that the list is whole.
    /// A list that is cut off, or ends with anything but OK, is an error.
    pub async fn next(&mut self) -> Result<Option<Vec<(MailboxName, Entry)>>, LinkError> {
        let mut part = Vec::new();
        while !self.complete && part.len() < BATCH {
            let line = match self.connection.buffered_line()? {
                Some(line) => line,
                // What is here already is handed on before the server is waited for.
                None if !part.is_empty() => break,
                None => {
                    let filled = timeout(self.silence, self.connection.fill()).await;
                    filled.map_err(|_| LinkError::Silent(self.silence))??;
                    continue;
                }
            };
            match line {
                ServerLine::Mailbox { mailbox, location, acl, .. } => {
                    part.push(entry_of(&mailbox, &location, Some(&acl))?);
                }
                ServerLine::Reserve { mailbox, location, .. } => {
                    part.push(entry_of(&mailbox, &location, None)?);
                }
                ServerLine::Status { tag: Some(tag), status: Status::Ok, .. } if tag == "U01" => {
                    self.complete = true;
                }
                other => return Err(unexpected("UPDATE", &other)),
            }
        }
        Ok(if part.is_empty() { None } else { Some(part) })
    }
}
