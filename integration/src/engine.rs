//! The container engine: one that answers, or a clear word about why there is none.

use std::time::Duration;

use anyhow::{Context, Result};
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::exec::StartExecResults;
use bollard::models::ExecConfig;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;

use crate::deadline::within;

const ANSWER: Duration = Duration::from_secs(10);

/// A connection to a running container engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
}

/// What a command inside a container printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit status.
    pub exit: i64,
}

impl Output {
    /// The output, or an error that shows everything when the command failed.
    pub fn success(self) -> Result<Self> {
        anyhow::ensure!(
            self.exit == 0,
            "exit status {}\nstdout: {}\nstderr: {}",
            self.exit,
            self.stdout.trim_end(),
            self.stderr.trim_end()
        );
        Ok(self)
    }

    /// Everything that it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Engine {
    /// Connects to the engine that `DOCKER_HOST` names, or to the local one.
    pub async fn connect() -> Result<Self> {
        let docker = within(ANSWER, "asking the container engine for its version", async {
            Ok(Docker::connect_with_defaults()?.negotiate_version().await?)
        })
        .await
        .context(
            "no container engine answers: start one (as root on Debian: apt-get install docker.io iptables, \
             then dockerd), or point DOCKER_HOST at one",
        )?;
        Ok(Self { docker })
    }

    /// The engine's own interface.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Runs a command in a container, as `user`, to its end.
    pub async fn exec(
        &self,
        container: &str,
        user: &str,
        command: &[&str],
        limit: Duration,
    ) -> Result<Output> {
        self.feed(container, user, command, &[], limit).await
    }

    /// [`Engine::exec`] with something to read.
    pub async fn feed(
        &self,
        container: &str,
        user: &str,
        command: &[&str],
        bytes: &[u8],
        limit: Duration,
    ) -> Result<Output> {
        let what = format!("{} in {container}", command.join(" "));
        within(limit, what, async {
            let config = ExecConfig {
                attach_stdin: Some(!bytes.is_empty()),
                attach_stdout: Some(true),
                attach_stderr: Some(true),
                user: Some(user.to_owned()),
                cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
                ..Default::default()
            };
            let id = self.docker.create_exec(container, config).await?.id;
            let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
            let started = self.docker.start_exec(&id, None).await?;
            if let StartExecResults::Attached { mut output, mut input } = started {
                let feed = async {
                    // A command that does not read all of it may have ended by now.
                    let _ = input.write_all(bytes).await;
                    let _ = input.shutdown().await;
                    anyhow::Ok(())
                };
                let hear = async {
                    while let Some(piece) = output.next().await {
                        match piece? {
                            LogOutput::StdErr { message } => stderr.extend_from_slice(&message),
                            other => stdout.extend_from_slice(&other.into_bytes()),
                        }
                    }
                    anyhow::Ok(())
                };
                tokio::try_join!(feed, hear)?;
            }
            let exit = self.docker.inspect_exec(&id).await?.exit_code;
            Ok(Output {
                stdout: String::from_utf8_lossy(&stdout).into_owned(),
                stderr: String::from_utf8_lossy(&stderr).into_owned(),
                exit: exit.context("the engine gave no exit status")?,
            })
        })
        .await
    }
}
