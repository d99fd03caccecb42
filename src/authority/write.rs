//! A change to the list as a backend asks for it, and the answers it may get.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::list::{Acl, Entry, Location, MailboxName};

/// One of the four changes of MUPDATE (RFC 3656 §4, and Cyrus's DEACTIVATE), or one of Ravenry's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// Take a name that nobody holds.
    Reserve {
        /// The name.
        name: MailboxName,
        /// Who takes it.
        location: Location,
    },
    /// Make a mailbox usable, change its ACL, or say where it lives now.
    Activate {
        /// The name.
        name: MailboxName,
        /// Where it lives.
        location: Location,
        /// Who may use it.
        acl: Acl,
    },
    /// Turn an active mailbox back into a reservation (the first half of XFER).
    Deactivate {
        /// The name.
        name: MailboxName,
        /// Where it lived.
        location: Location,
    },
    /// Forget a name.
    Delete {
        /// The name.
        name: MailboxName,
    },
    /// Forget a name that was found to be nobody's, unless it was written since (rule 12).
    Forget {
        /// The name.
        name: MailboxName,
        /// The version of its entry from before it was looked into, see [`crate::store::Snapshot::versioned`].
        version: u64,
    },
    /// Make a reservation a mailbox again that was found to be one, unless it was written since (rule 12).
    Revive {
        /// The name.
        name: MailboxName,
        /// As in [`Self::Forget`].
        version: u64,
        /// Who holds it.
        location: Location,
        /// Who may use it, as its backend says.
        acl: Acl,
    },
}

impl Write {
    /// The mailbox it is about.
    pub fn name(&self) -> &MailboxName {
        match self {
            Self::Reserve { name, .. }
            | Self::Activate { name, .. }
            | Self::Deactivate { name, .. }
            | Self::Delete { name }
            | Self::Forget { name, .. }
            | Self::Revive { name, .. } => name,
        }
    }

    /// What the list holds for the name once this has been done; `None` when the name is forgotten.
    pub fn effect(&self) -> Option<Entry> {
        match self {
            Self::Reserve { location, .. } | Self::Deactivate { location, .. } => {
                Some(Entry::reserved(location.clone()))
            }
            Self::Activate { location, acl, .. } | Self::Revive { location, acl, .. } => {
                Some(Entry::active(location.clone(), acl.clone()))
            }
            Self::Delete { .. } | Self::Forget { .. } => None,
        }
    }

    /// The command's word, for logs and metrics.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve",
            Self::Activate { .. } => "activate",
            Self::Deactivate { .. } => "deactivate",
            Self::Delete { .. } => "delete",
            Self::Forget { .. } => "forget",
            Self::Revive { .. } => "revive",
        }
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The identity that logged in.
    pub identity: Arc<str>,
    /// Where the connection came from.
    pub peer: SocketAddr,
    /// Set on a connection that carries one operation of a backend, to be taken back if it comes to nothing.
    pub session: Option<SessionId>,
}

impl Origin {
    /// Of a write that nobody's connection asked for: Ravenry itself does, or a person at its desk.
    pub(crate) fn own(identity: &str) -> Self {
        Self { identity: identity.into(), peer: (Ipv4Addr::LOCALHOST, 0).into(), session: None }
    }
}

/// Numbers the connections that carry an operation of a backend each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct SessionId(pub u64);

/// The answer to a [`Write`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is durable and on its way to every frontend: `OK "done"`.
    Done,
    /// It cannot be: `NO` with the reason.
    Refused(Refusal),
    /// Neither can be said in time, or the store failed: `NO`, and nothing was changed that we know of.
    Unavailable,
}

impl Outcome {
    /// The word used in metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused(_) => "refused",
            Self::Unavailable => "unavailable",
        }
    }
}

/// Why a write is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// RESERVE of a name held elsewhere.
    AlreadyExists,
    /// DEACTIVATE of an unknown name.
    DoesNotExist,
    /// DEACTIVATE of a reservation.
    NotActive,
    /// The name was written since it was looked into.
    Changed,
    /// So many names of the server were forgotten today that a person should look.
    TooMany,
    /// A person wants to decide about a name that nobody disputes.
    Undisputed,
    /// The master's own words.
    Master(String),
}

impl Refusal {
    /// The text of Cyrus's reply.
    pub fn text(&self) -> &str {
        match self {
            Self::AlreadyExists => "mailbox already exists",
            Self::DoesNotExist => "mailbox doesn't exist",
            Self::NotActive => "mailbox not currently active",
            Self::Changed => "the name was written meanwhile",
            Self::TooMany => "so many of its backend were forgotten today that a person should look",
            Self::Undisputed => "the name is neither in conflict nor unconfirmed",
            Self::Master(text) => text,
        }
    }
}
