//! Documents against the code that they speak of.

use crate::rules::testing::sources;

const SECURITY: &str = include_str!("../../docs/security.md");

#[test]
fn every_threat_has_a_test_that_exists() {
    let code = ["src", "integration/tests"].map(sources).concat();
    let (_, threats) = SECURITY.split_once("## Threats").unwrap();
    let (threats, _) = threats.split_once("\n## ").unwrap();
    let rows: Vec<&str> = threats.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let test = row.trim_end_matches([' ', '|', '`']).rsplit('`').next().unwrap();
        assert!(code.contains(&format!("fn {test}(")), "there is no test {test:?}: {row}");
    }
}
