//! A murder's own files become Ravenry's configuration: it runs on what `ravenry init` wrote, the lines that it tells
//! lead every host to Ravenry, and the way back leaves the files as they were.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::agreement::Agreement;
use ravenry_integration::deadline::eventually;
use ravenry_integration::murder::{Murder, Node, Plan};
use ravenry_integration::ravenry::{Ravenry, Settings};

const IMAPD_CONF: &str = "/etc/imapd.conf";
const SOON: Duration = Duration::from_secs(60);

/// One line to change: `None` before: a new one; `None` after: it goes.
#[derive(Debug)]
struct Change {
    line: Option<usize>,
    before: Option<String>,
    after: Option<String>,
}

/// A murder's files, gathered on Ravenry's host: a directory for each node.
struct Gathered(PathBuf);

impl Gathered {
    async fn from(murder: &Murder, home: &Path) -> Result<Self> {
        let all = Self(home.join("hosts"));
        for node in murder.nodes().into_iter().filter(|node| node.name() != murder.mta.name()) {
            std::fs::create_dir_all(all.0.join(node.name()))?;
            std::fs::write(all.imapd(node), node.read(IMAPD_CONF).await?)?;
            std::fs::write(
                all.imapd(node).with_file_name("cyrus.conf"),
                node.read("/etc/cyrus.conf").await?,
            )?;
        }
        Ok(all)
    }

    fn imapd(&self, node: &Node) -> PathBuf {
        self.0.join(node.name()).join("imapd.conf")
    }

    /// What `ravenry init` told to change on a node, or to undo there.
    fn changes(&self, told: &str, node: &Node, undo: bool) -> Result<Vec<Change>> {
        let file = self.imapd(node).display().to_string();
        let (_, of_node) = told.split_once(&format!("\n{} (", node.server())).context("not told of")?;
        let of_node = of_node.split("\n\n").next().unwrap_or_default();
        let (change, back) = of_node.split_once("    To undo it:").context("no way back")?;
        let mut changes: Vec<Change> = Vec::new();
        for line in if undo { back } else { change }.lines() {
            if let Some(place) = line.trim().strip_prefix(&format!("{file}, ")) {
                let line = place.strip_prefix("line ").and_then(|at| at.trim_end_matches(':').parse().ok());
                changes.push(Change { line, before: None, after: None });
            } else if let (Some(last), Some(text)) = (changes.last_mut(), line.strip_prefix("      - ")) {
                last.before = Some(text.to_owned());
            } else if let (Some(last), Some(text)) = (changes.last_mut(), line.strip_prefix("      + ")) {
                last.after = Some(text.to_owned());
            }
        }
        Ok(changes)
    }
}

/// Does on a node what was told, to the letter, and restarts Cyrus there.
async fn change(node: &Node, changes: &[Change]) -> Result<()> {
    let text = node.read(IMAPD_CONF).await?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for Change { line, before, after } in changes {
        let place = match (line, before) {
            (Some(line), _) => Some(line - 1),
            (None, Some(before)) => lines.iter().position(|line| line == before),
            (None, None) => None,
        };
        if let (Some(place), Some(before)) = (place, before) {
            ensure!(lines.get(place) == Some(before), "{}: {before:?} is not there:\n{text}", node.name());
        }
        match (place, after) {
            (Some(place), Some(after)) => lines.get_mut(place).context("no such line")?.clone_from(after),
            (Some(place), None) => drop(lines.remove(place)),
            (None, after) => lines.extend(after.clone()),
        }
    }
    node.write(IMAPD_CONF, &(lines.join("\n") + "\n")).await?;
    node.stop_cyrus().await?;
    node.start_cyrus().await?;
    node.wait_until_up().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_murders_own_files_lead_to_ravenry_and_back() -> Result<()> {
    let murder = Murder::start(Plan::chosen()?).await?;
    let listen = (murder.gateway(), 3905).into();
    let mut ravenry = Ravenry::prepare(Settings { listen, master: listen, extra: String::new() }).await?;
    let gathered = Gathered::from(&murder, ravenry.home()).await?;

    let hosts: Vec<String> = [&murder.mm, &murder.fe1, &murder.fe2, &murder.be1, &murder.be2]
        .map(|node| format!("{}={}", node.ip(), gathered.imapd(node).display()))
        .into();
    let (name, address) = (murder.gateway().to_string(), listen.to_string());
    let mut args = vec!["init", "--name", &name, "--listen", &address, "--from"];
    args.extend(hosts.iter().map(String::as_str));
    let there = ravenry.cli(&args).await?;
    ensure!(there.exit == 73 && there.stderr.contains("exists already"), "{there:?}");
    if !murder.plan().suite.has_scram() {
        args.push("--plain");
    }
    args.push("--force");
    let told = ravenry.cli(&args).await?.success()?.stdout;
    ensure!(!told.contains("secret"), "a password is told:\n{told}");

    // What depends on the machine, and not on the murder, is this story's.
    let text = std::fs::read_to_string(ravenry.config_path())?;
    ensure!(!text.contains("secret"), "a password in the configuration:\n{text}");
    let home = ravenry.home().display().to_string();
    let text = text
        .replace("/var/lib/ravenry", &format!("{home}/state"))
        .replace("/run/ravenry", &home)
        .replace("127.0.0.1:9805", &ravenry.metrics().to_string());
    ravenry.configure(&text)?;
    ravenry.cli(&["check"]).await?.success()?;
    let live = ravenry.cli(&["check", "--live"]).await?;
    ensure!(live.exit == 0, "{}\n{}", live.stdout, live.stderr);
    ensure!(live.stdout.matches("an administrator").count() == 2, "both backends:\n{}", live.stdout);
    ravenry.launch().await?;
    ravenry.wait_for_state("following", SOON).await.with_context(|| ravenry.log().unwrap_or_default())?;

    // In, host after host; the master stays as it is.
    ensure!(told.contains("mm.murder.test (master): nothing."), "{told}");
    let mut before = Vec::new();
    for node in [&murder.be1, &murder.be2, &murder.fe1, &murder.fe2] {
        before.push((node, node.read(IMAPD_CONF).await?));
        let changes = gathered.changes(&told, node, false)?;
        ensure!(changes.len() == 2, "{}: {changes:?}", node.name());
        change(node, &changes).await?;
    }
    ravenry.wait_for(SOON, "both frontends", |status| status["streams"] == 2).await?;
    murder.create_user("alice", &murder.be1).await?;
    murder.mm.stop_cyrus().await?;
    let mut alice = murder.fe2.imap("alice").await?;
    alice.create("INBOX.in-the-outage").await?.ok()?;
    murder.mm.start_cyrus().await?;
    ravenry
        .wait_for(SOON, "the master having everything", |status| {
            status["state"] == "following" && status["journal"] == 0
        })
        .await?;

    // Out again: to the letter as it was.
    for (node, text) in &before {
        change(node, &gathered.changes(&told, node, true)?).await?;
        ensure!(node.read(IMAPD_CONF).await? == *text, "{} is not as it was", node.name());
    }
    ravenry.stop().await?;
    eventually(SOON, "the frontends having it from the master", async || {
        let mut alice = murder.fe1.imap("alice").await?;
        Ok(alice.run("SELECT INBOX.in-the-outage").await?.ok().is_ok().then_some(()))
    })
    .await?;
    let mut alice = murder.fe1.imap("alice").await?;
    alice.create("INBOX.without").await?.ok()?;
    let list = murder.mm.dump().await?;
    for name in ["user.alice.in-the-outage", "user.alice.without"] {
        ensure!(format!("{list:?}").contains(name), "the master lacks {name}: {list:?}");
    }
    Agreement::begin(&murder).await?.reached_within(SOON).await?;
    murder.stop().await
}
