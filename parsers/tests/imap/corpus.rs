//! Replays the fuzzers' seeds, so that what was once found stays found without a fuzzer.

use std::fs;
use std::path::Path;

use crate::invariants::{check_client, check_server};
use crate::oracle;

fn replay<T>(target: &str, check: fn(&[u8]) -> T) {
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
fn clients() {
    replay("imap_client", check_client);
}

#[test]
fn servers() {
    replay("imap_server", check_server);
}

#[test]
fn clients_as_others_read_them() {
    replay("imap_client", oracle::check_client);
    replay("imap_client_oracle", oracle::check_client);
}

#[test]
fn servers_as_others_read_them() {
    replay("imap_server", oracle::check_server);
    replay("imap_server_oracle", oracle::check_server);
}
