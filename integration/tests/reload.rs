//! SIGHUP: what is right is read again, what is wrong changes nothing and is told. No murder needed.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::deadline::eventually;
use ravenry_integration::ravenry::{Ravenry, Settings};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_wrong_changes_nothing_and_is_told() -> Result<()> {
    // Nobody is at the master's port, so the mupdate port stays closed: monitors see Ravenry all the same.
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let settings = Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), master: nobody, extra: String::new() };
    let ravenry = Ravenry::start(settings).await?;
    reloaded(&ravenry, 1).await?;

    let users = ravenry.home().join("users");
    let kept = std::fs::read_to_string(&users)?;
    std::fs::write(&users, "these are no users")?;
    ravenry.signal("HUP").await?;
    reloaded(&ravenry, 0).await?;
    ensure!(ravenry.log()?.contains("the users stay as they were"), "{}", ravenry.log()?);

    std::fs::write(&users, kept)?;
    ravenry.signal("HUP").await?;
    reloaded(&ravenry, 1).await?;
    ravenry.stop().await
}

async fn reloaded(ravenry: &Ravenry, successful: u8) -> Result<()> {
    let line = format!("ravenry_config_last_reload_successful {successful}\n");
    eventually(SOON, format!("{line:?}"), async || Ok(ravenry.scrape().await?.contains(&line).then_some(())))
        .await
        .map(drop)
}
