//! Documents against the code that they speak of.

use std::path::Path;

const SECURITY: &str = include_str!("../../docs/security.md");

/// Every source below a directory, in one text.
fn sources(directory: &Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_threat_has_a_test_that_exists() {
    let mut code = String::new();
    for directory in ["src", "integration/tests"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut code);
    }
    let (_, threats) = SECURITY.split_once("## Threats").unwrap();
    let (threats, _) = threats.split_once("\n## ").unwrap();
    let rows: Vec<&str> = threats.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let test = row.trim_end_matches([' ', '|', '`']).rsplit('`').next().unwrap();
        assert!(code.contains(&format!("fn {test}(")), "there is no test {test:?}: {row}");
    }
}
