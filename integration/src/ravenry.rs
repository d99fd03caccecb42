//! The `ravenry` binary as a process on the host, beside the murder.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::clients::PASSWORD;
use crate::deadline::{eventually, within};
use crate::engine::Output;
use crate::monitors;
use crate::traces;

/// Enough for any command of the command line, and for a graceful end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that Ravenry itself has to say: a story that fails tells it.
const LOGGED: &str = "info,ravenry=debug";

/// Where Ravenry stands.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the murder finds it; usually the gateway's address, port 3905.
    pub listen: SocketAddr,
    /// Where it finds the real master, or a relay before it.
    pub master: SocketAddr,
    /// Further lines for its configuration file, after all sections; `{home}` in them is the directory of its files,
    /// where `master-password` holds everybody's password.
    pub extra: String,
}

/// A Ravenry with its files in a directory of its own. Dropping it kills the process. Unless it came to
/// [`Ravenry::stop`], the story failed, and its files are kept.
#[derive(Debug)]
pub struct Ravenry {
    settings: Settings,
    metrics: SocketAddr,
    directory: Option<TempDir>,
    home: PathBuf,
    child: Option<Child>,
}

impl Ravenry {
    /// Writes the configuration and the account that Cyrus's nodes use. Nothing runs yet.
    pub async fn prepare(settings: Settings) -> Result<Self> {
        let directory = TempDir::with_prefix("ravenry-story-")?;
        let home = directory.path().to_owned();
        let metrics = free_port()?;
        let ravenry = Self { settings, metrics, directory: Some(directory), home, child: None };
        tokio::fs::create_dir_all(ravenry.home.join("state")).await?;
        tokio::fs::write(ravenry.home.join("master-password"), PASSWORD).await?;
        tokio::fs::write(ravenry.config_path(), ravenry.config()).await?;
        ravenry.add_user("murder").await?;
        Ok(ravenry)
    }

    /// [`Ravenry::prepare`] and [`Ravenry::launch`].
    pub async fn start(settings: Settings) -> Result<Self> {
        let mut ravenry = Self::prepare(settings).await?;
        ravenry.launch().await?;
        Ok(ravenry)
    }

    /// Starts the process, with whatever state an earlier one left. Does not wait for anything.
    pub async fn launch(&mut self) -> Result<()> {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path())?;
        let child = self
            .command()?
            .arg("serve")
            .env("RAVENRY_LOG", LOGGED)
            .stdout(log.try_clone()?)
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.context("starting ravenry")?);
        Ok(())
    }

    /// Pulls the power: SIGKILL.
    pub async fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            within(PATIENCE, "killing ravenry", async { Ok(child.kill().await?) }).await?;
        }
        Ok(())
    }

    /// Asks it to end: SIGTERM. Returns how it ended.
    pub async fn terminate(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("ravenry does not run")?;
        signal(&child, "TERM").await?;
        within(PATIENCE, "ravenry ending after SIGTERM", async { Ok(child.wait().await?) }).await
    }

    /// The good end of a story: ends the process if it runs, and removes its files.
    pub async fn stop(mut self) -> Result<()> {
        if self.is_running() {
            let status = self.terminate().await?;
            anyhow::ensure!(status.success(), "ravenry ended with {status} after SIGTERM");
        }
        self.directory = None;
        Ok(())
    }

    /// Freezes the process (`STOP`), lets it go on (`CONT`), or sends any other signal.
    pub async fn signal(&self, name: &str) -> Result<()> {
        signal(self.child.as_ref().context("ravenry does not run")?, name).await
    }

    /// The power comes back: kill, then start with the same state.
    pub async fn crash_and_restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.launch().await
    }

    /// Whether the process runs; when it ended by itself, that is no longer so.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// The process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Changes its configuration file: the next start reads it.
    pub fn edit(&self, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.config_path())?;
        anyhow::ensure!(text.contains(from), "there is no {from:?} in the configuration");
        Ok(std::fs::write(self.config_path(), text.replacen(from, to, 1))?)
    }

    /// Where it listens for the murder.
    pub fn address(&self) -> SocketAddr {
        self.settings.listen
    }

    /// Where its metrics are.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// The directory that holds its configuration, state and log.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Everything it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log_path())?)
    }

    /// Runs a command of the command line against it: `&["plan"]`.
    pub async fn cli(&self, args: &[&str]) -> Result<Output> {
        self.cli_with_input(args, "").await
    }

    /// What `status --json` says.
    pub async fn status(&self) -> Result<Value> {
        let output = self.cli(&["status", "--json"]).await?.success()?;
        serde_json::from_str(&output.stdout).with_context(|| format!("status is no JSON: {}", output.stdout))
    }

    /// Waits until it says that it is in this state: `following`, `standing-in` … Returns how long it took.
    pub async fn wait_for_state(&self, state: &str, limit: Duration) -> Result<Duration> {
        self.wait_for(limit, &format!("state {state}"), |status| status["state"] == state).await
    }

    /// Waits until its status satisfies a condition. Returns how long it took.
    pub async fn wait_for(
        &self,
        limit: Duration,
        what: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Result<Duration> {
        let mut seen = Value::Null;
        let waited = eventually(limit, format!("ravenry: {what}"), async || {
            seen = self.status().await?;
            Ok(is(&seen).then_some(()))
        })
        .await;
        match waited {
            Ok(((), time)) => Ok(time),
            Err(error) => Err(error.context(format!("its last status was {seen}"))),
        }
    }

    /// Its metrics, as Prometheus would scrape them.
    pub async fn scrape(&self) -> Result<String> {
        Ok(monitors::get(self.metrics, "/metrics").await?.1)
    }

    /// Lets somebody log in, with everyone's password.
    pub async fn add_user(&self, name: &str) -> Result<()> {
        self.cli_with_input(&["user", "add", name], PASSWORD)
            .await?
            .success()
            .context("ravenry user add")
            .map(drop)
    }

    async fn cli_with_input(&self, args: &[&str], input: &str) -> Result<Output> {
        within(PATIENCE, format!("ravenry {}", args.join(" ")), async {
            let mut command = self.command()?;
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                // A command that reads no input may have ended by now.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            let output = child.wait_with_output().await?;
            Ok(Output {
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                exit: output.status.code().map_or(-1, i64::from),
            })
        })
        .await
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("--config").arg(self.config_path()).kill_on_drop(true);
        Ok(command)
    }

    fn config_path(&self) -> PathBuf {
        self.home.join("ravenry.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.home.join("ravenry.log")
    }

    fn config(&self) -> String {
        format!(
            "state_dir = \"{home}/state\"\n\n\
             [mupdate]\nlisten = [\"{listen}\"]\nusers_file = \"{home}/users\"\nallow_plaintext = true\n\n\
             [master]\naddress = \"{master}\"\nuser = \"murder\"\npassword_file = \"{home}/master-password\"\n\n\
             [admin]\nsocket = \"{home}/admin.sock\"\n\n\
             [metrics]\nlisten = \"{metrics}\"\n\n{extra}",
            home = self.home.display(),
            listen = self.settings.listen,
            master = self.settings.master,
            metrics = self.metrics,
            extra = self.settings.extra.replace("{home}", &self.home.display().to_string()),
        )
    }
}

impl Drop for Ravenry {
    fn drop(&mut self) {
        if let Some(directory) = self.directory.take().filter(|_| traces::are_wanted()) {
            eprintln!("ravenry's files are in {}", directory.keep().display());
        }
    }
}

async fn signal(child: &Child, name: &str) -> Result<()> {
    let pid = child.id().context("ravenry has ended")?.to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().await?;
    anyhow::ensure!(status.success(), "kill -{name} {pid}: {status}");
    Ok(())
}

/// The binary: the one that `RAVENRY_BIN` names, else the newer one of the workspace's own builds.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RAVENRY_BIN") {
        return Ok(path.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let built = ["release", "debug"].map(|profile| target.join(profile).join("ravenry"));
    let newest = built.into_iter().max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok());
    match newest {
        Some(path) if path.is_file() => Ok(path),
        _ => bail!("there is no ravenry binary: run `cargo build`, or set RAVENRY_BIN"),
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
