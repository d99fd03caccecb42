//! The outage of a mupdate master on screen: the same walk on two real murders, one of them with Ravenry in it.

mod screen;
mod side;
mod walk;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::murder::{Murder, Plan};
use crate::stage::Stage;
use crate::traces;
use screen::Screen;
use walk::Walk;

/// What the documentation advises for a murder with Ravenry; the one without keeps Cyrus's default of 20.
const RETRY_DELAY: u32 = 4;
/// What a shell reports of a command that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the demonstration. An error if something that it promises was not seen. However it ends, also by Ctrl-C,
/// nothing that it started goes on running; only a walk that failed leaves logs.
pub async fn run() -> Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut showing = Box::pin(show());
    tokio::select! {
        shown = &mut showing => return shown.map(|()| ExitCode::SUCCESS),
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("\ninterrupted: removing the murders …");
    traces::leave_none();
    drop(showing);
    eprintln!("nothing is left of them");
    Ok(ExitCode::from(INTERRUPTED))
}

async fn show() -> Result<()> {
    let plan = Plan::chosen()?;
    let mut screen = Screen::new();
    walk::introduce(&screen, plan.suite);
    let (without, with) = screen
        .during("starting two murders of five hosts each, one of them with Ravenry", start(plan))
        .await?;
    let mut walk = Walk::begin(&mut screen, &without, &with).await?;
    walk.steady().await?;
    walk.outage().await?;
    walk.back().await?;
    let surprises = walk.conclude();
    let clearing = async { tokio::try_join!(without.stop(), with.stop()).map(drop) };
    screen.during("removing both murders", clearing).await?;
    ensure!(surprises.is_empty(), "this was not seen as promised:\n  {}", surprises.join("\n  "));
    Ok(())
}

async fn start(plan: Plan) -> Result<(Murder, Stage)> {
    let without = Murder::prepare(plan.clone()).await?;
    let with = without.prepare_beside(plan.retrying_after(RETRY_DELAY)).await?;
    let starting_without = async {
        without.start_master().await?;
        without.start_nodes(without.mm.mupdate_address()).await
    };
    let ((), with) = tokio::try_join!(starting_without, Stage::start_in(with, ""))?;
    Ok((without, with))
}
