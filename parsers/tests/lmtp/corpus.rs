//! Replays the fuzzers' seeds, so that what was once found stays found without a fuzzer.

use std::fs;
use std::path::Path;

use crate::invariants::{check_commands, check_data, check_replies};

fn replay(target: &str, check: fn(&[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for seed in fs::read_dir(&seeds).unwrap() {
        let path = seed.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}

#[test]
fn commands() {
    replay("lmtp_command", check_commands);
}

#[test]
fn replies() {
    replay("lmtp_reply", check_replies);
}

#[test]
fn data() {
    replay("lmtp_data", check_data);
}
