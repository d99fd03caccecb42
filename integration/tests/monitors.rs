//! What monitors see of a real outage: every panel of the dashboards has data, a real Alertmanager hears of a
//! conflict, and the status page shows where things stand.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::browser::Browser;
use ravenry_integration::clients::{Imap, Lmtp};
use ravenry_integration::deadline::eventually;
use ravenry_integration::monitors::{Monitors, get, repository};
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::{IMAP, LMTP, Stage};
use serde_json::Value;
use tempfile::TempDir;

/// Some scrapes, some evaluations.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn monitors_see_an_outage_and_what_a_person_has_to_decide() -> Result<()> {
    let identity = TempDir::new()?;
    let faces = format!("{IMAP}{}{LMTP}", certified(identity.path())?);
    let stage = Stage::start(Plan::chosen()?.retrying_after(2), &faces).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let mut monitors = Monitors::start(ravenry.metrics()).await?;
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    ensure!(get(ravenry.metrics(), "/healthz").await?.0 == 200);
    ensure!(get(ravenry.metrics(), "/readyz").await? == (200, "following\n".to_owned()));

    // An outage, with something for the master to be given afterwards.
    murder.mm.stop_cyrus().await?;
    alice.create("INBOX.new").await?.ok()?;
    alice.delete("INBOX.new").await?.ok()?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    let page = Browser::text(ravenry.metrics()).await?;
    let frontend = murder.fe1.lmtp_address().to_string();
    for shown in [
        "standing-in",
        "the master is away",
        "pending for the master",
        "not connected",
        "queued messages",
        "mail clients",
        &frontend,
    ] {
        ensure!(page.contains(shown), "the page does not say {shown:?}:\n{page}");
    }
    let (_, status) = get(ravenry.metrics(), "/status.json").await?;
    let status: Value = serde_json::from_str(&status)?;
    ensure!(status["state"] == "standing-in" && status["streams"] == 2, "{status}");
    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SOON).await?;

    // A change at the master itself; and one name decided on both sides.
    let mut master = murder.mm.mupdate().await?;
    master.activate("user.mallory", &murder.be2.location(), "mallory\tlrs\t").await?;
    let bypassed = "ravenry_bypassed_changes_total{server=\"be2.murder.test\"} > 0";
    eventually(SOON, "the bypass being counted", async || {
        Ok((!monitors.query(bypassed).await?.is_empty()).then_some(()))
    })
    .await?;
    ravenry.cli(&["stand-in"]).await?.success()?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    murder.create_user("carol", &murder.be1).await?;
    master.activate("user.carol", &murder.be2.location(), "carol\tlrs\t").await?;
    ravenry.cli(&["follow"]).await?.success()?;
    ravenry.wait_for(SOON, "a conflict", |status| status["conflicts"] == 1).await?;
    eventually(SOON, "the Alertmanager hearing of both", async || {
        let alerts = monitors.alerts().await?;
        let has = |name: &str| alerts.iter().any(|alert| alert == name);
        Ok((has("RavenryConflict") && has("RavenryBypassed")).then_some(()))
    })
    .await?;

    mail_comes_and_clients_log_in(&stage).await?;
    eventually(SOON, "the queue's emptying being counted", async || {
        let delivered = "ravenry_queue_deliveries_total{outcome=\"delivered\"} > 0";
        Ok((!monitors.query(delivered).await?.is_empty()).then_some(()))
    })
    .await?;
    every_panel_has_data(&monitors).await?;
    the_numbers_are_those_of_what_happened(&monitors).await?;
    ensure!(monitors.run(), "a monitor ended by itself");
    let made_so = ["user.mallory", "user.carol"];
    stage.stop_but_for(|difference| made_so.iter().any(|name| difference.is_about(name))).await
}

/// `certificate` and `key` of [`IMAP`], which comes right before.
fn certified(home: &Path) -> Result<String> {
    let made = rcgen::generate_simple_self_signed(["ravenry.murder.test".to_owned()])?;
    let (certificate, key) = (home.join("tls.crt"), home.join("tls.key"));
    std::fs::write(&certificate, made.cert.pem())?;
    std::fs::write(&key, made.signing_key.serialize_pem())?;
    Ok(format!("certificate = \"{}\"\nkey = \"{}\"\n", certificate.display(), key.display()))
}

/// A login that works and one that does not; a message that is delivered at once, and one that waits for the frontends.
async fn mail_comes_and_clients_log_in(stage: &Stage) -> Result<()> {
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let mut alice = Imap::connect(stage.imap()).await?;
    alice.login("alice").await?;
    alice.run("SELECT INBOX").await?.ok()?;
    let mut nobody = Imap::connect(stage.imap()).await?;
    ensure!(nobody.login("nobody").await.is_err());
    let mta = (murder.gateway(), 2424).into();
    let mut lmtp = Lmtp::connect(mta).await?;
    ensure!(lmtp.deliver_one("alice", "at-once").await?.verdict().is_ok());
    for frontend in murder.frontends() {
        frontend.stop_cyrus().await?;
    }
    ensure!(lmtp.deliver_one("alice", "later").await?.verdict().is_ok());
    ravenry.wait_for(SOON, "a message in the queue", |status| queued(status) == Some(1)).await?;
    for frontend in murder.frontends() {
        frontend.start_cyrus().await?;
    }
    ravenry.wait_for(SOON, "an empty queue", |status| queued(status) == Some(0)).await?;
    Ok(())
}

fn queued(status: &Value) -> Option<u64> {
    status.pointer("/queue/messages")?.as_u64()
}

async fn the_numbers_are_those_of_what_happened(monitors: &Monitors) -> Result<()> {
    for holds in [
        "ravenry_imap_logins_total{outcome=\"done\"} == 1",
        "ravenry_imap_logins_total{outcome=\"refused\"} == 1",
        "ravenry_imap_bytes_total{to=\"clients\"} > 100",
        "ravenry_lmtp_recipients_total{outcome=\"delivered\"} == 1",
        "ravenry_lmtp_recipients_total{outcome=\"queued\"} == 1",
        "ravenry_queue_fsync_duration_seconds_count > 0",
        "ravenry_certificate_end_time_seconds - time() > 30 * 86400",
    ] {
        eventually(SOON, holds.to_owned(), async || {
            Ok((!monitors.query(holds).await?.is_empty()).then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Runs every query of every dashboard, with Grafana's variables filled in.
async fn every_panel_has_data(monitors: &Monitors) -> Result<()> {
    let mut queries = 0;
    for file in std::fs::read_dir(repository().join("grafana/dashboards"))? {
        let path = file?.path();
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)
            .with_context(|| path.display().to_string())?;
        for panel in dashboard.get("panels").and_then(Value::as_array).context("no panels")? {
            for target in panel.get("targets").and_then(Value::as_array).context("a panel without queries")? {
                let expression = target["expr"].as_str().context("no expression")?;
                let filled = expression
                    .replace("$instance", ".*")
                    .replace("$__rate_interval", "1m")
                    .replace("$__interval", "1m");
                ensure!(!filled.contains('$'), "{expression}: a variable that is not known");
                let series = monitors.query(&filled).await?;
                ensure!(!series.is_empty(), "{}: {}: no data for {filled}", path.display(), panel["title"]);
                queries += 1;
            }
        }
    }
    ensure!(queries > 20, "only {queries} queries were found");
    Ok(())
}
