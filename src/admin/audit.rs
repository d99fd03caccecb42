//! What an audit finds.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::status::span;
use crate::list::{Held, Text, place};

/// What is wrong with a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Listed, and not there.
    Ghost,
    /// There, and not listed.
    Orphan,
    /// On two backends.
    Duplicate,
    /// Only on another backend than the list says.
    WrongLocation,
    /// Only a reservation, and its backend does not hold it.
    Reservation,
    /// A backend could not be asked; the name is the server's.
    Unreachable,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub fault: Fault,
    /// The mailbox.
    pub name: Text,
    /// What the list holds.
    pub listed: Option<Held>,
    /// Of a reservation: for so many seconds, at the least, it has been one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    /// The server that holds it, where one does.
    pub there: Option<String>,
    /// What was done about it, or why nothing was.
    pub note: Option<String>,
    /// It was put right.
    pub fixed: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.fault {
            Fault::Ghost => "ghost",
            Fault::Orphan => "orphan",
            Fault::Duplicate => "duplicate",
            Fault::WrongLocation => "wrong location",
            Fault::Reservation => "reservation",
            Fault::Unreachable => "unreachable",
        };
        write!(f, "{fault:<15} {}: listed {}", self.name, place(self.listed.as_ref()))?;
        if let Some(age) = self.age {
            write!(f, ", for {} at least", span(age))?;
        }
        if let Some(there) = &self.there {
            write!(f, ", found on {there}")?;
        }
        match &self.note {
            Some(note) => write!(f, "  ({note})"),
            None => Ok(()),
        }
    }
}

/// The end of an audit.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Audited {
    /// Backends that were asked.
    pub backends: u64,
    /// Mailboxes that they hold.
    pub held: u64,
    /// Findings.
    pub found: u64,
    /// Of them, put right.
    pub fixed: u64,
}
