//! What the authority needs of the link to the real master. The wire is the business of
//! [`crate::mupdate`].

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::write::Write;
use crate::list::{Entry, MailboxName};

/// Numbers the connections of the follower, so that news from an old one can be told apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct LinkEpoch(pub u64);

/// What a server says of itself in its banner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MasterIdentity {
    /// `mm.example.org`
    pub servername: String,
    /// `3.6.1-Debian-3.6.1-4+deb12u5`
    pub version: String,
    /// `(master)`; a slave says `mupdate://its-master`.
    pub role: String,
}

impl MasterIdentity {
    /// Whether the banner is a master's own.
    pub fn is_master(&self) -> bool {
        self.role == "(master)"
    }
}

/// News from the follower, in the order in which it happened. Each connection begins with `Up` and ends
/// with `Down`; `Up` is followed by any number of `Listed`, one `Complete`, then `Changed`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// Connected and logged in; `UPDATE` has been sent.
    Up(LinkEpoch, MasterIdentity),
    /// A part of the master's list, in the master's order.
    Listed(LinkEpoch, Vec<(MailboxName, Entry)>),
    /// The master said that the list is whole (`OK "streaming starts"`).
    Complete(LinkEpoch),
    /// Changes seen on the live stream, oldest first; `None` is a `DELETE`.
    Changed(LinkEpoch, Vec<(MailboxName, Option<Entry>)>),
    /// The connection is gone, was refused, said something other than it should, or missed its deadline.
    /// Also sent when an attempt to connect fails, so that the reason can be shown.
    Down(LinkEpoch, String),
}

/// How an exchange with the master ended, when it ended with a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MasterReply {
    /// `OK`
    Done,
    /// `NO` or `BAD`, with its text.
    Refused(String),
}

/// How an exchange with the master ended without a reply.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Lost {
    /// It was never sent: no connection could be had. The master cannot have done it.
    #[error("the master was not asked: {0}")]
    Unsent(String),
    /// It may have been sent, and may yet be done, even much later.
    #[error("the master did not answer: {0}")]
    InDoubt(String),
}

/// A future that can be kept in a collection.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// The link to the master.
///
/// Whoever implements it must see to rule 5: a `Delete` leaves as `RESERVE x "ravenry!none"` and
/// `DELETE x` in one segment, and a `Deactivate` as a RESERVE at the same location, which has the same
/// effect on a master that holds the name and cannot crash one that does not.
pub trait Master: Send + Sync + 'static {
    /// Sends one change on an authenticated connection of its own (never the stream's), and waits for its
    /// reply no longer than `deadline`, which covers connecting too.
    fn send(&self, write: Write, deadline: Duration) -> BoxFuture<Result<MasterReply, Lost>>;

    /// Sends `NOOP` on the stream. When it returns `Ok`, every [`LinkEvent`] caused by what the master had
    /// done before the call was already handed over. Concurrent calls share a NOOP where they can.
    fn barrier(&self, deadline: Duration) -> BoxFuture<Result<(), Lost>>;

    /// Ends the present connections to the master, if any, and connects anew: the fresh list follows as
    /// [`LinkEvent`]s.
    fn reconnect(&self);
}
