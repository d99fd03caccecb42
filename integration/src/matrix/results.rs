//! What ran when on what, and how it ended: one line for each test, in a file that people can read and compare.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use crate::murder::Suite;

const HEAD: &str = "story\ttest\tsuite\tpackage\tdate\toutcome\n";

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Otherwise.
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

/// One test on one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The version of Debian's package.
    pub package: String,
    /// The day, as 2026-11-28.
    pub date: String,
    /// How it ended.
    pub outcome: Outcome,
}

/// All of them: by story, test and release.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results(pub BTreeMap<(String, String, Suite), Run>);

impl Results {
    /// What was known of a story on a release is what this run found.
    pub fn replace(
        &mut self,
        story: &str,
        suite: Suite,
        package: &str,
        date: &str,
        outcomes: &[(String, Outcome)],
    ) {
        self.0.retain(|(of, _, on), _| of != story || *on != suite);
        for (test, outcome) in outcomes {
            let run = Run { package: package.to_owned(), date: date.to_owned(), outcome: *outcome };
            self.0.insert((story.to_owned(), test.clone(), suite), run);
        }
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEAD)?;
        for ((story, test, suite), run) in &self.0 {
            writeln!(f, "{story}\t{test}\t{suite}\t{}\t{}\t{}", run.package, run.date, run.outcome.word())?;
        }
        Ok(())
    }
}

impl FromStr for Results {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let lines = text.strip_prefix(HEAD).context("the first line names other columns")?;
        let mut results = BTreeMap::new();
        for line in lines.lines() {
            let columns: Vec<&str> = line.split('\t').collect();
            let [story, test, suite, package, date, outcome] = columns.as_slice() else {
                bail!("not six columns: {line:?}")
            };
            let outcome = [Outcome::Passed, Outcome::Failed].into_iter().find(|one| one.word() == *outcome);
            let outcome = outcome.with_context(|| format!("no outcome: {line:?}"))?;
            let run = Run { package: (*package).to_owned(), date: (*date).to_owned(), outcome };
            results.insert(((*story).to_owned(), (*test).to_owned(), suite.parse()?), run);
        }
        Ok(Self(results))
    }
}
