//! The benchmarks run, so that they are there when somebody wants their figures. These sizes give none.

use anyhow::Result;
use ravenry_integration::bench::{self, Measure, Scale};

#[tokio::test(flavor = "multi_thread")]
async fn every_measure_runs_on_a_real_master_and_fills_its_row() -> Result<()> {
    let report = bench::run(Measure::All, Scale::smoke()).await?;
    let table = report.to_string();
    for measure in [
        "RESERVE+ACTIVATE",
        "UPDATE",
        "slowest write",
        "stream, 99 %",
        "FIND, pipelined",
        "replay",
        "reseed",
        "ghosts",
        "VmRSS",
    ] {
        assert!(
            report.measures().iter().any(|row| row.contains(measure)),
            "{measure} is missing in\n{table}"
        );
    }
    assert!(!table.contains("NaN") && !table.contains("not measured"), "{table}");
    Ok(())
}
