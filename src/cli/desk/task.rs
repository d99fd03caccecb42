//! Changes of the whole list that a person orders: reseed and accept.

use std::time::{Duration, Instant};

use super::Desk;
use super::plan::{self, Planned};
use crate::admin::server::Replies;
use crate::admin::{Ended, For};
use crate::authority::machine::{Progress, Task};
use crate::authority::task::Order;

/// How long the master may take to begin with its list, and to come back when it was lost.
const BEGIN: Duration = Duration::from_secs(60);

/// How often both lists are compared in the end while few names differ, how many are few, and how long between.
const LOOKS: usize = 3;
const FEW: usize = 1000;
const PAUSE: Duration = Duration::from_millis(500);

/// Makes the master's list ours. `removals` is the number of names that the person has confirmed.
pub(super) async fn reseed(desk: &Desk, removals: Option<u64>, replies: &Replies) -> Result<Ended, String> {
    let _turn = desk.turns.take("a reseed")?;
    let planned = plan::make(desk, For::Reseed, replies).await?;
    let (lost, entries) = (planned.summary.removals_at_master, planned.plan.entries.max(planned.plan.listed));
    if desk.guard.get().trips(lost, entries) && removals != Some(lost) {
        return Err(match removals {
            Some(said) => {
                format!("the master would lose {lost} names, not {said}: see `ravenry plan --for reseed`")
            }
            None => format!("the master would lose {lost} names: confirm that with `--remove {lost}`"),
        });
    }
    carry_out(desk, Task::Reseed { removals: lost }, For::Reseed, replies).await
}

/// Takes the master's list. `forget` is the number of names that the person has confirmed.
pub(super) async fn accept(desk: &Desk, forget: Option<u64>, replies: &Replies) -> Result<Ended, String> {
    let _turn = desk.turns.take("taking the master's list")?;
    let mut forgotten = 0;
    if desk.authority.store().stats().complete {
        let planned = plan::make(desk, For::Accept, replies).await?;
        forgotten = planned.summary.forgotten_here;
        if forgotten > 0 && forget != Some(forgotten) {
            return Err(match forget {
                Some(said) => format!("we would forget {forgotten} names, not {said}"),
                None => {
                    format!("we would forget {forgotten} names: confirm that with `--forget {forgotten}`")
                }
            });
        }
    }
    carry_out(desk, Task::Accept { forgotten }, For::Accept, replies).await
}

async fn carry_out(desk: &Desk, task: Task, wanted: For, replies: &Replies) -> Result<Ended, String> {
    let began = Instant::now();
    desk.authority.order(Order::Begin(task)).await?;
    watch(desk, replies).await?;
    let planned = compare(desk, wanted, replies).await?;
    Ok(Ended {
        master: planned.summary.master,
        entries: planned.plan.entries,
        verified: planned.plan.listed,
        differing: planned.plan.steps.len() as u64,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// What still differs. What users write at this moment is in one list and not yet in the other: only a name that
/// differs every time counts.
async fn compare(desk: &Desk, wanted: For, replies: &Replies) -> Result<Planned, String> {
    let mut planned = plan::make(desk, wanted, replies).await?;
    for _ in 1..LOOKS {
        if planned.plan.steps.is_empty() || planned.plan.steps.len() > FEW {
            break;
        }
        tokio::time::sleep(PAUSE).await;
        let mut again = plan::make(desk, wanted, replies).await?;
        again.plan.steps.retain(|step| planned.plan.steps.iter().any(|before| before.name == step.name));
        planned = again;
    }
    Ok(planned)
}

/// Follows a task to its end. It goes on when nobody watches.
async fn watch(desk: &Desk, replies: &Replies) -> Result<(), String> {
    let mut standing = desk.authority.standing();
    let began = Instant::now();
    let (mut done, mut most, mut lost) = (0, 0, None);
    loop {
        let now = standing.borrow_and_update().clone();
        if !matches!(now.progress, Some(Progress::Interrupted(..))) {
            lost = None;
        }
        match now.progress {
            Some(Progress::Done(_)) | None => return Ok(()),
            Some(Progress::Failed(_, why)) => return Err(why),
            Some(Progress::Interrupted(_, why))
                if lost.get_or_insert_with(Instant::now).elapsed() > BEGIN =>
            {
                return Err(format!("the master was lost; the reseed goes on when it is back: {why}"));
            }
            Some(Progress::Interrupted(..)) => {
                replies.progress(
                    "names given to the master, which was lost and is awaited",
                    done,
                    Some(most),
                );
            }
            Some(Progress::Running(_)) => {
                most = most.max(now.replaying as u64);
                done = most.saturating_sub(now.replaying as u64);
                replies.progress("names given to the master", done, Some(most));
            }
            Some(Progress::Waiting(_)) if began.elapsed() > BEGIN => {
                let why = now.last_error.unwrap_or_else(|| "the master does not send its list".into());
                desk.authority.order(Order::GiveUp(why)).await?;
            }
            Some(Progress::Waiting(_)) => {
                if let Some(read) = now.reading {
                    replies.progress("names read from the master", read, None);
                }
            }
        }
        let changed = tokio::time::timeout(Duration::from_secs(1), standing.changed()).await;
        if let Ok(Err(_)) = changed {
            return Err("Ravenry stops; what was done so far stays done, and can be run again".into());
        }
    }
}
