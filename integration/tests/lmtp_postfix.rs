//! A real MTA: Debian's Postfix delivers into the murder through Ravenry, with the master up and down; and the
//! programs that test MTAs, swaks and smtp-source.

use std::time::Duration;

use anyhow::{Context, Result};
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::post::{Post, arrived};

const SOON: Duration = Duration::from_secs(20);
const MESSAGES: u32 = 100;

async fn swaks(murder: &Murder, arguments: &[&str]) -> Result<String> {
    let common = ["swaks", "--from", "sender@example.org", "--timeout", "20"];
    let output = murder.mta.exec_root(&[&common, arguments].concat()).await?;
    output.success().map(|output| output.stdout)
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_delivers_through_ravenry_into_the_murder() -> Result<()> {
    let post = Post::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&post.stage.murder, &post.stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    murder.start_mta(post.address()).await?;

    // One message to both through Postfix, and one by LMTP at Ravenry's own door.
    swaks(murder, &["--server", "127.0.0.1", "--to", "alice@murder.test,bob@murder.test"]).await?;
    let door = post.address();
    let port = door.port().to_string();
    let server = door.ip().to_string();
    let own = ["--protocol", "LMTP", "--server", &server, "--port", &port, "--to", "alice,bob"];
    swaks(murder, &own).await?;
    for user in ["alice", "bob"] {
        arrived(&murder.fe1, user, "INBOX", 2, SOON).await.context("peace")?;
    }

    // Nobody is refused for good while the master decides, and only then.
    swaks(murder, &["--server", "127.0.0.1", "--to", "nobody@murder.test"]).await?;
    murder.mta.wait_for_log("status=bounced", 0, SOON).await?;

    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    murder.create_user("carol", &murder.be2).await?;
    swaks(murder, &["--server", "127.0.0.1", "--to", "carol@murder.test"]).await?;
    arrived(&murder.fe1, "carol", "INBOX", 1, SOON).await.context("made during the outage")?;
    swaks(murder, &["--server", "127.0.0.1", "--to", "nobody@murder.test"]).await?;
    murder.mta.wait_for_log("status=deferred", 0, SOON).await?;
    let bounced = murder.mta.logs().await?.matches("status=bounced").count();
    assert_eq!(bounced, 1, "{}", murder.mta.logs().await?);

    // Many at once, while the master is still away.
    let count = MESSAGES.to_string();
    let source = ["smtp-source", "-m", &count, "-s", "20", "-l", "4000", "-f", "sender@example.org"];
    let smtp = [&source[..], &["-t", "alice@murder.test", "-M", "mta", "inet:127.0.0.1:25"]].concat();
    murder.mta.exec_root(&smtp).await?.success().context("smtp-source")?;
    let to = format!("inet:{door}");
    let lmtp = [&source[..], &["-L", "-t", "bob@murder.test", "-M", "own", &to]].concat();
    murder.mta.exec_root(&lmtp).await?.success().context("smtp-source -L")?;
    for user in ["alice", "bob"] {
        arrived(&murder.fe1, user, "INBOX", 2 + MESSAGES, Duration::from_secs(60)).await.context("many")?;
    }
    post.stage.master_back().await?;
    post.stop().await
}
