//! Mailboxes that are listed and not there: `ravenry audit --fix`, which asks every backend about each and waits for the
//! frontends' streams, against `ctl_mboxlist -m` at the master itself, which does neither.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::client::{Client, activate};
use super::ground::Ground;
use super::report::{Row, Unit, Who};
use super::{Scale, say};
use crate::agreement::Difference;
use crate::clients::Mupdate;
use crate::made_up::name;
use crate::murder::{Murder, Plan};
use crate::ravenry::Site;
use crate::stage::{BACKENDS, Stage};

/// What a backend takes off at the master itself would be too much to be believed.
const CREDULOUS: &str = "[guard]\nat_least = 1000000\nat_most = 1000000\n\n";
/// For thousands of ghosts.
const PATIENCE: Duration = Duration::from_secs(600);
/// For the frontends to come back to who is their master now, and to have the list.
const SETTLED: Duration = Duration::from_secs(60);

/// The row, and Cyrus's version.
pub(super) async fn measure(ground: &Ground, scale: &Scale) -> Result<(Row, String)> {
    let count = scale.ghosts;
    let mut row = Row::new(
        format!("{count} ghosts taken off: `audit --fix`, and `ctl_mboxlist -m` at the master itself"),
        Unit::PerSecond,
        &[],
    );
    let murder = Murder::prepare(Plan::chosen()?.retrying_after(4)).await?;
    murder.start_master().await?;
    let site =
        Site { within: Some(ground.directory("audit")?), binary: ground.binary.clone(), ..Site::default() };
    // As many a day as there are in all rounds.
    let backends = BACKENDS.replacen("[backends]\n", "[backends]\nghosts_per_day = 1000000\n", 1);
    let stage = Stage::start_around_at(murder, &format!("{CREDULOUS}{backends}"), site).await?;
    // Who holds nothing at all is not believed.
    stage.murder.create_user("alice", &stage.murder.be1).await?;
    for round in 0..scale.long_rounds {
        for who in [Who::Cyrus, Who::Following] {
            haunt(&stage, count).await?;
            let took = match who {
                Who::Cyrus => pushed(&stage).await?,
                Who::Following | Who::StandingIn => audited(&stage, count).await?,
            };
            say(format_args!("ghosts, round {}: {who:?} {count} in {took:.2?}", round + 1));
            row.add(who, count as f64 / took.as_secs_f64());
        }
    }
    let version = Mupdate::connect(stage.murder.mm.mupdate_address()).await?.version();
    stage.stop().await?;
    Ok((row, version))
}

/// Lists what be1 does not have, at everybody.
async fn haunt(stage: &Stage, count: u64) -> Result<()> {
    let mut client = Client::open(stage.ravenry.address()).await?;
    client.pipeline((0..count).map(|nth| activate(&name(nth)))).await?;
    stage.ravenry.wait_for(SETTLED, "both streams", |status| status["streams"] == 2).await?;
    stage.agreement().await?.reached_but_for(SETTLED, Difference::is_ghost).await.map(drop)
}

async fn audited(stage: &Stage, count: u64) -> Result<Duration> {
    let begun = Instant::now();
    let audited = stage.ravenry.cli_within(PATIENCE, &["audit", "--fix", "--yes"]).await?;
    let took = begun.elapsed();
    let done = format!("{count} put right");
    ensure!(audited.stdout.contains(&done), "{}", audited.stdout.lines().last().unwrap_or_default());
    Ok(took)
}

/// Nobody asks Ravenry meanwhile.
async fn pushed(stage: &Stage) -> Result<Duration> {
    stage.point_murder_at(stage.murder.mm.mupdate_address());
    let begun = Instant::now();
    stage.murder.be1.mboxlist_push().await?.success()?;
    let took = begun.elapsed();
    stage.point_murder_at(stage.ravenry.address());
    stage.agreement().await?.reached_within(SETTLED).await?;
    Ok(took)
}
