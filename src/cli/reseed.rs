//! `ravenry reseed`, `ravenry accept`

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::{Ask, Ended, For, PlanSummary};
use crate::config::Config;

/// Makes the master ours.
pub(super) fn reseed(config: &Config, removals: Option<u64>, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let plan = preview(&talk, For::Reseed)?;
    eprintln!(
        "{} takes {} changes to become our list of {} names; it loses {} of the {} it has now",
        plan.master, plan.at_master, plan.entries, plan.removals_at_master, plan.listed
    );
    let removals = if plan.removals_at_master > 0 && removals.is_none() && !talk.yes() {
        talk.confirm_number("How many names does it lose?", plan.removals_at_master)?;
        Some(plan.removals_at_master)
    } else {
        talk.confirm("Give it our list?")?;
        removals
    };
    end(&talk, &Ask::Reseed { removals }, "the master's list is ours")
}

/// Takes the master's list.
pub(super) fn accept(config: &Config, forget: Option<u64>, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let plan = preview(&talk, For::Accept)?;
    eprintln!(
        "our list becomes that of {} with {} names; of our {} names {} are forgotten or moved, \
         with changes to {} names that the master has not heard of; `ravenry plan --for accept` names them",
        plan.master, plan.listed, plan.entries, plan.forgotten_here, plan.journal
    );
    let forget = if plan.forgotten_here > 0 && forget.is_none() {
        talk.confirm_number("How many of our names are forgotten or moved?", plan.forgotten_here)?;
        Some(plan.forgotten_here)
    } else {
        talk.confirm("Take its list?")?;
        forget
    };
    end(&talk, &Ask::Accept { forget }, "our list is the master's")
}

fn preview(talk: &Talk<'_>, wanted: For) -> Result<PlanSummary, Failure> {
    talk.ask(&Ask::Plan { wanted, brief: true })
}

fn end(talk: &Talk<'_>, ask: &Ask, what: &str) -> Result<(), Failure> {
    let ended: Ended = talk.ask(ask)?;
    talk.tell(&ended, || {
        let Ended { master, entries, verified, differing, seconds } = &ended;
        match differing {
            0 => format!("{what}: {entries} names, read again from {master} and compared ({seconds:.1} s)"),
            _ => format!(
                "{differing} names differ between our {entries} and the {verified} of {master}: see `ravenry plan`"
            ),
        }
    });
    if ended.differing == 0 { Ok(()) } else { Err(Failure::quiet(exit::DIFFERENT)) }
}
