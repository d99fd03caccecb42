//! Lists in files, lists learned, and a list that is too old.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::answers::{at, values};
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

/// How a command behaves.
#[derive(Clone, Copy)]
struct Manner<'a> {
    command: &'a [&'a str],
    /// It changes something, so it asks first.
    asks: bool,
    /// It can take long, so it says how far it is. What concerns one name answers at once, and needs not.
    progress: &'a [&'a str],
}

const fn reads<'a>(command: &'a [&'a str], progress: &'a [&'a str]) -> Manner<'a> {
    Manner { command, asks: false, progress }
}

const fn acts<'a>(command: &'a [&'a str], progress: &'a [&'a str]) -> Manner<'a> {
    Manner { command, asks: true, progress }
}

/// Every command about the list answers scripts, asks before it acts, and says how far it is where it can take long.
/// `conflicts` is in the stories of names in dispute, `audit` in its own.
async fn every_command_behaves(ravenry: &Ravenry, dir: &Path, frontend: &str) -> Result<()> {
    let copy = dir.join("copy.redb").display().to_string();
    let file = dir.join("own.jsonl").display().to_string();
    let master = "names read from the master";
    for Manner { command, asks, progress } in [
        reads(&["plan"], &[master]),
        reads(&["history", "user.alice"], &[]),
        reads(&["list", "find", "user.alice"], &[]),
        reads(&["list", "export"], &["names written"]),
        reads(&["backup", &copy], &["names copied"]),
        acts(&["list", "import", &file], &["names read"]),
        acts(&["list", "learn", "--from", frontend], &["names read"]),
        acts(&["reseed"], &[master]),
        acts(&["accept"], &[master]),
    ] {
        if asks {
            let unsure = ravenry.cli(&[command, &["--json"]].concat()).await?;
            ensure!(unsure.exit == NOT_CONFIRMED, "{command:?} did not ask: {unsure:?}");
            ensure!(unsure.stdout.is_empty(), "{command:?} says that it was done: {unsure:?}");
            let status = ravenry.status().await?;
            ensure!(at(&status, "/state") == "following", "{command:?} did something unasked");
        }
        let yes: &[&str] = if asks { &["--json", "--yes"] } else { &["--json"] };
        let done = ravenry.cli(&[command, yes].concat()).await?.success()?;
        let answer = values(&done.stdout)?;
        ensure!(!answer.is_empty(), "{command:?} says nothing");
        for what in progress {
            ensure!(done.stderr.contains(what), "{command:?} does not say how far it is: {done:?}");
        }
        let told = answer.first().context("an answer")?;
        match command {
            ["reseed" | "accept"] => {
                ensure!(
                    at(told, "/entries") == at(told, "/verified") && at(told, "/differing") == 0,
                    "{command:?}: {told}"
                );
                ensure!(
                    at(told, "/master").as_str().is_some_and(|name| !name.is_empty()),
                    "{command:?}: {told}"
                );
            }
            ["list", "learn" | "import", ..] => {
                ensure!(at(told, "/replaces") == false && at(told, "/added") == 0, "{command:?}: {told}");
            }
            _ => {}
        }
        ravenry.wait_for_state("following", SOON).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_into_a_file_and_back_and_an_old_one_waits_for_a_person() -> Result<()> {
    let mut stage = Stage::start(Plan::chosen()?.retrying_after(4), "").await?;
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
        let copy = dir.path().join("nothing.redb").display().to_string();
        for command in [
            ["plan"].as_slice(),
            &["reseed", "--yes"],
            &["accept", "--yes"],
            &["audit"],
            &["list", "export"],
            &["list", "find", "user.alice"],
            &["conflicts", "list"],
            &["conflicts", "show", "user.alice"],
            &["backup", &copy],
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

    // Every backend knows its own mailboxes only, and all of them together the whole list.
    let ravenry = empty(elsewhere).await?;
    for backend in murder.backends() {
        let dump = backend.exec(&["ctl_mboxlist", "-d"]).await?.success()?.stdout;
        let half = write(dir.path(), "half", dump.get(..dump.len() / 2).context("half of it")?)?;
        let server = ["--server", &backend.server()];
        let broken = import(&ravenry, &half, &server).await?;
        ensure!(broken.exit != 0 && broken.said().contains("line "), "{}: {broken:?}", backend.name());
        let nameless = import(&ravenry, &write(dir.path(), backend.name(), &dump)?, &[]).await?;
        ensure!(nameless.exit != 0 && nameless.said().contains("--server"), "{nameless:?}");
        import(&ravenry, &dir.path().join(backend.name()), &server).await?.success()?;
        ravenry.wait_for_state("standing-in", SOON).await?;
    }
    assert_eq!(exported(&ravenry, "jsonl").await?, list, "put together from the backends");
    ravenry.stop().await?;

    let fe1 = murder.fe1.mupdate_address().to_string();
    every_command_behaves(&stage.ravenry, dir.path(), &fe1).await?;
    // The list was replaced, so both have to come back.
    stage.ravenry.wait_for(SOON, "both streams", |now| now["streams"] == 2).await?;
    stage.agreement().await?.reached_within(SOON).await?;

    // Learned from a frontend that goes on working.
    let ravenry = empty(elsewhere).await?;
    let learned = ravenry.cli(&["list", "learn", "--from", &fe1, "--yes", "--json"]).await?.success()?;
    let told = values(&learned.stdout)?;
    let names = list.lines().filter(|line| line.contains("\"name\"")).count();
    ensure!(told.len() == 1, "{learned:?}");
    ensure!(told[0]["replaces"] == true && told[0]["read"] == names && told[0]["from"] == fe1, "{learned:?}");
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
