//! What may be asked about conflicts.

use serde::{Deserialize, Serialize};

use crate::list::{Held, Text};

/// A request about conflicts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ConflictsAsk {
    /// All of them: an item for each, a [`Disagreement`].
    List,
    /// One of them.
    Show {
        /// The mailbox.
        name: Text,
    },
}

/// One name about which we and the master disagree. `None`: the name does not exist there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disagreement {
    /// The mailbox.
    pub name: Text,
    /// What both held when they last agreed.
    pub base: Option<Held>,
    /// What the master holds.
    pub theirs: Option<Held>,
    /// What we hold, and the frontends with us.
    pub ours: Option<Held>,
    /// Since when: seconds since 1970.
    pub since: u64,
}
