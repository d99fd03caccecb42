//! What would happen: the master's list, read afresh, merged with ours, and nothing done about it.

use std::collections::hash_map::Entry as MapEntry;
use std::time::Duration;

use super::differ::Differ;
use super::evidence::Evidence;
use super::facts::{Comparison, Facts, Unreadable};
use super::guard::{Guard, suspicion};
use super::recorded::{Recorded, unsettled};
use crate::list::{Entry, MailboxName, Step, is_delete_mark};
use crate::store::{Store, StoreError};

/// What is planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Intent {
    /// The master comes back and is believed.
    #[default]
    Replay,
    /// Everything of ours goes to the master.
    Reseed,
    /// Everything of the master's comes here.
    Accept,
    /// What another list has more than ours comes here; nothing else changes.
    Import,
}

/// Whose list changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Side {
    /// The master's.
    Master,
    /// Ours, and with it the frontends'.
    Here,
    /// Nobody's, until a person has decided.
    Neither,
}

/// What happens to a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Act {
    /// It appears.
    Add,
    /// A reservation becomes a usable mailbox.
    Activate,
    /// A usable mailbox becomes a reservation.
    Deactivate,
    /// Only its ACL changes.
    Acl,
    /// It is on another server, or another partition.
    Move,
    /// It disappears.
    Remove,
    /// Both sides changed it, differently.
    Conflict,
}

impl Act {
    /// What it takes from one state to another.
    fn between(before: Option<&Entry>, after: Option<&Entry>) -> Self {
        match (before, after) {
            (None, _) => Self::Add,
            (Some(_), None) => Self::Remove,
            (Some(b), Some(a)) if !b.location.same_server(&a.location) => Self::Move,
            (Some(b), Some(a)) if !b.is_active() && a.is_active() => Self::Activate,
            (Some(b), Some(a)) if b.is_active() && !a.is_active() => Self::Deactivate,
            (Some(b), Some(a)) if b.location != a.location => Self::Move,
            (Some(_), Some(_)) => Self::Acl,
        }
    }
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlanStep {
    /// The mailbox.
    pub name: MailboxName,
    /// Where.
    pub side: Side,
    /// What.
    pub act: Act,
    /// What is there now.
    pub before: Option<Entry>,
    /// What would be there. Of a conflict: what the master holds.
    pub after: Option<Entry>,
    /// It is not done until somebody confirms it.
    pub waits: bool,
    /// Why.
    pub why: &'static str,
}

/// All steps, in the list's order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// In the list's order.
    pub steps: Vec<PlanStep>,
    /// Names in our list.
    pub entries: u64,
    /// Names in the master's.
    pub listed: u64,
    /// Why the guard would not let the master's list be believed.
    pub suspicion: Option<String>,
}

impl Plan {
    /// How many steps are of a kind.
    pub fn count(&self, is: impl Fn(&PlanStep) -> bool) -> u64 {
        self.steps.iter().filter(|step| is(step)).count() as u64
    }

    /// Names that the master would lose.
    pub fn removals_at_master(&self) -> u64 {
        self.count(|step| {
            step.side == Side::Master && step.act == Act::Remove && !step.waits && !half_deleted(step)
        })
    }

    /// Names that we would lose, or have elsewhere.
    pub fn forgotten_here(&self) -> u64 {
        let taken = |step: &PlanStep| matches!(step.act, Act::Remove | Act::Move | Act::Deactivate);
        self.count(|step| step.side == Side::Here && !step.waits && taken(step))
    }
}

/// What is left of a delete of ours is no name that anybody loses.
fn half_deleted(step: &PlanStep) -> bool {
    step.before.as_ref().is_some_and(is_delete_mark)
}

/// Makes a plan from a list that arrives in parts. Its methods read the disk.
#[derive(Debug)]
pub struct Planner {
    differ: Differ,
    store: Store,
}

impl Planner {
    /// Begins. What is committed until [`Self::finish`] is taken into account.
    pub fn begin(store: &Store) -> Result<Self, StoreError> {
        Ok(Self { differ: Differ::new(store.snapshot()?), store: store.clone() })
    }

    /// Takes the next part of the master's list.
    pub fn push(&mut self, part: Vec<(MailboxName, Entry)>) -> Result<(), StoreError> {
        self.differ.push(part)
    }

    /// The other list is complete: how many names it has more, and how many of ours it lacks, hides or moves.
    pub fn counts(self) -> Result<(u64, u64), StoreError> {
        let (Comparison { difference, .. }, _) = self.differ.finish(Duration::ZERO)?;
        Ok((difference.only_theirs, difference.taken))
    }

    /// The master's list is complete.
    pub fn finish(self, intent: Intent, guard: Guard) -> Result<Plan, Unreadable> {
        let Self { differ, store } = self;
        let (mut comparison, listed) = differ.finish(Duration::ZERO)?;
        let order = listed.order();
        let facts = Recorded { store, listed: Some(listed) };
        // What was written while the list was read counts.
        let unsettled = unsettled(&facts.store.snapshot()?)?;
        comparison.recount(&unsettled, &facts)?;
        let suspicion = suspicion(guard, &comparison, facts.entries());
        let difference = comparison.difference;
        if difference.overflowed {
            return Err(Unreadable(suspicion.unwrap_or_default()));
        }
        let (entries, listed) = (facts.entries(), difference.listed);
        let mut theirs = difference.theirs;
        for name in unsettled {
            if let MapEntry::Vacant(unmentioned) = theirs.entry(name) {
                // Where the lists agree, the master holds what we held.
                let held = facts.listed(unmentioned.key())?;
                unmentioned.insert(held);
            }
        }
        let mut steps = Vec::new();
        for (name, held) in theirs {
            steps.extend(step(name, held, intent, &facts)?);
        }
        steps.sort_by(|a, b| order.compare(&a.name, &b.name));
        Ok(Plan { steps, entries, listed, suspicion })
    }
}

pub(super) fn step(
    name: MailboxName,
    theirs: Option<Entry>,
    intent: Intent,
    facts: &dyn Facts,
) -> Result<Option<PlanStep>, Unreadable> {
    let evidence = Evidence::gather(facts, &name, theirs)?;
    let (ours, theirs) = (evidence.ours.clone(), evidence.theirs.clone());
    let (at_master, here) =
        (Act::between(theirs.as_ref(), ours.as_ref()), Act::between(ours.as_ref(), theirs.as_ref()));
    let advice = evidence.advice(intent == Intent::Reseed);
    let (side, act, waits) = match (intent, advice) {
        (_, Step::Agreed) => return Ok(None),
        (Intent::Accept, _) => (Side::Here, here, false),
        // What their list lacks is no reason for anything.
        (Intent::Import, _) if theirs.is_none() => return Ok(None),
        (Intent::Import, Step::Adopt) if ours.is_none() => (Side::Here, Act::Add, false),
        (Intent::Import, _) => (Side::Neither, Act::Conflict, true),
        (_, Step::Send) => (Side::Master, at_master, false),
        (_, Step::Postpone) => (Side::Master, at_master, true),
        (_, Step::Adopt) => (Side::Here, here, false),
        (_, Step::Wait) => (Side::Here, here, true),
        (_, Step::Conflict) => (Side::Neither, Act::Conflict, true),
    };
    let why = match intent {
        Intent::Accept => "a person says that the master's list is right",
        Intent::Import if act == Act::Add => "only the other list has it",
        Intent::Import if ours.is_none() => "it was removed here",
        Intent::Import => "ours is another, and is kept",
        Intent::Reseed | Intent::Replay => evidence.why(intent == Intent::Reseed),
    };
    let (before, after) = if side == Side::Master { (theirs, ours) } else { (ours, theirs) };
    Ok(Some(PlanStep { name, side, act, before, after, waits, why }))
}
