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
    /// Decide about one of them.
    Resolve {
        /// The mailbox.
        name: Text,
        /// Whose word counts.
        keep: Keep,
    },
}

/// Whose word counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The master's.
    Master,
    /// Ours.
    Ours,
}

/// Why a name waits for a person.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispute {
    /// Both sides changed it, differently.
    Conflict,
    /// The master's list lacks, hides or moves it, or has it again, and nobody confirmed that.
    Unconfirmed,
}

/// One name about which we and the master disagree. `None`: the name does not exist there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disagreement {
    /// The mailbox.
    pub name: Text,
    /// Why it waits.
    pub dispute: Dispute,
    /// What both held when they last agreed, where that is known.
    pub base: Option<Held>,
    /// What the master holds.
    pub theirs: Option<Held>,
    /// What we hold, and the frontends with us.
    pub ours: Option<Held>,
    /// Since when, where that is known: seconds since 1970.
    pub since: Option<u64>,
}
