//! Commands and responses that imap-codec makes up, and bytes that nobody made up.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::oracle::{check_client, check_server};

/// The same recipes in every run; how many commands or responses were understood by both.
fn agreed(check: fn(&[u8]) -> usize) -> usize {
    let mut runner = TestRunner::deterministic();
    let recipe = prop::collection::vec(any::<u8>(), 0..300);
    (0..4_000).map(|_| check(&recipe.new_tree(&mut runner).unwrap().current())).sum()
}

#[test]
fn others_read_the_same_in_commands() {
    let agreed = agreed(check_client);
    assert!(agreed > 1_000, "{agreed}");
}

#[test]
fn others_read_the_same_in_responses() {
    let agreed = agreed(check_server);
    assert!(agreed > 4_000, "{agreed}");
}
