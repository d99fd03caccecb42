//! Who changed a name.

use serde::{Deserialize, Serialize};

use crate::list::Held;

/// One change of a name, as far back as `store.history` says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PastChange {
    /// When: seconds since 1970.
    pub at: u64,
    /// In which state Ravenry was.
    pub state: String,
    /// Who was behind it.
    pub cause: Cause,
    /// Who had logged in, where somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// What the list held; `None`: nothing.
    pub before: Option<Held>,
    /// What it held since; `None`: nothing.
    pub after: Option<Held>,
}

/// Who was behind a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Somebody who logged in here: mostly a backend.
    Asked,
    /// His operation came to nothing and was taken back.
    TakenBack,
    /// The master, and not because we had asked: somebody is past us.
    Master,
    /// A person, with `ravenry conflicts resolve`.
    Person,
    /// The guard, which put back what a burst of deletions at the master had taken.
    Guard,
    /// An XFER that never came to its end was given up.
    Unfinished,
}

impl Cause {
    /// In words, for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Asked => "asked for",
            Self::TakenBack => "taken back after a failed operation",
            Self::Master => "changed at the master, past Ravenry",
            Self::Person => "decided by a person",
            Self::Guard => "put back by the guard",
            Self::Unfinished => "revived after an XFER that did not end",
        }
    }
}
