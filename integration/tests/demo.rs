//! The demonstration that the README begins with.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ravenry_integration::deadline::within;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// It takes about 45 s; the master's frontends alone sleep for up to 29 s. With time to wait for other murders.
const LIMIT: Duration = Duration::from_secs(300);

fn demo() -> Result<Child> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let mut command = Command::new(script);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().context(script)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demonstration_shows_what_it_promises() -> Result<()> {
    let output = within(LIMIT, "the demonstration", async { Ok(demo()?.wait_with_output().await?) }).await?;
    let shown = String::from_utf8(output.stdout)?;
    ensure!(output.status.success(), "{}\n{shown}", output.status);
    ensure!(!shown.contains('\x1b'), "colours where nobody watches");
    // Each step of the outage: refused without Ravenry, done with it.
    let steps = [
        "alice makes a folder, Project",
        "she renames Draft",
        "she lets bob read",
        "she deletes Junk",
        "an administrator makes",
        "mail for carol arrives at fe1",
        "mail for carol arrives at fe2",
    ];
    for step in steps {
        let row =
            shown.lines().find(|line| line.contains(step)).with_context(|| format!("{step}\n{shown}"))?;
        ensure!(row.contains("✗ NO ") || row.contains("✗ 550 "), "without Ravenry: {row}");
        ensure!(row.contains("+ OK ") || row.contains("+ 250 "), "with Ravenry: {row}");
    }
    ensure!(shown.contains("With Ravenry: every change was made"), "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_removes_everything_even_while_it_starts() -> Result<()> {
    let mut demo = demo()?;
    let pid = demo.id().context("it has ended")?.to_string();
    let mut shown = BufReader::new(demo.stdout.take().context("no output")?).lines();
    let started = async {
        while let Some(line) = shown.next_line().await? {
            if line.contains("starting two murders") {
                return Ok(());
            }
        }
        anyhow::bail!("it ended before it began")
    };
    within(LIMIT, "the demonstration beginning", started).await?;
    let running = async {
        while left_of(&pid).await?.len() < 5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    };
    within(LIMIT, "some hosts running", running).await?;
    let status = Command::new("kill").args(["-INT", &pid]).status().await?;
    ensure!(status.success(), "kill -INT {pid}: {status}");
    let ended = within(LIMIT, "the demonstration ending", async { Ok(demo.wait().await?) }).await?;
    ensure!(ended.code() == Some(130), "{ended}");
    let left = left_of(&pid).await?;
    ensure!(left.is_empty(), "left: {left:?}");
    let mut rest = String::new();
    shown.into_inner().read_to_string(&mut rest).await?;
    ensure!(!rest.contains("With Ravenry"), "it went on: {rest}");
    Ok(())
}

/// The containers and networks of a process; a process that is gone should have none.
async fn left_of(pid: &str) -> Result<Vec<String>> {
    let label = format!("label=ravenry.integration.pid={pid}");
    let mut left = Vec::new();
    for what in [["ps", "-a"], ["network", "ls"]] {
        let output = Command::new("docker").args(what).args(["--quiet", "--filter", &label]).output().await?;
        ensure!(output.status.success(), "docker {what:?}: {}", String::from_utf8_lossy(&output.stderr));
        left.extend(String::from_utf8(output.stdout)?.lines().map(str::to_owned));
    }
    Ok(left)
}
