//! Documents against the code that they speak of.

use std::collections::BTreeSet;

use crate::rules::testing::sources;

const SECURITY: &str = include_str!("../../docs/security.md");
const RELIABILITY: &str = include_str!("../../docs/reliability.md");

/// Everything between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_threat_has_a_test_that_exists() {
    let code = ["src", "integration/tests"].map(sources).concat();
    let (_, threats) = SECURITY.split_once("## Threats").unwrap();
    let (threats, _) = threats.split_once("\n## ").unwrap();
    let rows: Vec<&str> = threats.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20);
    for row in rows {
        let (_, cell) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let tests: Vec<&str> = quoted(cell).collect();
        assert!(!tests.is_empty(), "no test is named: {row}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}(")), "there is no test {test:?}: {row}");
        }
    }
}

#[test]
fn every_lie_of_a_disk_has_tests_that_exist() {
    let code = sources("src");
    let (_, lies) = RELIABILITY.split_once("## Disks that lie").unwrap();
    let (lies, _) = lies.split_once("\n## ").unwrap();
    let rows: Vec<&str> = lies.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 4);
    for test in rows.into_iter().flat_map(quoted) {
        assert!(code.contains(&format!("fn {test}(")), "there is no test {test:?}");
    }
}

#[test]
fn every_dependency_is_accounted_for() {
    let (_, table) = SECURITY.split_once("## What it is made of").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let told: BTreeSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`')))
        .collect();
    let manifests = [include_str!("../../Cargo.toml"), include_str!("../../parsers/Cargo.toml")];
    let used: BTreeSet<&str> = manifests
        .iter()
        .flat_map(|manifest| {
            let (_, section) = manifest.split_once("\n[dependencies]\n").unwrap();
            section.lines().take_while(|line| !line.starts_with('['))
        })
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()))
        .filter(|name| *name != "ravenry-parsers")
        .collect();
    assert_eq!(told, used);
}

#[test]
fn the_unit_gives_up_what_it_does_not_need() {
    let unit = include_str!("../../packaging/systemd/ravenry.service");
    let value = |key: &str| {
        let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let value = values.next().unwrap_or_else(|| panic!("{key} is not set"));
        assert_eq!(values.next(), None, "{key} is set twice");
        value
    };
    for (key, wanted) in [
        ("User", "ravenry"),
        ("Group", "ravenry"),
        ("UMask", "0077"),
        ("StateDirectoryMode", "0750"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("ProtectHome", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
    ] {
        assert_eq!(value(key), wanted, "{key}");
    }
}
