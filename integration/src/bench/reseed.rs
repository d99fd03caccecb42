//! A master that comes back empty: how soon that is noticed, and how fast it is given everything, against what it takes
//! from a client that pipelines the same names.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::client::{Client, activate};
use super::memory::memory;
use super::replay::{PATIENCE, between, between_after};
use super::report::{Aim, Row, Unit, Who};
use super::stage::Stage;
use super::{Scale, say};
use crate::made_up::name;

pub(super) async fn measure(stage: &Stage, scale: &Scale) -> Result<Vec<Row>> {
    let list = stage.mailboxes();
    let mut guard = Row::new(
        format!("an empty master, {list} mailboxes: from its list's beginning to holding"),
        Unit::Seconds,
        &[Aim::AtMost(Who::StandingIn, 1.0)],
    )
    .worst();
    let mut rate = Row::new(
        format!("reseed of {list} mailboxes, and the master's rate with a pipelining client"),
        Unit::PerSecond,
        &[Aim::Times(Who::StandingIn, 0.8)],
    );
    let mut peak = Row::new(
        format!("peak of memory (VmHWM), {list} mailboxes reseeded, verification included"),
        Unit::Mebibytes,
        &[],
    )
    .worst();
    let ravenry = stage.standing_in();
    ravenry.cli(&["follow"]).await?.success()?;
    ravenry.wait_for_state("following", PATIENCE).await?;
    for round in 0..scale.long_rounds {
        stage.fill_master(0).await?;
        for ravenry in stage.ravenries() {
            ravenry.wait_for_state("holding", PATIENCE).await?;
        }
        let noticed = between(&ravenry.log()?, "reading the list of", "\"holding\"");
        let noticed = noticed.context("no decision in Ravenry's log")?.as_secs_f64();
        say(format_args!("reseed, round {}: holding {noticed:.3} s after the list began", round + 1));
        guard.add(Who::StandingIn, noticed);

        ravenry.cli_within(PATIENCE, &["reseed", "--yes"]).await?.success()?;
        ravenry.wait_for_state("following", PATIENCE).await?;
        let took = between_after(&ravenry.log()?, "\"holding\"", "\"replaying\"", "\"following\"");
        let took = took.context("no reseed in Ravenry's log")?;
        say(format_args!("reseed, round {}: {list} in {took:.2?}, {}", round + 1, memory(ravenry)?));
        rate.add(Who::StandingIn, list as f64 / took.as_secs_f64());
        peak.add(Who::StandingIn, memory(ravenry)?.peak);

        stage.fill_master(0).await?;
        for ravenry in stage.ravenries() {
            ravenry.wait_for_state("holding", PATIENCE).await?;
        }
        let mut master = Client::open(stage.master()).await?;
        let began = Instant::now();
        master.pipeline((0..list).map(|nth| activate(&name(nth)))).await?;
        let theirs = list as f64 / began.elapsed().as_secs_f64();
        say(format_args!("reseed, round {}: the master takes {theirs:.0}/s", round + 1));
        rate.add(Who::Cyrus, theirs);
        for ravenry in stage.ravenries() {
            ravenry.cli(&["follow"]).await?.success()?;
            ravenry.wait_for_state("following", PATIENCE).await?;
            let plan = ravenry.cli_within(PATIENCE, &["plan"]).await?;
            ensure!(plan.exit == 0, "it differs from the master: {}", plan.stderr);
        }
    }
    ravenry.cli(&["stand-in"]).await?.success()?;
    ravenry.wait_for_state("standing-in", PATIENCE).await?;
    Ok(vec![guard, rate, peak])
}
