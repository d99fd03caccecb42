//! The list, and what the backends really hold.

use std::time::Duration;

use anyhow::{Result, ensure};
use ravenry_integration::clients::Mupdate;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::Stage;

const SOON: Duration = Duration::from_secs(30);
const ACL: &str = "anyone\tlrs\t";

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_finds_what_is_wrong_and_puts_right_what_is_beyond_doubt() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?, "").await?;
    for (user, backend) in [("alice", &stage.murder.be1), ("bob", &stage.murder.be2)] {
        stage.murder.create_user(user, backend).await?;
    }
    let home = stage.ravenry.home();
    std::fs::write(home.join("backends-password"), "secret")?;
    let addresses =
        stage.murder.backends().map(|be| format!("{:?} = \"{}\"\n", be.server(), be.imap_address()));
    let section = format!(
        "[backends]\nuser = \"cyrus\"\npassword_file = \"{}\"\n[backends.addresses]\n{}",
        home.join("backends-password").display(),
        addresses.concat()
    );
    let config = home.join("ravenry.toml");
    std::fs::write(&config, std::fs::read_to_string(&config)? + "\n" + &section)?;
    stage.ravenry.crash_and_restart().await?;
    stage.ravenry.wait_for_state("following", SOON).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    let clean = ravenry.cli(&["audit"]).await?;
    ensure!(clean.exit == 0, "nothing is wrong yet: {clean:?}");

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

    let fixed = ravenry.cli(&["audit", "--fix", "--yes"]).await?;
    ensure!(fixed.stdout.contains("5 findings, 2 put right"), "{fixed:?}");
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
    stage.stop().await
}
