//! Lists in files, lists learned, and a list that is too old.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::engine::Output;
use ravenry_integration::murder::Plan;
use ravenry_integration::ravenry::{NOT_CONFIRMED, Ravenry, Settings};
use ravenry_integration::stage::Stage;
use tokio::net::TcpStream;

const SOON: Duration = Duration::from_secs(30);

/// A Ravenry that has no list, and whose master does not answer.
async fn empty(listen: SocketAddr) -> Result<Ravenry> {
    let master = SocketAddr::from(([127, 0, 0, 1], 9));
    let ravenry = Ravenry::start(Settings { listen, master, extra: String::new() }).await?;
    ravenry.wait_for_state("learning", SOON).await?;
    Ok(ravenry)
}

async fn exported(ravenry: &Ravenry, format: &str) -> Result<String> {
    Ok(ravenry.cli(&["list", "export", "--format", format]).await?.success()?.stdout)
}

fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = dir.join(name);
    std::fs::write(&path, text)?;
    Ok(path)
}

async fn import(ravenry: &Ravenry, file: &Path, more: &[&str]) -> Result<Output> {
    let file = file.to_str().context("a path in UTF-8")?;
    ravenry.cli(&[&["list", "import", "--yes", file], more].concat()).await
}

/// Every command that reads or changes the list can answer scripts.
async fn everything_speaks_json(ravenry: &Ravenry, dir: &Path) -> Result<()> {
    let copy = dir.join("copy.redb").display().to_string();
    let file = dir.join("own.jsonl").display().to_string();
    for command in [
        ["plan"].as_slice(),
        &["conflicts", "list"],
        &["history", "user.alice"],
        &["list", "find", "user.alice"],
        &["list", "import", &file],
        &["backup", &copy],
        &["status"],
        &["reseed"],
    ] {
        let yes: &[&str] = if command == ["status"] { &["--json"] } else { &["--json", "--yes"] };
        let said = ravenry.cli(&[command, yes].concat()).await?.success()?.stdout;
        let parsed = serde_json::Deserializer::from_str(&said).into_iter::<serde_json::Value>();
        let count =
            parsed.collect::<Result<Vec<_>, _>>().with_context(|| format!("{command:?}: {said}"))?.len();
        ensure!(count > 0 || command == ["conflicts", "list"], "{command:?} says nothing");
        ravenry.wait_for_state("following", SOON).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_into_a_file_and_back_and_an_old_one_waits_for_a_person() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?, "").await?;
    let murder = &stage.murder;
    murder.create_user("alice", &murder.be1).await?;
    murder.create_user("bob", &murder.be2).await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.My Folder").await?.ok()?;
    alice.set_acl("INBOX.My Folder", "bob", "lrs").await?.ok()?;
    stage.agreement().await?.reached_within(SOON).await?;
    let list = exported(&stage.ravenry, "jsonl").await?;
    let dir = tempfile::tempdir()?;
    let master = murder.mm.exec(&["ctl_mboxlist", "-d"]).await?.success()?.stdout;
    let frontend = murder.fe1.exec(&["ctl_mboxlist", "-d"]).await?.success()?.stdout;
    let cyrus = exported(&stage.ravenry, "cyrus-json").await?;
    let files = [("own.jsonl", &list), ("own.json", &cyrus), ("master", &master), ("frontend", &frontend)];

    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 0));
    for (file, text) in files {
        let ravenry = empty(elsewhere).await?;
        for command in [
            ["plan"].as_slice(),
            &["reseed", "--yes"],
            &["accept", "--yes"],
            &["audit"],
            &["list", "export"],
            &["list", "find", "user.alice"],
        ] {
            let missing = ravenry.cli(command).await?;
            ensure!(missing.exit == 69 && missing.said().contains("there is no list yet"), "{missing:?}");
            ensure!(missing.said().contains("the master at 127.0.0.1:9 cannot be read"), "{missing:?}");
        }
        let half = text.get(..text.len() / 2).context("half of it")?;
        let broken = import(&ravenry, &write(dir.path(), "half", half)?, &[]).await?;
        ensure!(broken.exit != 0 && broken.said().contains("line "), "{file}: {broken:?}");
        ensure!(ravenry.status().await?["state"] == "learning", "half of {file} was believed");
        import(&ravenry, &write(dir.path(), file, text)?, &[]).await?.success().context(file)?;
        ravenry.wait_for_state("standing-in", SOON).await?;
        assert_eq!(exported(&ravenry, "jsonl").await?, list, "{file}");
        ravenry.stop().await?;
    }

    everything_speaks_json(&stage.ravenry, dir.path()).await?;
    let file = dir.path().join("own.jsonl").display().to_string();
    let fe1 = murder.fe1.mupdate_address().to_string();
    for command in
        [["reseed"].as_slice(), &["accept"], &["list", "import", &file], &["list", "learn", "--from", &fe1]]
    {
        let unsure = stage.ravenry.cli(command).await?;
        ensure!(unsure.exit == NOT_CONFIRMED, "{command:?} did not ask: {unsure:?}");
    }
    ensure!(stage.ravenry.status().await?["state"] == "following", "something was done unasked");

    // Learned from a frontend that goes on working.
    let ravenry = empty(elsewhere).await?;
    ravenry.cli(&["list", "learn", "--from", &fe1, "--yes"]).await?.success()?;
    assert_eq!(exported(&ravenry, "jsonl").await?, list);
    // What another dump has more is added; what it has less, or otherwise, changes nothing.
    let dump = murder.be2.exec(&["ctl_mboxlist", "-d"]).await?.success()?.stdout;
    let dump = write(dir.path(), "backend", &dump)?;
    let nameless = import(&ravenry, &dump, &[]).await?;
    ensure!(nameless.said().contains("--server"), "{nameless:?}");
    import(&ravenry, &dump, &["--server", "be9.murder.test"]).await?.success()?;
    assert_eq!(exported(&ravenry, "jsonl").await?, list, "bob is not moved by an import");
    let find = ravenry.cli(&["list", "find", "user.bob"]).await?.success()?;
    ensure!(find.stdout.contains("be2.murder.test"), "{find:?}");
    ravenry.stop().await?;

    // Off for longer than is believed, and the master is down.
    murder.mm.stop_cyrus().await?;
    stage.ravenry.wait_for_state("standing-in", SOON).await?;
    stage.murder.create_user("carol", &stage.murder.be1).await?;
    stage.ravenry.terminate().await?;
    let config = stage.ravenry.home().join("ravenry.toml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, format!("max_unattended = \"1s\"\n{text}"))?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stage.ravenry.launch().await?;
    stage.ravenry.wait_for_state("learning", SOON).await?;
    ensure!(TcpStream::connect(stage.ravenry.address()).await.is_err(), "an old list is served");
    let unsure = stage.ravenry.cli(&["list", "learn", "--from", &fe1]).await?;
    ensure!(unsure.exit == NOT_CONFIRMED, "{unsure:?}");
    stage.ravenry.cli(&["list", "learn", "--from", &fe1, "--yes"]).await?.success()?;
    stage.ravenry.wait_for_state("standing-in", SOON).await?;
    ensure!(stage.ravenry.status().await?["journal"] != 0, "carol is owed to the master still");

    stage.murder.mm.start_cyrus().await?;
    stage.ravenry.wait_for_state("following", SOON).await?;
    stage.agreement().await?.reached_within(SOON).await?;
    stage.stop().await
}
