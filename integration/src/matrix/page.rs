//! docs/compatibility.md: what is known without a run stands in a template, the rest comes from the results.

use std::collections::{BTreeMap, BTreeSet};

use super::{Outcome, Results};
use crate::murder::Suite;

const TEMPLATE: &str = include_str!("compatibility.md");

/// Stories that are about a configuration, and not about a release: by their test.
const CONFIGURATIONS: [(&str, &str, &str); 7] = [
    ("`unixhierarchysep: yes`, `altnamespace: yes`", "configurations", "slashes_and_the_other_namespace"),
    ("`unixhierarchysep: yes`, `virtdomains: userid`", "configurations", "virtual_domains"),
    (
        "master 3.2, backends 3.6 and 3.12, frontends 3.10 and 3.6",
        "mixed_releases",
        "an_old_master_with_newer_nodes",
    ),
    (
        "master 3.12, backends 3.2 and 3.10, frontends 3.6 and 3.2",
        "mixed_releases",
        "a_new_master_with_older_nodes",
    ),
    (
        "3.10, TLS on every hop, and no server takes a password in clear",
        "tls_everywhere",
        "nothing_is_said_in_clear_on_3_10",
    ),
    (
        "3.12, TLS on every hop, and no server takes a password in clear",
        "tls_everywhere",
        "nothing_is_said_in_clear_on_3_12",
    ),
    (
        "a master that offers DIGEST-MD5 alone is refused, and it is said",
        "tls_and_sasl",
        "every_login_of_cyrus_is_understood",
    ),
];

/// Stories that choose their releases themselves.
const OF_THEIR_CHOICE: [&str; 2] = ["mixed_releases", "tls_everywhere"];

/// The page.
pub fn page(results: &Results) -> String {
    TEMPLATE
        .replace("{releases}\n", &releases(results))
        .replace("{configurations}\n", &configurations(results))
        .replace("{stories}\n", &stories(results))
}

/// A table of the releases that anything ran on.
fn releases(results: &Results) -> String {
    let mut table =
        "| Cyrus IMAP | Debian | package | tests | from | to |\n|---|---|---|---|---|---|\n".to_owned();
    for suite in Suite::ALL {
        let runs: Vec<_> =
            results.0.iter().filter(|((_, _, on), _)| *on == suite).map(|(_, run)| run).collect();
        let (first, last) = (runs.iter().map(|run| &run.date).min(), runs.iter().map(|run| &run.date).max());
        let (Some(first), Some(last)) = (first, last) else { continue };
        let packages: BTreeSet<&str> = runs.iter().map(|run| run.package.as_str()).collect();
        let versions: BTreeSet<&str> = packages.iter().map(|package| upstream(package)).collect();
        let failed = runs.iter().filter(|run| run.outcome == Outcome::Failed).count();
        let tests = match failed {
            0 => format!("{} passed", runs.len()),
            _ => format!("{} passed, {failed} failed", runs.len() - failed),
        };
        table.push_str(&format!(
            "| {} | {suite} | {} | {tests} | {first} | {last} |\n",
            join(&versions),
            join(&packages)
        ));
    }
    table
}

/// What each configuration came to. Where a story chooses its releases itself, the column of its run says nothing.
fn configurations(results: &Results) -> String {
    let mut table = "| configuration | story | result |\n|---|---|---|\n".to_owned();
    for (what, story, test) in CONFIGURATIONS {
        let of_suite = |suite: Suite| results.0.get(&(story.to_owned(), test.to_owned(), suite));
        let told = Suite::ALL.into_iter().filter_map(|suite| {
            let run = of_suite(suite)?;
            let chosen = OF_THEIR_CHOICE.contains(&story);
            let place = if chosen { String::new() } else { format!("{}: ", suite.cyrus()) };
            Some(match run.outcome {
                Outcome::Passed => format!("{place}passed {}", run.date),
                Outcome::Failed => format!("{place}**failed** {}", run.date),
            })
        });
        let told: Vec<String> = told.collect();
        let told = if told.is_empty() { "not run".to_owned() } else { told.join(", ") };
        table.push_str(&format!("| {what} | [{story}](../integration/tests/{story}.rs) | {told} |\n"));
    }
    table
}

/// A row for each story: how many of its tests passed on each release.
fn stories(results: &Results) -> String {
    let mut rows: BTreeMap<&str, [Cell; 4]> = BTreeMap::new();
    for ((story, test, suite), run) in &results.0 {
        let row = rows.entry(story).or_default();
        let cells = Suite::ALL.iter().zip(row).find(|(one, _)| *one == suite);
        if let Some((_, cell)) = cells {
            cell.runs += 1;
            if run.outcome == Outcome::Failed {
                cell.failed.push(test);
            }
        }
    }
    let mut table = format!("| story | {} |\n|---|{}\n", heads(), "---|".repeat(Suite::ALL.len()));
    for (story, cells) in rows {
        let cells = cells.map(|cell| cell.told());
        table.push_str(&format!("| [{story}](../integration/tests/{story}.rs) | {} |\n", cells.join(" | ")));
    }
    table
}

#[derive(Default)]
struct Cell<'a> {
    runs: usize,
    failed: Vec<&'a str>,
}

impl Cell<'_> {
    fn told(&self) -> String {
        match (self.runs, self.failed.as_slice()) {
            (0, _) => String::new(),
            (runs, []) => format!("{runs} passed"),
            (runs, failed) => {
                format!("{} of {runs} passed; **{}** failed", runs - failed.len(), failed.join(", "))
            }
        }
    }
}

fn heads() -> String {
    Suite::ALL.map(Suite::cyrus).join(" | ")
}

fn upstream(package: &str) -> &str {
    package.split('-').next().unwrap_or(package)
}

fn join(words: &BTreeSet<&str>) -> String {
    words.iter().copied().collect::<Vec<_>>().join(", ")
}
