//! The list, and what the backends really hold.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::Mupdate;
use ravenry_integration::deadline::eventually;
use ravenry_integration::identity::Authority;
use ravenry_integration::murder::Plan;
use ravenry_integration::ravenry::NOT_CONFIRMED;
use ravenry_integration::stage::{BACKENDS, Stage};

const SOON: Duration = Duration::from_secs(30);
/// From then on a reservation is not in use any more: a day, unless the configuration says otherwise.
const OLD: Duration = Duration::from_secs(8);
/// A backend listens for TLS too.
const IMAPS: &str = r#"sed -i 's/^  imap cmd="imapd".*/&\n  imaps cmd="imapd -s" listen="993" prefork=0/' /etc/cyrus.conf
grep -q imaps /etc/cyrus.conf"#;
const ACL: &str = "anyone\tlrs\t";

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_is_wrong_and_puts_right_what_is_beyond_doubt() -> Result<()> {
    // The backends are asked under TLS, and each must be who it says.
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    let (right, wrong) =
        (authority.certificate().display().to_string(), stranger.certificate().display().to_string());
    let under_tls = format!(
        "[backends]\ntls = \"starttls\"\ntls_ca_file = \"{wrong}\"\nreservations = \"{}s\"\n",
        OLD.as_secs()
    );
    let section = BACKENDS.replacen("[backends]\n", &under_tls, 1);
    let mut stage = Stage::start(Plan::chosen()?, &section).await?;
    for (user, backend) in [("alice", &stage.murder.be1), ("bob", &stage.murder.be2)] {
        stage.murder.create_user(user, backend).await?;
        backend.certify(&authority.issue(&[&backend.ip().to_string()])?).await?;
    }
    is_asked_under_tls(&mut stage, &wrong, &right).await?;
    // The same on the port where TLS comes first.
    stage.ravenry.edit("tls = \"starttls\"", "tls = \"imaps\"")?;
    for backend in stage.murder.backends() {
        stage.ravenry.edit(&format!("{}:143", backend.ip()), &format!("{}:993", backend.ip()))?;
        backend.configure(IMAPS).await?;
    }
    stage.ravenry.edit(&right, &wrong)?;
    restarted(&mut stage).await?;
    is_asked_under_tls(&mut stage, &wrong, &right).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);

    let mut wire = Mupdate::login(ravenry.address()).await?;
    wire.activate("user.ghost", &murder.be1.location(), ACL).await?.ok()?;
    wire.reserve("user.begun", &murder.be1.location()).await?.ok()?;
    for backend in murder.backends() {
        let mut admin = backend.imap("cyrus").await?;
        admin.create("user.twice").await?.ok()?;
        if backend.name() == "be1" {
            wire.delete("user.twice").await?.ok()?;
            admin.create("user.orphan").await?.ok()?;
            wire.delete("user.orphan").await?.ok()?;
        }
    }
    wire.activate("user.bob", &murder.be1.location(), ACL).await?.ok()?;

    let found = ravenry.cli(&["audit", "--json"]).await?;
    ensure!(found.exit == 1, "{found:?}");
    for (fault, name) in [
        ("ghost", "user.ghost"),
        ("reservation", "user.begun"),
        ("duplicate", "user.twice"),
        ("orphan", "user.orphan"),
        ("wrong-location", "user.bob"),
    ] {
        let told = format!("{{\"fault\":\"{fault}\",\"name\":\"{name}\"");
        ensure!(found.stdout.contains(&told), "{name} is no {fault}: {}", found.stdout);
    }
    ensure!(found.stdout.lines().count() == 6, "something else was found too: {}", found.stdout);

    ensure!(
        found.stderr.contains("mailboxes read from backends"),
        "it does not say how far it is: {found:?}"
    );
    let unsure = ravenry.cli(&["audit", "--fix"]).await?;
    ensure!(unsure.exit == NOT_CONFIRMED, "it did not ask: {unsure:?}");
    ensure!(wire.find("user.ghost").await?.is_some(), "the ghost was forgotten unasked");
    let fixed = ravenry.cli(&["audit", "--fix", "--yes", "--json"]).await?;
    let told =
        fixed.stdout.lines().map(serde_json::from_str).collect::<Result<Vec<serde_json::Value>, _>>()?;
    let summary = &told.last().context("a summary")?["summary"];
    ensure!(summary["found"] == 5 && summary["fixed"] == 2 && summary["backends"] == 2, "{fixed:?}");
    ensure!(wire.find("user.begun").await?.is_some(), "a reservation of this moment may be in use");
    ensure!(wire.find("user.ghost").await?.is_none(), "the ghost is listed still");
    let orphan = wire.find("user.orphan").await?;
    ensure!(
        orphan.and_then(|record| record.entry).is_some_and(|entry| entry.location == murder.be1.location()),
        "the orphan is not listed"
    );
    // What a person has to look at is as it was.
    for (user, backend) in [("twice", &murder.be1), ("twice", &murder.be2), ("bob", &murder.be2)] {
        let held = backend.imap("cyrus").await?.list(&format!("user.{user}")).await?;
        ensure!(held.len() == 1, "{user} on {}: {held:?}", backend.name());
    }
    // How old it is is known also after a restart; and that is all that had to be known.
    restarted(&mut stage).await?;
    let (_, waited) = eventually(SOON, "a reservation that is old enough", async || {
        let found = stage.ravenry.cli(&["audit", "--json"]).await?.stdout;
        let line = found.lines().find(|line| line.contains("user.begun")).context("user.begun")?;
        let age = serde_json::from_str::<serde_json::Value>(line)?["age"].as_u64();
        Ok((age >= Some(OLD.as_secs())).then_some(()))
    })
    .await?;
    println!("old enough after {waited:.1?}");
    let fixed = stage.ravenry.cli(&["audit", "--fix", "--yes"]).await?;
    ensure!(fixed.stdout.contains("3 findings, 1 put right"), "{fixed:?}");
    let mut wire = Mupdate::login(stage.ravenry.address()).await?;
    ensure!(wire.find("user.begun").await?.is_none(), "the reservation is listed still");
    ensure!(stage.murder.mm.dump().await?.get("user.begun").is_none(), "the master has the reservation");
    a_backend_that_lost_its_list_is_not_believed(&stage).await?;
    let for_a_person = ["user.twice", "user.bob"];
    stage.stop_but_for(|difference| for_a_person.iter().any(|name| difference.is_about(name))).await
}

/// Everything that is listed there would be a ghost.
async fn a_backend_that_lost_its_list_is_not_believed(stage: &Stage) -> Result<()> {
    let be1 = &stage.murder.be1;
    be1.stop_cyrus().await?;
    be1.save_list("whole").await?;
    be1.lose_list().await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await?;
    let before = stage.list().await?;
    let fixed = stage.ravenry.cli(&["audit", "--fix", "--yes"]).await?;
    for name in ["user.alice", "user.orphan"] {
        let line = fixed.stdout.lines().rfind(|line| line.contains(name)).context(name)?;
        let kept =
            line.starts_with("ghost") && line.contains("no other mailbox of its backend to compare with");
        ensure!(kept, "{line}");
    }
    ensure!(fixed.exit == 1 && fixed.stdout.contains(" 0 put right"), "{fixed:?}");
    ensure!(stage.list().await? == before, "something was taken off the list");
    be1.stop_cyrus().await?;
    be1.restore_list("whole").await?;
    be1.start_cyrus().await?;
    be1.wait_until_up().await.map(drop)
}

/// No backend is told the password that shows another authority's certificate; with the right one nothing is wrong.
async fn is_asked_under_tls(stage: &mut Stage, wrong: &str, right: &str) -> Result<()> {
    let distrusted = stage.ravenry.cli(&["audit"]).await?;
    ensure!(distrusted.exit == 1, "{distrusted:?}");
    ensure!(distrusted.stdout.matches("invalid peer certificate").count() == 2, "{distrusted:?}");
    stage.ravenry.edit(wrong, right)?;
    restarted(stage).await?;
    let clean = stage.ravenry.cli(&["audit"]).await?;
    ensure!(clean.exit == 0, "nothing is wrong yet: {clean:?}");
    ensure!(clean.stdout.contains("2 backends hold 2 mailboxes"), "they were not asked: {clean:?}");
    Ok(())
}

/// Stopped in order and started again.
async fn restarted(stage: &mut Stage) -> Result<()> {
    stage.ravenry.terminate().await?;
    stage.ravenry.launch().await?;
    stage.ravenry.wait_for_state("following", SOON).await.map(drop)
}
