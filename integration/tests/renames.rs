//! Many renames at once, with the master and without it, each user staying at one of two frontends: every one is
//! answered and no frontend deadlocks with itself. **Not shown here, because it is not so:** that many users may rename
//! at one frontend what they created at the other in the same moment; see docs/architecture.md.

use std::time::Duration;

use anyhow::Result;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;
use ravenry_integration::storm::{Storm, deadlock};

const SOON: Duration = Duration::from_secs(30);
const BACK: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn every_rename_of_users_who_stay_at_one_frontend_is_answered() -> Result<()> {
    let storm = Storm::new(false, Duration::from_secs(30));
    let stage = Stage::start(Plan::chosen()?, "").await?;
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
