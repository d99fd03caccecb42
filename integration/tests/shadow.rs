//! Tried in the shadow of a living murder, moved in front of it, and taken out again.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Plan};
use ravenry_integration::ravenry::{Ravenry, Settings};
use ravenry_integration::relay::Relay;
use ravenry_integration::stage::Stage;
use tokio::net::TcpStream;

const SHOWN: Duration = Duration::from_secs(30);
const SETTLED: Duration = Duration::from_secs(60);

/// Everything but its login, UPDATE and NOOP that Ravenry told the master.
fn said_to_the_master(relay: &Relay) -> Vec<String> {
    let verbs = ["RESERVE", "ACTIVATE", "DEACTIVATE", "DELETE"];
    let told = relay.transcripts().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let by_us = told.lines().filter(|line| line.starts_with("C:"));
    by_us.filter(|line| verbs.iter().any(|verb| line.contains(verb))).map(str::to_owned).collect()
}

async fn names_of_ravenry(ravenry: &Ravenry) -> Result<BTreeSet<String>> {
    let told = ravenry.cli(&["list", "export"]).await?.success()?.stdout;
    // Its last line is its length.
    let entries: Vec<serde_json::Value> = told.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok(entries.iter().filter_map(|entry| entry["name"].as_str().map(str::to_owned)).collect())
}

async fn follows_the_list(murder: &Murder, ravenry: &Ravenry) -> Result<()> {
    eventually(SHOWN, "Ravenry's list being the master's", async || {
        let master: BTreeSet<String> = murder.mm.dump().await?.0.into_keys().collect();
        Ok((names_of_ravenry(ravenry).await? == master).then_some(()))
    })
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn tried_in_the_shadow_moved_in_and_out_again() -> Result<()> {
    let murder = Murder::prepare(Plan::chosen()?.retrying_after(4)).await?;
    murder.start_master().await?;
    let at = |port: u16| SocketAddr::from((murder.gateway(), port));
    let master = murder.mm.mupdate_address();
    let from_backends = Relay::start(at(0), master).await?;
    let from_frontends = Relay::start(at(0), master).await?;
    let to_master = Relay::start(at(0), master).await?;
    murder.start_backends(from_backends.address()).await?;
    murder.start_frontends(from_frontends.address()).await?;
    murder.wait_for_frontends().await?;
    murder.create_user("alice", &murder.be1).await?;

    let faces = [at(3905), at(1143), at(1024)];
    let extra = format!(
        "[imap]\nlisten = [\"{}\"]\nfrontends = [\"{}:143\"]\nallow_plaintext = true\n\
         [lmtp]\nlisten = [\"{}\"]\nfrontends = [\"{}:24\"]\n",
        at(1143),
        murder.fe1.ip(),
        at(1024),
        murder.fe1.ip()
    );
    let mut ravenry =
        Ravenry::prepare(Settings { listen: at(3905), master: to_master.address(), extra }).await?;
    ravenry.edit("state_dir", "mode = \"shadow\"\nstate_dir")?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SHOWN).await?;
    let mut agreement = Agreement::begin(&murder).await?;

    // It follows, and nobody can come to it.
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.one").await?.ok()?;
    alice.rename("INBOX.one", "INBOX.uno").await?.ok()?;
    follows_the_list(&murder, &ravenry).await?;
    for order in [["stand-in"].as_slice(), &["reseed", "--yes"], &["follow"]] {
        let refused = ravenry.cli(order).await?;
        ensure!(refused.exit != 0 && refused.stderr.contains("shadow"), "{order:?}: {refused:?}");
    }
    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SHOWN).await?;
    for face in faces {
        let refused = TcpStream::connect(face).await.map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(std::io::ErrorKind::ConnectionRefused), "{face}");
    }
    ensure!(alice.create("INBOX.lost").await?.ok().is_err(), "as without Ravenry");
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SETTLED).await?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SETTLED).await?;
    follows_the_list(&murder, &ravenry).await?;
    assert_eq!(said_to_the_master(&to_master), Vec::<String>::new());
    let metrics = ravenry.scrape().await?;
    ensure!(metrics.contains("ravenry_shadowed_changes_total{server=\"be1.murder.test\"}"), "{metrics}");
    ensure!(!metrics.lines().any(|line| line.starts_with("ravenry_bypassed_changes_total{")), "{metrics}");

    // In front of the murder: an outage is not noticed.
    ravenry.edit("mode = \"shadow\"", "mode = \"serve\"")?;
    ensure!(ravenry.terminate().await?.success());
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SHOWN).await?;
    let stage = Stage { ravenry, to_master, from_frontends, from_backends, murder };
    let ravenry = &stage.ravenry;
    stage.point_murder_at(ravenry.address());
    ravenry.wait_for(SHOWN, "both streams", |now| now["streams"] == 2).await?;
    stage.murder.mm.stop_cyrus().await?;
    let mut alice = stage.murder.fe2.imap("alice").await?;
    alice.create("INBOX.kept").await?.ok()?;
    stage.murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SETTLED).await?;
    ensure!(!said_to_the_master(&stage.to_master).is_empty(), "the transcripts show what is sent");

    // And out again, with nothing lost.
    let empty = |now: &serde_json::Value| {
        now["journal"] == 0 && now["conflicts"] == 0 && now["unconfirmed"] == 0 && now["doubts"] == 0
    };
    ravenry.wait_for(SHOWN, "nothing that only Ravenry knows", empty).await?;
    stage.point_murder_at(master);
    ravenry.wait_for(SHOWN, "no streams", |now| now["streams"] == 0).await?;
    alice.create("INBOX.after").await?.ok()?;
    let agreement = Agreement::begin(&stage.murder).await?;
    agreement.reached_within(SETTLED).await?;
    agreement.nothing_to_push().await?;
    stage.stop().await
}
