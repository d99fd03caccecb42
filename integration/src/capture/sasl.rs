//! How Cyrus logs in where it may choose.

use anyhow::Result;

use super::Book;
use super::script::Script;
use crate::murder::{Murder, Plan, Suite};
use crate::relay::Relay;

/// What Debian offers when nothing is configured.
const ALL: &str = "SCRAM-SHA-512 SCRAM-SHA-384 SCRAM-SHA-256 SCRAM-SHA-224 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 NTLM PLAIN LOGIN";

pub(super) async fn capture(suite: Suite, book: &Book) -> Result<()> {
    let mut plan = Plan::new(suite);
    plan.mechanisms = ALL.to_owned();
    let murder = Murder::prepare(plan).await?;
    murder.start_master().await?;
    let mut script = Script::connect(murder.mm.mupdate_address()).await?;
    script.say("farewell", "Q01 LOGOUT\r\n").await?;
    book.write("banner-all-mechanisms", script.transcript())?;

    let relay = Relay::start((murder.gateway(), 3905).into(), murder.mm.mupdate_address()).await?;
    murder.start_backends(relay.address()).await?;
    let mut admin = murder.be1.imap("cyrus").await?;
    admin.create("user.alice").await?.ok()?;
    if let Some(transcript) = relay.transcripts().first() {
        book.write("login-of-its-own-choice", transcript)?;
    }
    murder.stop().await
}
