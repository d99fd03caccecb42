//! The seam to whoever can bring a message to a server. The spool decides what is tried when; the face knows
//! how to speak.

use std::fmt;
use std::sync::Arc;

use super::{Envelope, QueueId, StoredBody};
use crate::authority::master::BoxFuture;

/// Where recipients are brought together.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Destination {
    /// The backend that holds their mailboxes, by the name that the list gives it. (The way leads through a
    /// frontend all the same.)
    Backend(Arc<str>),
    /// Mailboxes that the list does not know, or not yet: any frontend is asked.
    Unlisted,
    /// The submission host, for reports.
    Submission,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Backend(server) => server,
            Self::Unlisted => "(unlisted)",
            Self::Submission => "(submission)",
        })
    }
}

/// One attempt: one message, some of its recipients, one destination.
#[derive(Debug)]
pub struct Attempt {
    /// The message.
    pub id: QueueId,
    /// Its whole envelope.
    pub envelope: Arc<Envelope>,
    /// Who is to be tried, as indexes into the envelope's recipients, ascending.
    pub recipients: Vec<usize>,
    /// Where they are.
    pub destination: Destination,
    /// The message's text.
    pub body: StoredBody,
}

/// What a server said, or what is said in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Such as 250.
    pub code: u16,
    /// Such as 5.1.1 (RFC 3463).
    pub enhanced: Option<[u16; 3]>,
    /// Its lines without the codes, joined by a space.
    pub text: String,
}

impl Reply {
    /// A reply that no server gave.
    pub fn own(code: u16, enhanced: [u16; 3], text: impl Into<String>) -> Self {
        Self { code, enhanced: Some(enhanced), text: text.into() }
    }

    /// Whether the reply speaks of the way to the destination rather than of this message: the network
    /// (x.4.y, RFC 3463 §3.5), a server that takes nothing now (x.3.2), a service that closes (421, RFC 5321 §3.8).
    pub fn is_about_the_destination(&self) -> bool {
        self.code == 421 || matches!(self.enhanced, Some([_, 4, _] | [_, 3, 2]))
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some([class, subject, detail]) = self.enhanced {
            write!(f, " {class}.{subject}.{detail}")?;
        }
        write!(f, " {}", self.text)
    }
}

/// What became of one recipient in an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is in the mailbox.
    Delivered(Reply),
    /// Not now. Nobody reachable, cut off, too slow: say so with a reply of your own, 451 4.4.x
    /// ([`Reply::is_about_the_destination`]).
    Deferred(Reply),
    /// Never.
    Refused(Reply),
}

impl Verdict {
    /// What was said.
    pub fn reply(&self) -> &Reply {
        match self {
            Self::Delivered(reply) | Self::Deferred(reply) | Self::Refused(reply) => reply,
        }
    }
}

/// Whoever can make an attempt.
pub trait Deliver: Send + Sync + 'static {
    /// Makes one attempt and answers one verdict per recipient of the attempt, in its order. Takes bounded
    /// time, and may be dropped; whatever has then been delivered is delivered once more, and recognised
    /// by its Message-ID.
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>>;
}
