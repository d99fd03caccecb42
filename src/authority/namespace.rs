//! What the faces ask of the authority.

use std::time::Duration;

use super::facts::Unreadable;
use super::feed::Subscription;
use super::master::BoxFuture;
use super::write::{Origin, Outcome, SessionId, Write};
use crate::list::{Entry, MailboxName};
use crate::store::Snapshot;

/// How long [`Namespace::barrier`] may take; shorter than the ten seconds that a backend waits.
pub const BARRIER_BOUND: Duration = Duration::from_secs(3);

/// The list and whoever answers for it, as the faces see it.
pub trait Namespace: Send + Sync + 'static {
    /// Makes a change. The outcome comes in bounded time; `Done` only when it is durable and written to every
    /// stream that keeps up.
    fn write(&self, origin: Origin, write: Write) -> BoxFuture<Outcome>;

    /// Says that the connection with the operation has ended; `complete`: after all was done, and with its
    /// farewell. What is not complete is taken back, before anything that is asked for after this returned.
    fn ended(&self, session: SessionId, complete: bool) -> BoxFuture<()>;

    /// Returns, within [`BARRIER_BOUND`], once the list reflects what the master knew when this was called;
    /// at once while standing in. A master that does not answer is given up.
    fn barrier(&self) -> BoxFuture<()>;

    /// Whether there is a list that may be served. If not, connections are closed bare (rule 2).
    fn may_serve(&self) -> bool;

    /// The list as it is now, for a dump.
    fn snapshot(&self) -> Result<Snapshot, Unreadable>;

    /// What the list holds for one name.
    fn find(&self, name: &MailboxName) -> Result<Option<Entry>, Unreadable>;

    /// What the list holds for one name, and the version of that.
    fn versioned(&self, name: &MailboxName) -> Result<Option<(Entry, u64)>, Unreadable>;

    /// Whether a "no" of [`find`](Self::find), asked afterwards, can be relied on: the master decides, and a barrier
    /// proved just now that our list is its list. Never while standing in: the master may have known what it could
    /// not tell us any more. Takes [`BARRIER_BOUND`] at most.
    fn is_current(&self) -> BoxFuture<bool>;

    /// Whether a write to the name is in doubt, so that the list may be about to change.
    fn is_in_doubt(&self, name: &MailboxName) -> bool;

    /// Every change published from now on. Subscribe first, take the snapshot after, and skip what has a
    /// sequence number up to the snapshot's.
    fn subscribe(&self) -> Subscription;
}
