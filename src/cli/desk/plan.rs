//! What would happen, from the master's list read afresh.

use crate::admin::server::Replies;
use crate::admin::{For, PlanSummary, StepLine};
use crate::authority::namespace::Namespace;
use crate::authority::plan::{Act, Intent, Plan, PlanStep, Planner, Side};
use crate::list::{Entry, Held};
use crate::mupdate::client::{LinkConfig, Listing};

use super::Desk;

/// A plan, and with whom.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) summary: PlanSummary,
}

/// Tells the plan; with steps or only in numbers.
pub(super) async fn attend(
    desk: &Desk,
    wanted: For,
    brief: bool,
    replies: Replies,
) -> Result<PlanSummary, String> {
    let Planned { plan, summary } = make(desk, wanted, &replies).await?;
    if !brief {
        for step in &plan.steps {
            replies.item(&line(step)).await?;
        }
    }
    Ok(summary)
}

/// Reads the master's list over a connection of its own and merges it with ours. Nothing is changed.
pub(super) async fn make(desk: &Desk, wanted: For, replies: &Replies) -> Result<Planned, String> {
    desk.needs_list(replies).await?;
    let intent = match wanted {
        For::Replay => Intent::Replay,
        For::Reseed => Intent::Reseed,
        For::Accept => Intent::Accept,
    };
    let store = desk.authority.store().clone();
    let mut planner = Planner::begin(&store).map_err(|error| error.to_string())?;
    let mut listing = open(&desk.link.get()).await?;
    let master = listing.identity().clone();
    if !master.is_master() {
        return Err(format!("{} is not a master, but a slave: {}", master.servername, master.role));
    }
    let mut read = 0;
    while let Some(part) = listing.next().await.map_err(|error| format!("the master's list: {error}"))? {
        read += part.len() as u64;
        replies.progress("names read from the master", read, None);
        planner = tokio::task::spawn_blocking(move || planner.push(part).map(|()| planner))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
    }
    // What was under way while the list was read is in ours now, if it came to anything.
    desk.authority.barrier().await;
    let guard = *desk.guard.get();
    let plan = tokio::task::spawn_blocking(move || planner.finish(intent, guard))
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let summary = summary(&plan, master.servername, store.stats().journalled_names);
    Ok(Planned { plan, summary })
}

/// Opens a list, with an error that names the server.
pub(super) async fn open(link: &LinkConfig) -> Result<Listing, String> {
    Listing::open(link).await.map_err(|error| format!("{}: {error}", link.address))
}

fn summary(plan: &Plan, master: String, journal: u64) -> PlanSummary {
    let at = |side: Side| plan.count(|step| step.side == side && !step.waits);
    PlanSummary {
        master,
        listed: plan.listed,
        entries: plan.entries,
        at_master: at(Side::Master),
        removals_at_master: plan.removals_at_master(),
        here: at(Side::Here),
        forgotten_here: plan.forgotten_here(),
        waiting: plan.count(|step| step.waits && step.act != Act::Conflict),
        conflicts: plan.count(|step| step.act == Act::Conflict),
        journal,
        suspicion: plan.suspicion.clone(),
    }
}

pub(super) fn line(step: &PlanStep) -> StepLine {
    let held = |entry: &Option<Entry>| entry.as_ref().map(Held::from);
    let at = match step.side {
        Side::Master => "master",
        Side::Here => "here",
        Side::Neither => "neither",
    };
    let act = match step.act {
        Act::Add => "add",
        Act::Activate => "activate",
        Act::Deactivate => "deactivate",
        Act::Acl => "acl",
        Act::Move => "move",
        Act::Remove => "remove",
        Act::Conflict => "conflict",
    };
    StepLine {
        at: at.into(),
        step: act.into(),
        name: (&step.name).into(),
        before: held(&step.before),
        after: held(&step.after),
        waits: step.waits,
        why: step.why.into(),
    }
}
