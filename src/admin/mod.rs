//! The control socket: what an operator may ask of a running Ravenry.
//!
//! A UNIX socket; its file permission is the authority. One connection carries one request:
//!
//! | direction | line |
//! |---|---|
//! | client | `{"ask":"status"}`: one line of JSON, an [`Ask`] |
//! | client | after an [`Ask`] that says how many `bytes` follow: exactly so many bytes |
//! | server | any number of `{"progress":{"what":…,"done":…,"of":…}}` and `{"item":…}` |
//! | server | an empty line now and then, so that a long silence means death |
//! | server | at last `{"ok":…}` or `{"error":"…"}`, and the connection ends |
//!
//! Neither side ever holds more than a few lines: what is long is a stream of items. Who hangs up ends what he
//! asked for, except orders that were taken already.

mod audit;
pub mod client;
mod conflicts;
mod history;
mod list;
mod plan;
pub mod queue;
pub mod server;
pub mod status;
mod tasks;
pub mod web;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use audit::{Audited, Fault, Finding};
pub use conflicts::{ConflictsAsk, Disagreement, Dispute, Keep};
pub use history::{Cause, PastChange};
pub use list::{Form, ListAsk, TakenIn};
pub use plan::{For, PlanSummary, StepLine};
pub use tasks::Ended;

use crate::list::Text;

/// What may be asked. A group of commands has an enum of its own, told apart by a tag of its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Ask {
    /// Where things stand.
    Status,
    /// Stand in, whatever the master says.
    StandIn,
    /// Let the master decide again.
    Follow,
    /// Names that a person has to decide about.
    Conflicts(ConflictsAsk),
    /// What would change, and why: an item for each step, a [`StepLine`]; the answer is a [`PlanSummary`].
    Plan {
        /// If what.
        #[serde(rename = "for", default)]
        wanted: For,
        /// Without the steps.
        #[serde(default)]
        brief: bool,
    },
    /// Make the master's list ours; the answer is an [`Ended`].
    Reseed {
        /// Names that the master may lose; needed when they are more than the guard lets pass.
        #[serde(default)]
        removals: Option<u64>,
    },
    /// Make our list the master's; the answer is an [`Ended`].
    Accept {
        /// Names that we may forget; needed when there are any.
        #[serde(default)]
        forget: Option<u64>,
    },
    /// The names of a server will be deleted: no reason to distrust the master.
    Expect {
        /// The server's name, as in locations.
        server: Text,
        /// For so long.
        seconds: u64,
    },
    /// Deliveries that were accepted and could not be placed yet.
    Queue(queue::QueueAsk),
    /// Frontends that deliver.
    Frontend(FrontendAsk),
    /// The list itself.
    List(ListAsk),
    /// Who changed a name: an item for each change, a [`PastChange`], the oldest first.
    History {
        /// The mailbox.
        name: Text,
        /// No more than the latest.
        most: usize,
    },
    /// Compare the list with what the backends hold: an item for each [`Finding`]; the answer is an [`Audited`].
    Audit {
        /// Put right what can be put right.
        fix: bool,
    },
    /// Let a backend remove so many names with its next `ctl_mboxlist -m`.
    AllowRemovals {
        /// As in locations: `be1.example.org`.
        server: String,
        /// At most so many.
        count: u64,
    },
    /// Whether there is progress; the answer is a word.
    Health {
        /// And a list that may be served.
        #[serde(default)]
        ready: bool,
    },
    /// Read the configuration again; the answer is a [`Reloaded`].
    Reload,
    /// Copy the state into a new file.
    Backup {
        /// Where; an absolute path, as the running Ravenry sees it.
        path: PathBuf,
    },
}

/// What may be asked of a frontend that delivers. It is as it was again when Ravenry is restarted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "frontend", rename_all = "kebab-case")]
pub enum FrontendAsk {
    /// It gets no more mail; what is under way ends as it would.
    Drain {
        /// As in `lmtp.frontends`.
        address: String,
    },
    /// It gets mail again.
    Resume {
        /// As in `lmtp.frontends`.
        address: String,
    },
}

impl Ask {
    /// How many bytes follow the request's line.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::List(ListAsk::Import { bytes, .. }) => *bytes,
            Self::Queue(ask) => ask.bytes(),
            _ => 0,
        }
    }
}

/// A configuration that was read again, and can be used.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys that were changed, and are in force.
    pub changed: Vec<String>,
    /// Keys that were changed since the start, and need a restart.
    pub restart: Vec<String>,
}

/// A backup that was made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Copied {
    /// The file.
    pub path: PathBuf,
    /// Names in its list.
    pub entries: u64,
    /// The last change in it.
    pub seq: u64,
}

/// How far something is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// In a few words, such as `names given to the master`.
    pub what: String,
    /// So many.
    pub done: u64,
    /// Of so many, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
}

/// One line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    Progress(Progress),
    Notice(String),
    Item(serde_json::Value),
    Ok(serde_json::Value),
    Error(String),
}

/// The longest line taken on either side: a status with a hundred conflicts of the longest names fits.
const MAX_LINE: u64 = 4 << 20;
