//! Stories on every release and in every configuration, their results on record, and docs/compatibility.md made from
//! those. The page says nothing of a combination that no run is on record for.

mod page;
mod results;
mod runner;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::StreamExt;

pub use page::page;
pub use results::{Outcome, Results};

use crate::murder::Suite;

/// What to run.
#[derive(Debug)]
pub struct Choice {
    /// These releases.
    pub suites: Vec<Suite>,
    /// These stories, by their file's name; all of them when there are none.
    pub stories: Vec<String>,
    /// So many at a time, each in a murder of its own.
    pub lanes: usize,
    /// Whether the results are put on record, and the page is written anew.
    pub record: bool,
}

/// The results on record.
fn record() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results.tsv")
}

/// The page made from them.
fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md")
}

/// Runs what is chosen, and shows what those said that failed. After each story its result is recorded and the page written
/// anew, where that is wanted. Returns how many tests failed, or came to no result.
pub async fn run(choice: &Choice) -> Result<usize> {
    let mut results = read()?;
    let stories = runner::stories(&choice.stories)?;
    let usual = choice.suites.iter().find(|suite| **suite == Suite::Bookworm).or(choice.suites.first());
    let of_any = |suite: Suite| usual == Some(&suite);
    let mut work = Vec::new();
    for suite in &choice.suites {
        let version = runner::version(*suite).await?;
        let here = stories.iter().filter(|story| story.by_release || of_any(*suite));
        work.extend(here.map(|story| (*suite, version.clone(), story)));
    }
    let runs = work.into_iter().map(async |(suite, version, story)| {
        let outcome = runner::run(suite, &story.name, choice.lanes).await;
        (suite, version, &story.name, outcome)
    });
    let mut runs = futures_util::stream::iter(runs).buffer_unordered(choice.lanes.max(1));
    let mut failed = 0;
    while let Some((suite, version, story, outcomes)) = runs.next().await {
        let outcomes = match outcomes {
            Ok(outcomes) => outcomes,
            // What came to no result leaves the last one on record.
            Err(error) => {
                eprintln!("matrix: {story} on {suite}: {error:#}");
                runner::show(suite, story);
                failed += 1;
                continue;
            }
        };
        let failures = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Failed).count();
        if failures > 0 {
            runner::show(suite, story);
        }
        failed += failures;
        if !choice.record {
            continue;
        }
        results.replace(story, suite, &version, &runner::today().await?, &outcomes);
        std::fs::write(record(), results.to_string())?;
        write_page(&results)?;
    }
    Ok(failed)
}

/// The results that are on record.
pub fn read() -> Result<Results> {
    std::fs::read_to_string(record()).context("integration/results.tsv")?.parse()
}

/// Writes docs/compatibility.md.
pub fn write_page(results: &Results) -> Result<()> {
    std::fs::write(document(), page(results)).context("docs/compatibility.md")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_what_the_results_say() {
        let written = std::fs::read_to_string(document()).unwrap();
        assert_eq!(written, page(&read().unwrap()), "run `ravenry-integration matrix --page`");
    }

    #[test]
    fn the_record_is_written_as_it_is_read() {
        assert_eq!(read().unwrap().to_string(), std::fs::read_to_string(record()).unwrap());
    }
}
