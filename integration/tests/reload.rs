//! A reload, by SIGHUP or `ravenry reload`: what is right is in force at once, what is wrong changes nothing and is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::clients::Imap;
use ravenry_integration::deadline::eventually;
use ravenry_integration::identity::Authority;
use ravenry_integration::monitors::{Monitors, get};
use ravenry_integration::murder::Plan;
use ravenry_integration::ravenry::{Ravenry, Settings};
use ravenry_integration::stage::{IMAP, Stage};

const SOON: Duration = Duration::from_secs(20);

/// Nobody is at the master's port, so the mupdate port stays closed: monitors see Ravenry all the same.
async fn alone(extra: String) -> Result<Ravenry> {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Ravenry::prepare(Settings { listen: (Ipv4Addr::LOCALHOST, 0).into(), master: nobody, extra }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_changes_nothing_and_is_told() -> Result<()> {
    let authority = Authority::new()?;
    let (good, other) = (authority.issue(&["one.test"])?, authority.issue(&["other.test"])?);
    let mut ravenry =
        alone("[lmtp]\nlisten = [\"127.0.0.1:0\"]\nfrontends = [\"127.0.0.1:1\"]\n".into()).await?;
    let home = ravenry.home().to_owned();
    let (certificate, key) = (home.join("tls.crt"), home.join("tls.key"));
    std::fs::copy(&good.certificate, &certificate)?;
    std::fs::copy(&good.key, &key)?;
    let paths = format!("certificate = {certificate:?}\nkey = {key:?}\nallow_plaintext");
    ravenry.edit("allow_plaintext", &paths)?;
    ravenry.launch().await?;
    reloaded(&ravenry, 1).await?;
    let mut monitors = Monitors::start(ravenry.metrics()).await?;

    let file = home.join("ravenry.toml");
    let expired = || {
        let old = authority.expired(&["expired.test"])?;
        std::fs::copy(old.certificate, &certificate)?;
        std::fs::copy(old.key, &key).map(drop).context("the expired key")
    };
    let mut fired = false;
    for (what, spoil, told) in [
        (
            &file,
            Spoil::Write("state_dir = \"/x\"\n[mupdat]\n"),
            "unknown key `mupdat`, did you mean `mupdate`?",
        ),
        (&file, Spoil::Write("these are no keys"), "ravenry.toml:1:"),
        (&file, Spoil::Remove, "ravenry.toml: No such file"),
        (&certificate, Spoil::With(&expired), "tls.crt: it expired on Feb  3 00:00:00 2020"),
        (&certificate, Spoil::Write("no certificate"), "tls.crt: "),
        (&home.join("master-password"), Spoil::Remove, "master.password_file: "),
        (&home.join("users"), Spoil::Write("these are no users"), "mupdate.users_file: "),
    ] {
        let kept = [what, &key].map(|path| std::fs::read(path).map(|bytes| (path.clone(), bytes)));
        spoil.at(what)?;
        let logged = ravenry.log()?.len();
        ravenry.signal("HUP").await?;
        reloaded(&ravenry, 0).await.with_context(|| told.to_owned())?;
        let log = ravenry.log()?.split_off(logged);
        ensure!(log.contains("the configuration stays as it was") && log.contains(told), "{told}: {log}");
        let seen = get(ravenry.metrics(), "/status.json").await?.1;
        let seen: serde_json::Value = serde_json::from_str(&seen)?;
        let why = seen["configuration"]["failed"].as_str().unwrap_or_default();
        ensure!(why.contains(told), "{told}: the status says {why:?}");
        // The same for whoever asks and wants to know; the command line itself needs a configuration that can be read.
        if what != &file {
            let refused = ravenry.cli(&["reload"]).await?;
            ensure!(refused.exit != 0 && refused.stderr.contains(told), "{told}: {refused:?}");
        }
        if !fired {
            eventually(SOON, "the Alertmanager hearing of it", async || {
                let alerts = monitors.alerts().await?;
                Ok(alerts.iter().any(|alert| alert == "RavenryConfigReloadFailed").then_some(()))
            })
            .await?;
            fired = true;
        }
        for file in kept {
            let (path, bytes) = file?;
            std::fs::write(path, bytes)?;
        }
        ravenry.signal("HUP").await?;
        reloaded(&ravenry, 1).await.with_context(|| format!("after {told}"))?;
    }
    // Half of a reload is none: with a key that is wrong, the users that are right are not taken either.
    std::fs::copy(&other.certificate, &certificate)?;
    ravenry.add_user("carol").await?;
    let refused = ravenry.cli(&["reload"]).await?;
    ensure!(refused.exit != 0, "{refused:?}");
    std::fs::copy(&other.key, &key)?;
    let taken = ravenry.cli(&["reload"]).await?.success()?;
    ensure!(taken.stdout.contains("read again"), "{taken:?}");
    ensure!(monitors.run(), "a monitor ended by itself");
    ravenry.stop().await
}

/// How a file becomes wrong.
enum Spoil<'a> {
    Write(&'a str),
    Remove,
    With(&'a dyn Fn() -> Result<()>),
}

impl Spoil<'_> {
    fn at(&self, path: &Path) -> Result<()> {
        match self {
            Self::Write(text) => Ok(std::fs::write(path, text)?),
            Self::Remove => Ok(std::fs::remove_file(path)?),
            Self::With(spoil) => spoil(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_change_changes_and_nobody_is_disturbed() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, IMAP).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let both = format!("frontends = [\"{}:143\", \"{}:143\"]", murder.fe1.ip(), murder.fe2.ip());
    let one = format!("frontends = [\"{}:143\"]", murder.fe2.ip());
    let streams = ravenry.status().await?["stream_detail"].clone();
    let mut at_first = Vec::new();
    for _ in 0..4 {
        let mut session = Imap::connect(stage.imap()).await?;
        session.login("alice").await?;
        session.select("INBOX").await?.ok()?;
        at_first.push(session);
    }

    // A frontend less: who is there stays, at both; who comes goes to the other one.
    ravenry.edit(&both, &one)?;
    ravenry.edit("[imap]\n", "[imap]\nmax_per_client = 7\n")?;
    let told = ravenry.cli(&["reload"]).await?.success()?.stdout;
    ensure!(told.contains("in force from now on: imap.frontends, imap.max_per_client\n"), "{told}");
    ensure!(!told.contains("restart"), "{told}");
    for session in &mut at_first {
        session.run("NOOP").await?.ok()?;
    }
    let frontends = ravenry.status().await?["imap"]["frontends"].clone();
    ensure!(frontends.as_array().map(Vec::len) == Some(1), "{frontends}");
    let mut later = Vec::new();
    for _ in 0..3 {
        let mut session = Imap::connect(stage.imap()).await?;
        session.login("alice").await?;
        later.push(session);
    }
    let now = ravenry.status().await?["imap"].clone();
    ensure!(now["frontends"][0]["in_use"] == 5 && now["sessions"] == 7, "{now}");
    ensure!(Imap::connect(stage.imap()).await.is_err(), "the new limit counts");
    // A limit of all sessions: more again, and fewer, and nobody who is there goes.
    ravenry.edit("max_per_client = 7\n", "max_sessions = 8\n")?;
    ravenry.cli(&["reload"]).await?.success()?;
    let mut eighth = Imap::connect(stage.imap()).await?;
    eighth.login("alice").await?;
    ravenry.edit("max_sessions = 8\n", "max_sessions = 2\n")?;
    ravenry.cli(&["reload"]).await?.success()?;
    ensure!(Imap::connect(stage.imap()).await.is_err(), "fewer from now on");
    eighth.run("NOOP").await?.ok()?;
    drop(eighth);

    // What needs a restart is told, and counted, until the file says again what runs.
    ravenry.edit("[master]\n", "[master]\nconnections = 3\n")?;
    let told = ravenry.cli(&["reload"]).await?.success()?.stdout;
    ensure!(told.contains("in force after a restart: master.connections\n"), "{told}");
    ensure!(ravenry.log()?.contains("in force only after a restart"), "{}", ravenry.log()?);
    ensure!(ravenry.scrape().await?.contains("ravenry_config_restart_needed 1\n"));
    let told = ravenry.cli(&["status"]).await?.success()?.stdout;
    ensure!(told.contains("in force after a restart: master.connections\n"), "{told}");
    ravenry.edit("[master]\nconnections = 3\n", "[master]\n")?;
    ravenry.edit(&one, &both)?;
    ravenry.signal("HUP").await?;
    eventually(SOON, "nothing that needs a restart", async || {
        Ok(ravenry.scrape().await?.contains("ravenry_config_restart_needed 0\n").then_some(()))
    })
    .await?;
    ravenry
        .wait_for(SOON, "both frontends", |now| now["imap"]["frontends"].as_array().map(Vec::len) == Some(2))
        .await?;
    for session in at_first.iter_mut().chain(&mut later) {
        session.run("NOOP").await?.ok()?;
    }
    let same = ravenry.status().await?["stream_detail"].clone();
    let since = |streams: &serde_json::Value| {
        let all = streams.as_array().cloned().unwrap_or_default();
        all.iter().map(|stream| (stream["peer"].clone(), stream["since"].clone())).collect::<Vec<_>>()
    };
    let (mut before, mut after) = (since(&streams), since(&same));
    before.sort_by_key(|(peer, _)| peer.to_string());
    after.sort_by_key(|(peer, _)| peer.to_string());
    ensure!(before.len() == 2 && before == after, "{streams} became {same}");
    drop((at_first, later));
    stage.stop().await
}

/// What Ravenry says and decides by is read again too: its password at the master, and how much the guard lets pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_and_the_guard_change_while_the_murder_is_served() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, "").await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    murder.create_user("alice", &murder.be1).await?;
    let mut alice = murder.fe1.imap("alice").await?;

    // Another password: the link that is there goes on, the next one is refused, and then let in again.
    let file = ravenry.home().join("master-password");
    let right = std::fs::read(&file)?;
    std::fs::write(&file, "not the password any more")?;
    ravenry.cli(&["reload"]).await?.success()?;
    alice.create("INBOX.before").await?.ok()?;
    ensure!(ravenry.status().await?["state"] == "following", "the reload cost the link");
    stage.to_master.cut_all();
    ravenry.wait_for_state("standing-in", SOON).await?;
    // Cyrus says no only after 3 s, when nobody listens any more: what can be seen is that it lets nobody in.
    tokio::time::sleep(Duration::from_secs(5)).await;
    ensure!(ravenry.status().await?["master"]["connected"] == false, "the wrong password was taken");
    alice.create("INBOX.meanwhile").await?.ok()?;
    std::fs::write(&file, right)?;
    ravenry.cli(&["reload"]).await?.success()?;
    ravenry.wait_for_state("following", SOON).await?;

    // Four deletes of the master's own, twice: within the guard's usual measure, and beyond a stricter one.
    let mut master = murder.mm.mupdate().await?;
    let names = |all: &str| all.chars().map(|c| format!("user.alice.{c}")).collect::<Vec<_>>();
    for name in names("abcdefgh") {
        master.activate(&name, &murder.be1.location(), "alice\tlrs\t").await?.ok()?;
    }
    ravenry.wait_for(SOON, "eight names more", |now| now["entries"] == 11).await?;
    for name in names("abcd") {
        master.delete(&name).await?.ok()?;
    }
    // alice, what she made, and the other four.
    ravenry.wait_for(SOON, "four names gone", |now| now["entries"] == 7).await?;
    ensure!(ravenry.status().await?["state"] == "following");
    ravenry.edit("[admin]\n", "[guard]\nat_most = 3\n[admin]\n")?;
    let told = ravenry.cli(&["reload"]).await?.success()?.stdout;
    ensure!(told.contains("in force from now on: guard.at_most\n"), "{told}");
    for name in names("efgh") {
        master.delete(&name).await?.ok()?;
    }
    ravenry.wait_for_state("holding", SOON).await?;
    // What the master deleted, the first four of the burst among them, stays with everybody else until a person decides.
    let held = names("abcdefgh");
    stage.stop_but_for(|difference| held.iter().any(|name| difference.is_about(name))).await
}

async fn reloaded(ravenry: &Ravenry, successful: u8) -> Result<()> {
    let line = format!("ravenry_config_last_reload_successful {successful}\n");
    eventually(SOON, format!("{line:?}"), async || Ok(ravenry.scrape().await?.contains(&line).then_some(())))
        .await
        .map(drop)
}
