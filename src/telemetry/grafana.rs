//! The dashboards and alert rules of `grafana/` against the metrics and the runbook.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::metric::Metric;

const ALERTS: &str = include_str!("../../grafana/alerts.yaml");
const CASES: &str = include_str!("../../grafana/alerts.test.yaml");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");

fn dashboards() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/dashboards");
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() > 1);
    files
}

/// Words like `ravenry_state`, wherever they stand.
fn mentioned(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("ravenry_"))
        .collect()
}

/// The rules, each with its text.
fn alerts() -> Vec<(&'static str, &'static str)> {
    let rules = ALERTS.split("- alert: ").skip(1);
    let alerts: Vec<_> = rules.map(|rule| rule.split_once('\n').unwrap()).collect();
    assert!(alerts.len() > 10);
    alerts
}

#[test]
fn every_metric_that_is_shown_or_judged_exists() {
    let known: BTreeSet<String> = Metric::ALL.iter().flat_map(|metric| metric.series()).collect();
    let mut texts = vec![("alerts.yaml".to_owned(), ALERTS.to_owned())];
    texts.push(("alerts.test.yaml".to_owned(), CASES.to_owned()));
    for path in dashboards() {
        texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
    }
    for (file, text) in &texts {
        for name in mentioned(text) {
            assert!(known.contains(name), "{file}: there is no {name}");
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_to_do() {
    for (name, rule) in alerts() {
        assert!(name.starts_with("Ravenry"), "{name}");
        for key in ["severity: ", "summary: ", "description: "] {
            assert!(rule.contains(key), "{name} has no {key}");
        }
        assert!(["severity: page\n", "severity: ticket\n"].iter().any(|severity| rule.contains(severity)));
        let anchor = name.to_lowercase();
        assert!(rule.contains(&format!("runbook: docs/runbook.md#{anchor}\n")), "{name} has no runbook link");
        assert!(RUNBOOK.contains(&format!("\n## {name}\n")), "{name} is not in docs/runbook.md");
    }
    let sections = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## "));
    for section in sections {
        assert!(alerts().iter().any(|(name, _)| *name == section), "the runbook's {section} is no alert");
    }
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_does_not() {
    let cases: Vec<&str> = CASES.split("\n  - name: ").skip(1).collect();
    for (name, _) in alerts() {
        let of = |fires: bool| {
            cases.iter().any(|case| {
                case.contains(&format!("alertname: {name}\n")) && case.contains("exp_alerts: []") != fires
            })
        };
        assert!(of(true), "no case in which {name} fires");
        assert!(of(false), "no case in which {name} does not fire");
    }
}

#[test]
fn dashboards_ask_for_their_data_source_and_can_be_told_apart() {
    let mut seen = BTreeSet::new();
    for path in dashboards() {
        let text = std::fs::read_to_string(&path).unwrap();
        let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
        let named = |key: &str| dashboard[key].as_str().unwrap().to_owned();
        assert!(seen.insert(named("uid")) && seen.insert(named("title")), "{}", path.display());
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        assert!(variables.iter().any(|variable| variable["type"] == "datasource"));
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(ids.insert(panel["id"].as_u64()), "{}: an id twice", path.display());
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}: {}", path.display(), panel["title"]);
            assert!(!panel["targets"].as_array().unwrap().is_empty());
        }
    }
}
