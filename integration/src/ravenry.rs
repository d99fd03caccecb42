//! The `ravenry` binary as a process on the host, beside the murder.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
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

/// Everything that Ravenry itself has to say: a story that fails tells it. Benchmarks want less (`RAVENRY_LOG`).
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

/// Where and how the process runs, if not as usual.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// Where its directory is made; the system's place for temporary files by default.
    pub within: Option<PathBuf>,
    /// A process whose network and share of the processor it joins; needs root.
    pub beside: Option<u32>,
    /// The binary; see [`Ravenry::prepare`] for the default.
    pub binary: Option<PathBuf>,
    /// What a service manager would put into its environment.
    pub environment: Vec<(String, String)>,
    /// A socket that a service manager would listen on for it, and its name.
    pub socket: Option<(String, Arc<TcpListener>)>,
}

/// The exit status of a command whose change nobody confirmed, or with the wrong number.
pub const NOT_CONFIRMED: i64 = 77;

/// A Ravenry with its files in a directory of its own. Dropping it kills the process. Unless it came to
/// [`Ravenry::stop`], the story failed, and its files are kept.
#[derive(Debug)]
pub struct Ravenry {
    settings: Settings,
    site: Site,
    metrics: SocketAddr,
    directory: Option<TempDir>,
    home: PathBuf,
    child: Option<Child>,
}

impl Ravenry {
    /// Writes the configuration and the account that Cyrus's nodes use. Nothing runs yet. The binary is the one
    /// that `RAVENRY_BIN` names, else the newer one of the workspace's own builds.
    pub async fn prepare(settings: Settings) -> Result<Self> {
        Self::prepare_at(settings, Site::default()).await
    }

    /// [`Ravenry::prepare`], somewhere else.
    pub async fn prepare_at(settings: Settings, site: Site) -> Result<Self> {
        let within = site.within.clone().unwrap_or_else(std::env::temp_dir);
        let directory = TempDir::with_prefix_in("ravenry-story-", within)?;
        let home = directory.path().to_owned();
        let metrics = free_port()?;
        let ravenry = Self { settings, site, metrics, directory: Some(directory), home, child: None };
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
        let mut command = self.command()?;
        command.arg("serve").stdin(Stdio::null());
        if let Some((name, socket)) = &self.site.socket {
            command = passing(&command, name, socket)?;
        }
        let child = command
            .env("RAVENRY_LOG", std::env::var("RAVENRY_LOG").unwrap_or_else(|_| LOGGED.to_owned()))
            .envs(self.site.environment.iter().cloned())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        self.child = Some(child.context("starting ravenry")?);
        Ok(())
    }

    /// Names another master in its configuration, for the next launch.
    pub async fn set_master(&mut self, master: SocketAddr) -> Result<()> {
        self.settings.master = master;
        Ok(tokio::fs::write(self.config_path(), self.config()).await?)
    }

    /// Gives it an environment, for the next launch.
    pub fn set_environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        self.site.environment = environment.into_iter().collect();
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

    /// Waits for its end, which comes by itself. Returns how it ended.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context("ravenry does not run")?;
        within(PATIENCE, "ravenry ending by itself", async { Ok(child.wait().await?) }).await
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

    /// Its process.
    pub fn pid(&self) -> Result<u32> {
        self.child.as_ref().and_then(Child::id).context("ravenry does not run")
    }

    /// Its memory, in KiB.
    pub fn resident(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that its memory ever was, in KiB.
    pub fn peak(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, key: &str) -> Result<u64> {
        let pid = self.pid()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(key)).context("it has ended")?;
        Ok(line.trim_end_matches("kB").trim().parse()?)
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
        self.cli_within(PATIENCE, args).await
    }

    /// [`Ravenry::cli`] for what takes its time.
    pub async fn cli_within(&self, limit: Duration, args: &[&str]) -> Result<Output> {
        self.cli_with_input(limit, args, "").await
    }

    /// Replaces its configuration file: the next start reads it.
    pub fn configure(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(self.config_path(), text)?)
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
        self.cli_with_input(PATIENCE, &["user", "add", name], PASSWORD)
            .await?
            .success()
            .context("ravenry user add")
            .map(drop)
    }

    async fn cli_with_input(&self, limit: Duration, args: &[&str], input: &str) -> Result<Output> {
        within(limit, format!("ravenry {}", args.join(" ")), async {
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

    /// A command of its command line, its configuration named.
    pub fn command(&self) -> Result<Command> {
        let binary = match &self.site.binary {
            Some(binary) => binary.clone(),
            None => binary()?,
        };
        let mut command = match self.site.beside {
            None => Command::new(binary),
            Some(pid) => {
                // The shell becomes the process in the end: the pid is Ravenry's own.
                let join = "echo $$ > \"$1\" && shift && exec nsenter \"$@\"";
                let mut command = Command::new("sh");
                command.args(["-c", join, "sh"]).arg(processor_share(pid)?);
                command.arg(format!("--net=/proc/{pid}/ns/net")).arg("--").arg(binary);
                command
            }
        };
        command.arg("--config").arg(self.config_path()).kill_on_drop(true);
        Ok(command)
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
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

/// The same command with a socket as its descriptor 3, as sd_listen_fds(3) has it. The shell becomes the process.
fn passing(command: &Command, name: &str, socket: &TcpListener) -> Result<Command> {
    let pass =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=\"$1\" && shift && exec \"$@\" 3<&0 0</dev/null";
    let mut passing = Command::new("sh");
    passing
        .args(["-c", pass, "sh", name])
        .arg(command.as_std().get_program())
        .args(command.as_std().get_args());
    passing.stdin(Stdio::from(OwnedFd::from(socket.try_clone()?))).kill_on_drop(true);
    Ok(passing)
}

async fn signal(child: &Child, name: &str) -> Result<()> {
    let pid = child.id().context("ravenry has ended")?.to_string();
    let status = Command::new("kill").args([&format!("-{name}"), &pid]).status().await?;
    anyhow::ensure!(status.success(), "kill -{name} {pid}: {status}");
    Ok(())
}

/// The binary: the one that `RAVENRY_BIN` names, else the newer one of the workspace's own builds.
pub fn binary() -> Result<PathBuf> {
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

/// Where a process's control group of the processor takes members.
fn processor_share(pid: u32) -> Result<PathBuf> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let group = groups.lines().find_map(|line| {
        let (_, line) = line.split_once(':')?;
        let (controllers, path) = line.split_once(':')?;
        let path = path.strip_prefix('/')?;
        match controllers {
            // Version 2 has one hierarchy; beside version 1 it holds no controllers.
            "" => Some(Path::new("/sys/fs/cgroup").join(path)),
            _ if controllers.split(',').any(|controller| controller == "cpu") => {
                Some(Path::new("/sys/fs/cgroup").join(controllers).join(path))
            }
            _ => None,
        }
    });
    Ok(group.context("the process is in no control group")?.join("cgroup.procs"))
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
