//! `docs/metrics.md`, from the metrics themselves.

use std::fmt::Write as _;

use super::metric::{BUCKETS, Kind, Metric};

const HEAD: &str = "\
# Metrics

<!-- Made by `ravenry generate metrics > docs/metrics.md`; a test keeps it true. -->

`[metrics] listen` serves them at `/metrics`, beside `/healthz` (200 while the process makes progress), `/readyz` (200
while there is a list that may be served), and a page for people at `/`. Counters start at 0 when the process starts.
No label names a user or a mailbox. Alerts: [`grafana/alerts.yaml`](../grafana/alerts.yaml); what to do about them:
[runbook.md](runbook.md).

| metric | type | labels | what it tells |
|---|---|---|---|
";

/// The whole document.
pub fn document() -> String {
    let mut text = HEAD.to_owned();
    for metric in Metric::ALL.iter().copied() {
        let labels: Vec<String> = metric
            .labels()
            .iter()
            .map(|(label, values)| match values {
                [] => format!("`{label}`"),
                values => format!("`{label}`: {}", values.join(", ")),
            })
            .collect();
        let row = [
            format!("`{}`", metric.name()),
            metric.kind().word().to_owned(),
            labels.join("; "),
            metric.help().to_owned(),
        ];
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    let bounds: Vec<String> = BUCKETS.iter().map(f64::to_string).collect();
    let of = Kind::Histogram.word();
    let _ = writeln!(text, "\nEvery {of} has these upper bounds, in seconds: {}.", bounds.join(", "));
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_up_to_date() {
        let kept = include_str!("../../docs/metrics.md");
        assert!(
            kept == super::document(),
            "run `cargo run -q -p ravenry -- generate metrics > docs/metrics.md`"
        );
    }
}
