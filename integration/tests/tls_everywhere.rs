//! A murder in which no server takes a password in clear: frontends and backends come to Ravenry under TLS, as do the MTA
//! and mail clients; Ravenry goes under TLS to the master, to the frontends' IMAP, LMTP and mupdate, and to the backends;
//! and so do the nodes among themselves.
//!
//! Every server refuses a login without TLS, so what works was under TLS. From 3.10 on: a mupdate before that dies when
//! connections under TLS end. No relay is between them, since those read along.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::clients::{Completion, Imap, Wire};
use ravenry_integration::deadline::{eventually, within};
use ravenry_integration::identity::Authority;
use ravenry_integration::murder::{Murder, Node, Plan, Suite};
use ravenry_integration::post::arrived_by;
use ravenry_integration::ravenry::{Ravenry, Settings};
use tokio::process::Command;

const SOON: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(60);

/// No password in clear; on a frontend an lmtpd that wants a login; and nowhere TLS sessions on disk, which a mupdate does not
/// survive (docs/configuration.md).
const STRICT: &str = "sed -i 's/^allowplaintext: .*/allowplaintext: no/' /etc/imapd.conf; \
                      echo 'tls_session_timeout: 0' >> /etc/imapd.conf; \
                      sed -i 's/lmtpd -a/lmtpd/' /etc/cyrus.conf; \
                      grep -q ^lmtp_admins /etc/imapd.conf || echo 'lmtp_admins: murder' >> /etc/imapd.conf";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_in_clear_on_3_10() -> Result<()> {
    nothing_is_said_in_clear(Suite::Trixie).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_said_in_clear_on_3_12() -> Result<()> {
    nothing_is_said_in_clear(Suite::Forky).await
}

async fn nothing_is_said_in_clear(suite: Suite) -> Result<()> {
    let authority = Authority::new()?;
    let murder = Murder::prepare(Plan::new(suite).retrying_after(2)).await?;
    murder.start_master().await?;
    strict(&murder.mm, &authority).await?;
    let mut ravenry = ravenry(&murder, &authority).await?;
    murder.start_nodes(ravenry.address()).await?;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    for node in [&murder.fe1, &murder.fe2, &murder.be1, &murder.be2] {
        strict(node, &authority).await?;
    }
    ravenry.wait_for(SOON, "both streams", |status| status["streams"] == 2).await?;
    frontends_tell_what_they_have_stored(&ravenry, &murder).await?;
    mta(&murder, &authority).await?;
    let mut agreement = Agreement::begin(&murder).await?;
    agreement.reached_within(SOON).await?;
    nobody_gets_in_without(&murder, &ravenry).await?;

    murder.mm.stop_cyrus().await?;
    ravenry.wait_for_state("standing-in", SOON).await?;
    a_day(&murder, &authority).await?;

    murder.mm.start_cyrus().await?;
    ravenry.wait_for_state("following", SOON).await.with_context(|| ravenry.log().unwrap_or_default())?;
    agreement.master_was_restarted().await?;
    agreement.reached_within(SOON).await?;
    agreement.nothing_to_push().await?;
    let audit = ravenry.cli(&["audit"]).await?;
    ensure!(audit.exit == 0, "{audit:?}");
    come_under_tls(&ravenry, &[&murder.fe1, &murder.fe2, &murder.be1, &murder.be2]).await?;

    // Ravenry's own list: the harness asks for it in clear.
    ravenry.terminate().await?;
    ravenry.edit("require_tls = true", "require_tls = false")?;
    ravenry.edit("[mupdate]\n", "[mupdate]\nallow_plaintext = true\n")?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SOON).await?;
    agreement.with_ravenry(ravenry.address()).reached_within(PATIENCE).await?;
    for node in [&murder.mm, &murder.fe1, &murder.fe2] {
        let crashes = node.crashes().await?;
        ensure!(crashes.is_empty(), "{} crashed: {crashes:?}", node.name());
    }
    ravenry.stop().await?;
    murder.stop().await
}

async fn strict(node: &Node, authority: &Authority) -> Result<()> {
    node.exec_root(&["sh", "-euc", STRICT]).await?.success()?;
    node.certify(&authority.issue(&[&node.ip().to_string()])?).await
}

/// Ravenry, which lets nobody log in without TLS, nor logs in anywhere without.
async fn ravenry(murder: &Murder, authority: &Authority) -> Result<Ravenry> {
    let gateway = murder.gateway();
    let own = authority.issue(&[&gateway.to_string(), "ravenry.murder.test"])?;
    let trusted = authority.certificate().display().to_string();
    let identity = format!("certificate = {:?}\nkey = {:?}\n", own.certificate, own.key);
    let [fe1, fe2, be1, be2] = [&murder.fe1, &murder.fe2, &murder.be1, &murder.be2].map(Node::ip);
    let extra = format!(
        "[imap]\nlisten = [\"{gateway}:1143\"]\nlisten_tls = [\"{gateway}:1993\"]\n\
         frontends = [\"{fe1}:143\", \"{fe2}:143\"]\nfrontend_tls = \"starttls\"\n\
         frontend_ca_file = \"{trusted}\"\ncheck_every = \"500ms\"\n{identity}\
         [lmtp]\nlisten = [\"{gateway}:2424\"]\nfrontends = [\"{fe1}:2003\", \"{fe2}:2003\"]\n{identity}\
         [lmtp.upstream]\nuser = \"murder\"\npassword_file = \"{{home}}/master-password\"\n\
         tls_ca_file = \"{trusted}\"\n\
         [backends]\nuser = \"cyrus\"\npassword_file = \"{{home}}/master-password\"\ntls = \"starttls\"\n\
         tls_ca_file = \"{trusted}\"\n[backends.addresses]\n\"be1.murder.test\" = \"{be1}:143\"\n\
         \"be2.murder.test\" = \"{be2}:143\"\n"
    );
    let settings = Settings { listen: (gateway, 3905).into(), master: murder.mm.mupdate_address(), extra };
    let mut ravenry = Ravenry::prepare(settings).await?;
    ravenry.edit("[mupdate]\n", &format!("[mupdate]\nrequire_tls = true\n{identity}"))?;
    ravenry.edit("allow_plaintext = true\n", "")?;
    ravenry.edit("[master]\n", &format!("[master]\ntls_ca_file = \"{trusted}\"\n"))?;
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SOON).await.with_context(|| ravenry.log().unwrap_or_default())?;
    Ok(ravenry)
}

/// Ravenry asks their own mupdate, which takes no login in clear either.
async fn frontends_tell_what_they_have_stored(ravenry: &Ravenry, murder: &Murder) -> Result<()> {
    for frontend in murder.frontends() {
        let said = format!("it tells what it has stored frontend={}", frontend.mupdate_address());
        eventually(SOON, said.clone(), async || Ok(ravenry.log()?.contains(&said).then_some(()))).await?;
    }
    Ok(())
}

/// A Postfix that gives mail to nobody whom it does not know, and under TLS.
async fn mta(murder: &Murder, authority: &Authority) -> Result<()> {
    murder.start_mta((murder.gateway(), 2424).into()).await?;
    let trusted = std::fs::read_to_string(authority.certificate())?;
    let write = ["sh", "-c", "printf %s \"$1\" > /etc/ca.crt", "sh", &trusted];
    murder.mta.exec_root(&write).await?.success()?;
    let demand = "postconf -e lmtp_tls_security_level=encrypt lmtp_tls_CAfile=/etc/ca.crt lmtp_tls_loglevel=1 \
                  && postfix reload";
    murder.mta.exec_root(&["sh", "-c", demand]).await?.success().map(drop)
}

async fn nobody_gets_in_without(murder: &Murder, ravenry: &Ravenry) -> Result<()> {
    for (whose, address, user) in [
        ("Ravenry", (murder.gateway(), 1143).into(), "alice"),
        ("a frontend", murder.fe1.imap_address(), "alice"),
        ("a backend", murder.be1.imap_address(), "cyrus"),
    ] {
        let answer = Imap::connect(address).await?.run(&format!("LOGIN {user} secret")).await?;
        ensure!(answer.completion == Completion::No, "{whose} takes a password in clear: {answer:?}");
    }
    for (whose, address) in [
        ("Ravenry", ravenry.address()),
        ("the master", murder.mm.mupdate_address()),
        ("a frontend", murder.fe1.mupdate_address()),
    ] {
        let mut wire = Wire::connect(address).await?;
        let mut banner = String::new();
        while !banner.contains("* OK") {
            banner += &(wire.expect_line().await? + "\n");
        }
        ensure!(banner.contains("* STARTTLS") && !banner.contains("PLAIN"), "{whose}: {banner}");
    }
    Ok(())
}

/// What everybody does every day: clients on either port of Ravenry, mail from the MTA, a user who is moved.
async fn a_day(murder: &Murder, authority: &Authority) -> Result<()> {
    let gateway = murder.gateway();
    let (imaps, imap) = (format!("imaps://{gateway}:1993/"), format!("imap://{gateway}:1143/"));
    curl(authority, &imaps, "alice", "CREATE INBOX.new").await?;
    curl(authority, &imap, "bob", "CREATE INBOX.new").await?;
    curl(authority, &imap, "alice", "CREATE INBOX.gone").await?;
    curl(authority, &imaps, "alice", "DELETE INBOX.gone").await?;
    let backend = format!("imap://{}/", murder.be2.imap_address());
    curl(authority, &backend, "cyrus", "XFER user.bob be1.murder.test").await?;

    let mail = ["swaks", "--from", "s@example.org", "--timeout", "20", "--server", "127.0.0.1"];
    let to = ["--to", "alice@murder.test,bob@murder.test"];
    murder.mta.exec_root(&[&mail[..], &to].concat()).await?.success()?;
    for user in ["alice", "bob"] {
        arrived_by(SOON, user, 1, async || {
            let told = curl(authority, &imaps, user, "STATUS INBOX (MESSAGES)").await?;
            let count = told.split("MESSAGES ").nth(1).and_then(|rest| rest.split(')').next()?.parse().ok());
            count.with_context(|| format!("no STATUS: {told}"))
        })
        .await?;
    }
    let said = murder.mta.logs().await?;
    ensure!(said.contains("Trusted TLS connection established to"), "the MTA was in clear: {said}");
    Ok(())
}

/// curl, which trusts the authority, under TLS from the first byte or by STARTTLS.
async fn curl(authority: &Authority, url: &str, user: &str, command: &str) -> Result<String> {
    let trusted = authority.certificate().display().to_string();
    within(PATIENCE, format!("curl {command}"), async {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "30", "--ssl-reqd", "--cacert", &trusted])
            .args(["-u", &format!("{user}:secret"), "-X", command, url])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .context("curl cannot be run")?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{user}: {command}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    })
    .await
}

/// A login of each node at Ravenry, and under TLS.
async fn come_under_tls(ravenry: &Ravenry, nodes: &[&Node]) -> Result<()> {
    let log = ravenry.log()?;
    for node in nodes {
        let peer = format!("peer={}:", node.ip());
        let mut logins =
            log.lines().filter(|line| line.contains("logged in") && line.contains(&peer)).peekable();
        ensure!(logins.peek().is_some(), "{} never logged in", node.name());
        ensure!(logins.all(|line| line.contains("encrypted=true")), "{} came in clear", node.name());
    }
    Ok(())
}
