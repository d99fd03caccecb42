//! Two hundred mail sessions at two frontends, one of which hangs, is killed, and is drained: its sessions end in
//! order and within the bound, the other's go on, and new ones are served.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ravenry_integration::clients::{Completion, Imap};
use ravenry_integration::deadline::{eventually, within};
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::{IMAP, Stage};
use serde_json::Value;
use tokio::task::JoinSet;

const SESSIONS: usize = 200;
const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];
const NEWCOMERS: usize = 8;

/// What `frontend_silence` and a check allow, with fivefold slack.
const BOUND: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// The users in turn, for ever.
fn users() -> impl Iterator<Item = &'static str> {
    USERS.into_iter().cycle()
}

/// The sessions that are alive.
struct Crowd<'a> {
    stage: &'a Stage,
    clients: Vec<Imap>,
}

async fn open(stage: &Stage, user: &str) -> Result<Imap> {
    let mut client = Imap::connect(stage.imap()).await?;
    client.set_patience(BOUND);
    client.login(user).await?;
    client.select("INBOX").await?.ok()?;
    Ok(client)
}

impl Crowd<'_> {
    /// Opens sessions until there are so many.
    async fn fill(&mut self) -> Result<()> {
        for user in users().take(SESSIONS - self.clients.len()) {
            let at = self.clients.len();
            self.clients.push(open(self.stage, user).await.with_context(|| format!("session {at}"))?);
        }
        Ok(())
    }

    /// Asks in all sessions at once; answers how many ended, each with a farewell.
    async fn ask(&mut self) -> Result<usize> {
        let mut asking = JoinSet::new();
        for mut client in std::mem::take(&mut self.clients) {
            asking.spawn(async move {
                match client.run("NOOP").await {
                    Ok(answer) if answer.completion == Completion::Ok => Ok(Some(client)),
                    Err(error) if format!("{error:#}").contains("* BYE [UNAVAILABLE]") => Ok(None),
                    other => bail!("{other:?}"),
                }
            });
        }
        let mut ended = 0;
        while let Some(asked) =
            within(PATIENCE, "the sessions' answers", async { Ok(asking.join_next().await) }).await?
        {
            match asked?? {
                Some(client) => self.clients.push(client),
                None => ended += 1,
            }
        }
        Ok(ended)
    }

    async fn newcomers_are_served(&self) -> Result<()> {
        for user in users().take(NEWCOMERS) {
            let mut client = within(BOUND, "a new session", open(self.stage, user)).await?;
            client.run("NOOP").await?.ok()?;
        }
        Ok(())
    }

    async fn frontends_are_up(&self) -> Result<()> {
        eventually(PATIENCE, "both frontends being up", async || {
            let status = self.stage.ravenry.status().await?;
            let frontends = status.pointer("/imap/frontends").and_then(Value::as_array);
            let up = |frontend: &Value| frontend.get("down").is_some_and(Value::is_null);
            Ok(frontends.context("no frontends")?.iter().all(up).then_some(()))
        })
        .await?;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_frontend_ends_its_sessions_in_order_and_no_others() -> Result<()> {
    let config = format!("{IMAP}frontend_silence = \"3s\"\n");
    let stage = Stage::start(Plan::chosen()?, &config).await?;
    let (murder, ravenry) = (&stage.murder, &stage.ravenry);
    for (user, backend) in USERS.into_iter().zip(murder.backends().into_iter().cycle()) {
        murder.create_user(user, backend).await?;
    }
    let mut crowd = Crowd { stage: &stage, clients: Vec::new() };
    crowd.fill().await?;

    murder.fe1.pause().await?;
    let ended = crowd.ask().await?;
    println!("paused: {ended} of {SESSIONS} sessions ended");
    ensure!(ended == SESSIONS / 2, "{ended} ended");
    crowd.newcomers_are_served().await?;
    ensure!(crowd.ask().await? == 0, "those of the other frontend go on");
    murder.fe1.unpause().await?;

    crowd.frontends_are_up().await?;
    crowd.fill().await?;
    murder.fe1.kill_cyrus().await?;
    crowd.newcomers_are_served().await?;
    let ended = crowd.ask().await?;
    println!("killed: {ended} of {SESSIONS} sessions ended");
    ensure!(ended > 0 && crowd.clients.len() >= SESSIONS / 2, "{ended} ended");
    ensure!(crowd.ask().await? == 0, "those of the other frontend go on");
    murder.fe1.start_cyrus().await?;
    murder.fe1.wait_until_up().await?;

    crowd.frontends_are_up().await?;
    crowd.fill().await?;
    let address = murder.fe1.imap_address().to_string();
    ravenry.cli(&["frontend", "drain", &address]).await?.success()?;
    crowd.newcomers_are_served().await?;
    let ended = crowd.ask().await? + crowd.ask().await?;
    println!("drained: {ended} of {SESSIONS} sessions ended");
    ensure!(ended > 0 && crowd.clients.len() >= SESSIONS / 2, "{ended} ended");
    let status = ravenry.status().await?;
    let frontends = status["imap"]["frontends"].as_array().context("no frontends")?;
    let drained = frontends.iter().find(|frontend| frontend["address"] == address.as_str());
    ensure!(drained.is_some_and(|frontend| frontend["in_use"] == 0), "{status}");
    ravenry.cli(&["frontend", "resume", &address]).await?.success()?;
    drop(crowd);
    stage.stop().await
}
