//! A disk that is full, or fails, under a process that runs: as root, a file system in memory and strace.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::process::{Child, Command};

use crate::deadline::{eventually, within};

/// Enough to attach to every thread, or to let go of them, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = Command::new(program).args(args).status().await.with_context(|| program.to_owned())?;
    ensure!(status.success(), "{program} {args:?}: {status}");
    Ok(())
}

/// A small file system over a directory, until it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of so many KiB.
    pub async fn over(directory: &Path, kib: u32) -> Result<Self> {
        let size = format!("size={kib}k");
        run("mount", &["-t", "tmpfs", "-o", &size, "small", &directory.to_string_lossy()]).await?;
        Ok(Self(directory.to_owned()))
    }

    /// Makes it larger, or smaller.
    pub async fn resize(&self, kib: u32) -> Result<()> {
        self.remount(&format!("size={kib}k")).await
    }

    /// Lets it hold so many files and directories.
    pub async fn limit_files(&self, files: u32) -> Result<()> {
        self.remount(&format!("nr_inodes={files}")).await
    }

    async fn remount(&self, option: &str) -> Result<()> {
        run("mount", &["-o", &format!("remount,{option}"), &self.0.to_string_lossy()]).await
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that is killed at this moment may still have files open.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// strace at every thread of a process.
#[derive(Debug)]
struct Tracer {
    strace: Child,
    log: PathBuf,
}

impl Tracer {
    async fn begin(pid: u32, options: &[&str]) -> Result<Self> {
        let log = std::env::temp_dir().join(format!("ravenry-strace-{pid}-{}", fastrand::u32(..)));
        let strace = Command::new("strace")
            .args(["-f", "-qq"])
            .args(options)
            .arg("-o")
            .arg(&log)
            .args(["-p", &pid.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("strace cannot be run: install it (apt-get install strace)")?;
        let attached = eventually(PATIENCE, "strace at every thread", async || {
            let mut tasks = std::fs::read_dir(format!("/proc/{pid}/task"))?;
            let all = tasks.all(|task| {
                let status = task.and_then(|task| std::fs::read_to_string(task.path().join("status")));
                status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
            });
            Ok(all.then_some(()))
        });
        attached.await?;
        Ok(Self { strace, log })
    }

    /// Lets go of the process; what was seen.
    async fn end(mut self) -> Result<String> {
        let pid = self.strace.id().context("strace has ended")?.to_string();
        run("kill", &["-TERM", &pid]).await?;
        within(PATIENCE, "strace ending", async { Ok(self.strace.wait().await?) }).await?;
        let told = std::fs::read_to_string(&self.log)?;
        std::fs::remove_file(&self.log)?;
        Ok(told)
    }
}

/// System calls of a process that fail as long as this lives.
#[derive(Debug)]
pub struct Injection(Tracer);

impl Injection {
    /// From now on these calls on that file fail with this error: `"fsync,fdatasync"`, `"EIO"`.
    pub async fn begin(pid: u32, calls: &str, error: &str, file: &Path) -> Result<Self> {
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:error={error}"));
        let file = file.to_string_lossy();
        Ok(Self(Tracer::begin(pid, &["-e", &trace, "-e", &inject, "-P", &file]).await?))
    }

    /// The calls work again. How many have failed.
    pub async fn end(self) -> Result<usize> {
        Ok(self.0.end().await?.matches("(INJECTED)").count())
    }
}

/// Counts how often a process asks its disk to make something durable.
#[derive(Debug)]
pub struct Syncs(Tracer);

impl Syncs {
    /// From now on.
    pub async fn begin(pid: u32) -> Result<Self> {
        let calls = "trace=fsync,fdatasync,msync,sync,syncfs,sync_file_range";
        // `-y`: with the path of each descriptor.
        Ok(Self(Tracer::begin(pid, &["-y", "-e", calls]).await?))
    }

    /// How often it was for a file below this directory, or for everything.
    pub async fn end(self, below: &Path) -> Result<usize> {
        let (told, below) = (self.0.end().await?, below.to_string_lossy().into_owned());
        let everything = |line: &str| line.contains("sync()") || line.contains("msync(");
        Ok(told.lines().filter(|line| line.contains(&below) || everything(line)).count())
    }
}

/// Lets a process open files only with numbers below this one. What it has open stays open.
pub async fn limit_open_files(pid: u32, below: u32) -> Result<()> {
    run("prlimit", &["--pid", &pid.to_string(), &format!("--nofile={below}:")]).await
}
