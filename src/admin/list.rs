//! What may be asked about the list itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::list::Text;

/// A request about the list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ListAsk {
    /// One name; the answer is a [`Record`](crate::list::Record).
    Find {
        /// The mailbox.
        name: Text,
    },
    /// All of it: an item for each piece of the file.
    Export {
        /// In which form.
        form: Form,
    },
    /// Take in a dump, which follows; the answer is a [`TakenIn`].
    Import {
        /// How many bytes follow.
        bytes: u64,
        /// What the file is called.
        file: String,
        /// The server that mailboxes without one belong to.
        #[serde(default)]
        server: Option<String>,
        /// Only say what would happen.
        dry: bool,
    },
    /// Take in the list of a frontend, over MUPDATE; the answer is a [`TakenIn`].
    Learn {
        /// `host:port`
        from: String,
        /// Only say what would happen.
        dry: bool,
    },
}

/// A form of a list in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A line of JSON for each name; loses nothing.
    #[default]
    Jsonl,
    /// As `ctl_mboxlist -d` prints it from 3.6.
    CyrusJson,
}

/// What taking in another list does.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TakenIn {
    /// Where it came from.
    pub from: String,
    /// Names in it.
    pub read: u64,
    /// It takes the place of ours, which is not served; otherwise only what it has more is added.
    pub replaces: bool,
    /// Names in ours beforehand.
    pub entries: u64,
    /// Names that ours does not have.
    pub added: u64,
    /// Names of ours that are lost, hidden or elsewhere afterwards.
    pub forgotten: u64,
    /// Names that are not taken, because ours differ or were removed; an item each, a
    /// [`StepLine`](super::StepLine).
    pub kept: u64,
}

impl fmt::Display for TakenIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, read, entries, added, forgotten, kept, .. } = self;
        if self.replaces {
            write!(
                f,
                "the {read} names of {from} in place of the {entries} on disk: {added} are new, {forgotten} are \
                 forgotten or elsewhere"
            )
        } else {
            write!(
                f,
                "of the {read} names of {from}, {added} are added to our {entries}; {kept} differ, and ours are kept"
            )
        }
    }
}
