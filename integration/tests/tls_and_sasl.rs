//! Every login that real Cyrus clients can make at Ravenry, and TLS in both directions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::clients::Mupdate;
use ravenry_integration::deadline::eventually;
use ravenry_integration::identity::Authority;
use ravenry_integration::murder::{Murder, Node, Plan, Suite};
use ravenry_integration::ravenry::{Ravenry, Settings};

const SOON: Duration = Duration::from_secs(30);
const EVERY: &str = "PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-512";

/// Waits for a login of a node in Ravenry's log, after so many earlier ones of the kind.
async fn logged_in(ravenry: &Ravenry, node: &Node, how: &str, earlier: usize) -> Result<()> {
    let what = format!("a login of {} with {how}", node.name());
    eventually(SOON, what, async || Ok((logins(ravenry, node, how)? > earlier).then_some(()))).await?;
    Ok(())
}

fn logins(ravenry: &Ravenry, node: &Node, how: &str) -> Result<usize> {
    let peer = format!("peer={}:", node.ip());
    let log = ravenry.log()?;
    let login = |line: &&str| line.contains("logged in") && line.contains(&peer) && line.contains(how);
    Ok(log.lines().filter(login).count())
}

async fn last_error(ravenry: &Ravenry, part: &str) -> Result<()> {
    ravenry
        .wait_for(SOON, &format!("an error with {part:?}"), |status| {
            let error = status.pointer("/master/last_error").and_then(|error| error.as_str());
            error.is_some_and(|error| error.contains(part))
        })
        .await
        .map(drop)
}

fn settings(murder: &Murder) -> Settings {
    let (listen, master) = ((murder.gateway(), 3905).into(), murder.mm.mupdate_address());
    Settings { listen, master, extra: String::new() }
}

fn trust(authority: &Authority) -> String {
    format!("[master]\ntls_ca_file = \"{}\"\n", authority.certificate().display())
}

/// A master alone, with a certificate of this authority.
async fn certified_master(suite: Suite, authority: &Authority) -> Result<Murder> {
    let murder = Murder::prepare(Plan::new(suite)).await?;
    murder.start_master().await?;
    murder.mm.certify(&authority.issue(&[&murder.mm.ip().to_string()])?).await?;
    Ok(murder)
}

/// Several attempts to reach the master, for the second may be what crashes it.
const ATTEMPTS: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn starttls_to_a_master_of_3_12_is_checked_and_does_not_end_it() -> Result<()> {
    let (authority, wrong) = (Authority::new()?, Authority::new()?);
    let murder = certified_master(Suite::Forky, &authority).await?;
    let before = murder.mm.mupdate_process().await?;
    let mut ravenry = Ravenry::prepare(settings(&murder)).await?;
    ravenry.edit("[master]\n", &trust(&wrong))?;
    ravenry.launch().await?;
    last_error(&ravenry, "invalid peer certificate").await?;
    tokio::time::sleep(ATTEMPTS).await;
    ensure!(ravenry.status().await?["state"] == "learning");
    ensure!(murder.mm.mupdate_process().await? == before, "our distrust ended the master");

    ravenry.terminate().await?;
    ravenry.edit(&trust(&wrong), &trust(&authority))?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SOON).await.with_context(|| ravenry.log().unwrap_or_default())?;
    let mut backend = Mupdate::login(ravenry.address()).await?;
    let place = murder.be1.location();
    backend.activate("user.tls", &place, "tls\tlrs\t").await?.ok()?;
    ensure!(murder.mm.dump().await?.get("user.tls").is_some(), "a write under TLS");
    backend.delete("user.tls").await?.ok()?;
    ensure!(murder.mm.mupdate_process().await? == before, "TLS ended the master");
    ravenry.stop().await?;
    murder.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_3_6_that_tls_would_crash_is_not_asked_for_it() -> Result<()> {
    let authority = Authority::new()?;
    let murder = certified_master(Suite::Bookworm, &authority).await?;
    let before = murder.mm.mupdate_process().await?;
    let mut ravenry = Ravenry::prepare(settings(&murder)).await?;
    ravenry.edit("[master]\n", &trust(&authority))?;
    ravenry.launch().await?;
    last_error(&ravenry, "crashes when a connection under TLS ends").await?;
    tokio::time::sleep(ATTEMPTS).await;
    ensure!(murder.mm.mupdate_process().await? == before, "the master was crashed");
    ravenry.stop().await?;
    murder.stop().await
}

/// Ravenry with a certificate, where PLAIN needs TLS, in front of a master in clear.
async fn encrypted(murder: &Murder, authority: &Authority) -> Result<Ravenry> {
    let mut ravenry = Ravenry::prepare(settings(murder)).await?;
    let own = authority.issue(&[&murder.gateway().to_string()])?;
    let (certificate, key) = (own.certificate.display(), own.key.display());
    ravenry.edit("[mupdate]\n", &format!("[mupdate]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"))?;
    ravenry.edit("allow_plaintext = true", "allow_plaintext = false")?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SOON).await.with_context(|| ravenry.log().unwrap_or_default())?;
    Ok(ravenry)
}

/// A backend and a frontend that log in at Ravenry with one mechanism.
async fn log_in_with(murder: &Murder, ravenry: &Ravenry, mechanism: &str, tls: bool) -> Result<()> {
    let script = format!(
        "sed -i '/^force_sasl_client_mech/d' /etc/imapd.conf; \
         echo 'force_sasl_client_mech: {mechanism}' >> /etc/imapd.conf"
    );
    let how = format!("mechanism={mechanism} encrypted={tls}");
    let before = [logins(ravenry, &murder.be1, &how)?, logins(ravenry, &murder.fe1, &how)?];
    murder.be1.configure(&script).await?;
    murder.fe1.configure(&script).await?;
    logged_in(ravenry, &murder.fe1, &how, before[1]).await?;
    let mut admin = murder.be1.imap("cyrus").await?;
    let name = format!("user.{}-{tls}", mechanism.to_lowercase());
    admin.create(&name).await?.ok().with_context(|| format!("CREATE with {how}"))?;
    logged_in(ravenry, &murder.be1, &how, before[0]).await?;
    eventually(SOON, format!("{name} at a frontend and at the master"), async || {
        let (frontend, master) = (murder.fe1.dump().await?, murder.mm.dump().await?);
        Ok((frontend.get(&name).is_some() && master.get(&name).is_some()).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_login_of_cyrus_is_understood() -> Result<()> {
    let plan = Plan { mechanisms: EVERY.to_owned(), ..Plan::chosen()? };
    let murder = Murder::prepare(plan).await?;
    murder.start_master().await?;
    let authority = Authority::new()?;
    let mut ravenry = encrypted(&murder, &authority).await?;
    murder.start_nodes(ravenry.address()).await?;
    let can = |mechanism: &&str| !mechanism.starts_with("SCRAM") || murder.plan().suite.has_scram();
    for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"].into_iter().filter(can) {
        log_in_with(&murder, &ravenry, mechanism, false).await?;
    }
    // Only where nothing is offered in clear do they use TLS; and then PLAIN too.
    ravenry.terminate().await?;
    ravenry.edit("[mupdate]\n", "[mupdate]\nrequire_tls = true\n")?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SOON).await?;
    for mechanism in ["PLAIN", "SCRAM-SHA-256"].into_iter().filter(can) {
        log_in_with(&murder, &ravenry, mechanism, true).await?;
    }

    murder.mm.configure("sed -i 's/^sasl_mech_list: .*/sasl_mech_list: DIGEST-MD5/' /etc/imapd.conf").await?;
    last_error(&ravenry, "offers no login that Ravenry speaks here: [\"DIGEST-MD5\"]").await?;
    ensure!(ravenry.status().await?["state"] == "standing-in", "a master that we cannot log in to is lost");
    ensure!(!ravenry.log()?.contains("secret"), "a password is in the log");
    let back = format!("sed -i 's/^sasl_mech_list: .*/sasl_mech_list: {EVERY}/' /etc/imapd.conf");
    murder.mm.configure(&back).await?;
    ravenry.wait_for_state("following", SOON).await?;
    Agreement::begin(&murder).await?.reached_within(SOON).await?;
    ravenry.stop().await?;
    murder.stop().await
}
