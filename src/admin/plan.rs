//! A plan, as the socket tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::list::{Held, Text, place};

/// What is planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum For {
    /// What happens when the master's list is believed.
    #[default]
    Replay,
    /// What `ravenry reseed` would do.
    Reseed,
    /// What `ravenry accept` would do.
    Accept,
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepLine {
    /// `master`, `here`, or `neither`.
    pub at: String,
    /// `add`, `activate`, `deactivate`, `acl`, `move`, `remove` or `conflict`.
    pub step: String,
    /// The mailbox.
    pub name: Text,
    /// What is there now.
    pub before: Option<Held>,
    /// What would be there; of a conflict, what the master holds.
    pub after: Option<Held>,
    /// Nothing is done until somebody confirms it.
    pub waits: bool,
    /// Why.
    pub why: String,
}

impl fmt::Display for StepLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.at.as_str() {
            "master" => "at the master",
            "here" => "here",
            other => other,
        };
        let (before, after) = (place(self.before.as_ref()), place(self.after.as_ref()));
        let change = match self.step.as_str() {
            "add" => after,
            "remove" => before,
            "acl" => "its ACL".into(),
            "conflict" => format!("here {before}, at the master {after}"),
            _ => format!("{before} -> {after}"),
        };
        let waits = if self.waits && self.step != "conflict" { "waits: " } else { "" };
        write!(f, "{side:<14} {waits}{:<10} {}  {change}  ({})", self.step, self.name, self.why)
    }
}

/// All of it, in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The server name in the master's banner.
    pub master: String,
    /// Names in the master's list.
    pub listed: u64,
    /// Names in ours.
    pub entries: u64,
    /// Steps at the master.
    pub at_master: u64,
    /// Of them, removals.
    pub removals_at_master: u64,
    /// Steps here.
    pub here: u64,
    /// Of them, names that we would lose or have elsewhere.
    pub forgotten_here: u64,
    /// Differences that are kept until somebody confirms them.
    pub waiting: u64,
    /// Names for a person to decide.
    pub conflicts: u64,
    /// Changes that the master has not heard of.
    pub journal: u64,
    /// Why the master's list is not believed, if so.
    pub suspicion: Option<String>,
}

impl PlanSummary {
    /// Whether nothing would happen and nothing waits.
    pub fn is_nothing(&self) -> bool {
        self.at_master + self.here + self.waiting + self.conflicts == 0
    }
}

impl fmt::Display for PlanSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { master, listed, entries, .. } = self;
        if self.is_nothing() {
            return write!(f, "nothing: our {entries} names and the {listed} of {master} are the same");
        }
        write!(
            f,
            "{} steps at the master ({} of them removals), {} here ({} of them take a name away); \
             {} differences wait, {} conflicts\n\
             our list has {entries} names, that of {master} {listed}",
            self.at_master,
            self.removals_at_master,
            self.here,
            self.forgotten_here,
            self.waiting,
            self.conflicts
        )?;
        match &self.suspicion {
            Some(why) => write!(f, "\nthe guard does not believe it: {why}"),
            None => Ok(()),
        }
    }
}
