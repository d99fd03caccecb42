//! What a frontend's slave says to its master, as a relay between them sees it, and what it says to its own
//! clients.

use std::time::Duration;

use anyhow::Result;

use super::Book;
use super::script::Script;
use crate::murder::{Murder, Plan, Suite};
use crate::relay::Relay;
use crate::transcript::Transcript;

pub(super) async fn capture(suite: Suite, book: &Book) -> Result<()> {
    let murder = Murder::prepare(Plan::new(suite)).await?;
    murder.start_master().await?;
    murder.start_backends(murder.mm.mupdate_address()).await?;
    let mut writer = murder.mm.mupdate().await?;
    for user in ["alice", "bob"] {
        writer
            .activate(&format!("user.{user}"), &murder.be1.location(), &format!("{user}\tlrswipkxtecdan\t"))
            .await?
            .ok()?;
    }
    writer.reserve("user.carol", &murder.be2.location()).await?.ok()?;
    let relay = Relay::start((murder.gateway(), 3905).into(), murder.mm.mupdate_address()).await?;
    murder.start_frontends(relay.address()).await?;
    murder.fe1.wait_for_log("synchronization complete", 0, Duration::from_secs(60)).await?;

    // A recipient that a frontend does not know makes it ask at once; otherwise it asks after 20 quiet seconds.
    murder.fe1.lmtp().await?.deliver_one("dave", "nobody").await?;
    writer.activate("user.dave", &murder.be1.location(), "dave\tlrswipkxtecdan\t").await?.ok()?;
    tokio::time::sleep(Duration::from_secs(25)).await;
    let mut all = Transcript::default();
    all.remark("two frontends; a recipient unknown to the first; a change; 20 quiet seconds");
    for (count, transcript) in relay.transcripts().iter().enumerate() {
        all.remark(format!("connection {}", count + 1));
        all.append(transcript);
    }
    book.write("slave", &all)?;
    book.write("slave-as-server", &as_server(&murder).await?)?;
    murder.stop().await
}

async fn as_server(murder: &Murder) -> Result<Transcript> {
    let mut script = Script::login(murder.fe1.mupdate_address()).await?;
    script.say("reading is allowed", "X0 FIND \"user.alice\"\r\n").await?;
    script.say("writing is not", "X1 RESERVE \"user.x\" \"be1.murder.test!default\"\r\n").await?;
    script.say("nor this", "X2 DELETE \"user.alice\"\r\n").await?;
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    Ok(script.transcript().clone())
}
