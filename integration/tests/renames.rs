//! Many renames at once, with the master and without it, through two frontends: every one is answered and no frontend
//! deadlocks with itself. Users who stay at one frontend get through in any case; those who rename at one what they have
//! just created at the other need `[mupdate] frontends`, without which Ravenry cannot know what a frontend has stored.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;
use ravenry_integration::storm::{Storm, deadlock};

const SOON: Duration = Duration::from_secs(30);
const BACK: Duration = Duration::from_secs(60);

/// Ravenry asks the frontends what they have stored.
async fn with_witnesses(stage: &mut Stage) -> Result<()> {
    let places = stage.murder.frontends().map(|node| format!("\"{}\"", node.mupdate_address()));
    let more = format!("allow_plaintext = true\nfrontends = [{}]\n\n[master]", places.join(", "));
    stage.ravenry.edit("allow_plaintext = true\n\n[master]", &more)?;
    ensure!(stage.ravenry.terminate().await?.success());
    stage.ravenry.launch().await?;
    stage.ravenry.wait_for_state("following", SOON).await?;
    stage.ravenry.wait_for(BACK, "both streams", |now| now["streams"] == 2).await?;
    Ok(())
}

async fn blow_up_and_down(stage: Stage, storm: &Storm) -> Result<()> {
    let mut agreement = stage.agreement().await?;
    storm.prepare(&stage.murder).await?;
    let following = storm.blow(&stage.murder, "up").await?;
    println!("following: {following}");
    agreement.reached_within(SOON).await?;

    stage.murder.mm.stop_cyrus().await?;
    stage.ravenry.wait_for_state("standing-in", SOON).await?;
    let standing_in = storm.blow(&stage.murder, "down").await?;
    println!("standing in: {standing_in}");
    stage.murder.mm.start_cyrus().await?;
    stage.ravenry.wait_for_state("following", BACK).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SOON).await?;

    for aftermath in [following, standing_in] {
        assert_eq!(aftermath.done, storm.operations(), "{aftermath}");
    }
    for frontend in stage.murder.frontends() {
        assert_eq!(deadlock(frontend).await?, None, "{}", frontend.name());
    }
    stage.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rename_of_users_who_stay_at_one_frontend_is_answered() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    blow_up_and_down(stage, &Storm::new(false, Duration::from_secs(30))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rename_across_frontends_is_answered() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
    with_witnesses(&mut stage).await?;
    blow_up_and_down(stage, &Storm::new(true, Duration::from_secs(30))).await
}
