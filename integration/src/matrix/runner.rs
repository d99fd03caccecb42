//! Runs one story on one release, and reads how its tests ended.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::Outcome;
use crate::deadline::within;
use crate::murder::{Suite, ensure_image};

/// The longest story takes a tenth of it.
const STORY: Duration = Duration::from_secs(45 * 60);
/// What takes minutes begins first, so that it does not end last.
const LONG: [&str; 3] = ["hundred_thousand", "left_over", "moves"];
const QUICK: Duration = Duration::from_secs(60);

/// A file of tests.
#[derive(Debug)]
pub(super) struct Story {
    /// The file's name, without `.rs`.
    pub(super) name: String,
    /// Whether it asks for the chosen release. Others need no Cyrus, or choose for themselves.
    pub(super) by_release: bool,
}

/// The stories of these names, or all.
pub(super) fn stories(names: &[String]) -> Result<Vec<Story>> {
    let mut stories = Vec::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_stem().context("a file without a name")?.to_string_lossy().into_owned();
            let by_release = std::fs::read_to_string(&path)?.contains("chosen()");
            stories.push(Story { name, by_release });
        }
    }
    stories.sort_by_key(|story| (!LONG.contains(&story.name.as_str()), story.name.clone()));
    for name in names {
        ensure!(stories.iter().any(|story| story.name == *name), "there is no story {name}");
    }
    stories.retain(|story| names.is_empty() || names.contains(&story.name));
    Ok(stories)
}

/// Which Cyrus a suite's image has: the version of Debian's package.
pub(super) async fn version(suite: Suite) -> Result<String> {
    ensure_image(suite).await?;
    let image = suite.image();
    let ask = ["run", "--rm", "--entrypoint", "dpkg-query", &image, "-W", "-f", "${Version}", "cyrus-imapd"];
    asked("docker", &ask).await
}

/// The day, by UTC.
pub(super) async fn today() -> Result<String> {
    asked("date", &["-u", "+%F"]).await
}

async fn asked(program: &str, words: &[&str]) -> Result<String> {
    within(QUICK, format!("{program} {words:?}"), async {
        let output = Command::new(program).args(words).kill_on_drop(true).output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    })
    .await
}

/// The project.
fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where a story's `out` and `err` are kept.
fn log(suite: Suite, story: &str, what: &str) -> PathBuf {
    top().join("target/matrix").join(format!("{story}-{suite}.{what}"))
}

/// Shows what a story said when it was run last.
pub(super) fn show(suite: Suite, story: &str) {
    for what in ["out", "err"] {
        let said = std::fs::read(log(suite, story, what)).unwrap_or_default();
        eprintln!("{}", String::from_utf8_lossy(&said));
    }
}

/// Runs a story; what it said is kept in `target/matrix`.
pub(super) async fn run(suite: Suite, story: &str, lanes: usize) -> Result<Vec<(String, Outcome)>> {
    std::fs::create_dir_all(top().join("target/matrix"))?;
    let (out, err) = (log(suite, story, "out"), log(suite, story, "err"));
    let started = Instant::now();
    within(STORY, format!("{story} on {suite}"), async {
        let spawned = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            // The whole workspace: a package alone has other features of its dependencies, and builds all of them anew.
            .args(["test", "--workspace", "--locked", "--test", story, "--", "--test-threads=1"])
            .current_dir(top())
            .env("MURDER_SUITE", suite.name())
            .env("RAVENRY_MURDERS", lanes.to_string())
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(&out)?)
            .stderr(std::fs::File::create(&err)?)
            .process_group(0)
            .spawn()?;
        let mut running = Running(spawned);
        let status = running.0.wait().await?;
        let outcomes = outcomes(&std::fs::read_to_string(&out)?);
        let all_passed = outcomes.iter().all(|(_, outcome)| *outcome == Outcome::Passed);
        ensure!(!outcomes.is_empty() && status.success() == all_passed, "see {}", err.display());
        let seconds = started.elapsed().as_secs();
        for (test, outcome) in &outcomes {
            eprintln!("matrix: {story} on {suite}: {test} {outcome:?}, story {seconds} s");
        }
        Ok(outcomes)
    })
    .await
}

/// Cargo, and in its group the story and Ravenry: what is dropped before its end ends all of them.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Once it was waited for it has no pid any more.
        if let Some(group) = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads what Rust's test harness prints: `test NAME ... ok`.
fn outcomes(text: &str) -> Vec<(String, Outcome)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("test ")?.split_once(" ... "));
    let ended = lines.filter_map(|(test, end)| {
        let outcome = match end {
            "ok" => Outcome::Passed,
            "FAILED" => Outcome::Failed,
            _ => return None,
        };
        Some((test.to_owned(), outcome))
    });
    ended.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_harness_prints_is_read() {
        let text = "\nrunning 2 tests\ntest one ... ok\ntest the_other ... FAILED\n\nfailures:\n\ntest result: FAILED. 1 passed; 1 failed\n";
        let expected = [("one".to_owned(), Outcome::Passed), ("the_other".to_owned(), Outcome::Failed)];
        assert_eq!(outcomes(text), expected);
    }
}
