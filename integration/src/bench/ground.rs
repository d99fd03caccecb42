//! The machine, and where everything's files lie.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use super::report::quantile;
use super::say;
use crate::deadline::within;

/// For a release build on a busy machine.
const BUILD: Duration = Duration::from_secs(30 * 60);

/// For how long the disk alone is asked to make one page durable after the other: its slowest answer is the least
/// that the slowest write of anybody can be.
const SYNCING: Duration = Duration::from_secs(10);
/// The same where figures mean nothing.
const SYNCING_SMOKE: Duration = Duration::from_millis(100);

/// One directory on one filesystem, and the binary.
#[derive(Debug)]
pub(crate) struct Ground {
    directory: TempDir,
    pub(crate) binary: Option<PathBuf>,
}

impl Ground {
    /// As root; `release` builds Ravenry as it is shipped.
    pub(crate) async fn prepare(release: bool) -> Result<Self> {
        let root = Command::new("id").arg("-u").output().await?;
        ensure!(
            root.stdout.trim_ascii() == b"0",
            "run it as root: Ravenry joins the master's network namespace"
        );
        let binary = if release { Some(release_binary().await?) } else { None };
        // Not in /tmp, which may be memory: both sides must be durable.
        let target = target();
        std::fs::create_dir_all(&target)?;
        Ok(Self { directory: TempDir::with_prefix_in("bench-", target)?, binary })
    }

    /// A new directory below.
    pub(crate) fn directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Facts that the figures depend on.
    pub(crate) async fn describe(&self) -> Result<Vec<(&'static str, String)>> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = read("/proc/meminfo");
        let kib = memory.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        let gib = kib.unwrap_or_default() as f64 / f64::from(1 << 20);
        let date = Command::new("date").args(["-u", "+%F %H:%M UTC"]).output().await?;
        let load = read("/proc/loadavg");
        Ok(vec![
            ("date", String::from_utf8_lossy(&date.stdout).trim().to_owned()),
            (
                "machine",
                format!("{cores} cores,{}, {gib:.0} GiB", model.trim_start_matches(['\t', ' ', ':']).trim())
                    .replace(",", ", ")
                    .replace("  ", " "),
            ),
            ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("disk", self.disk()?),
            ("load average at the end", load.split(' ').take(3).collect::<Vec<_>>().join(" ")),
        ])
    }

    /// The filesystem, and how long it takes to make 4 KiB durable when nobody else asks it to.
    fn disk(&self) -> Result<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let here = self.directory.path().canonicalize()?;
        let mount = mounts
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                let (device, at, kind) = (words.next()?, words.next()?, words.next()?);
                here.starts_with(at).then_some((at.len(), format!("{kind} on {device}")))
            })
            .max();
        let file = std::fs::File::create(here.join("sync"))?;
        // Its length does not change from here on, like that of the store's log.
        file.write_all_at(&[0; 4096], 0)?;
        file.sync_all()?;
        let syncing = if self.binary.is_some() { SYNCING } else { SYNCING_SMOKE };
        let (mut times, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < syncing {
            file.write_all_at(&[1; 4096], 0)?;
            let start = Instant::now();
            file.sync_data()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        let at = |share| quantile(&times, share).unwrap_or_default();
        Ok(format!(
            "{}, fdatasync of 4 KiB in place, {} times one after the other: median {:.2} ms, 99 % {:.2} ms, slowest {:.1} ms",
            mount.map(|(_, text)| text).unwrap_or_default(),
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0),
        ))
    }
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

/// Builds Ravenry as it is shipped, so that a figure is never one of an older or a debug build.
async fn release_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RAVENRY_BIN") {
        return Ok(path.into());
    }
    say("building ravenry in release mode");
    within(BUILD, "building ravenry", async {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args(["build", "--release", "--locked", "--package", "ravenry", "--manifest-path"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .context("running cargo")?;
        ensure!(status.success(), "cargo build: {status}");
        Ok(())
    })
    .await?;
    Ok(target().join("release/ravenry"))
}
