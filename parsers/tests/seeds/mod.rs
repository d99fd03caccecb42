//! Replays the fuzzers' seeds, so that what was once found stays found without a fuzzer.

use std::fs;
use std::path::Path;

/// Has each seed of a target checked.
pub(crate) fn replay<T>(target: &str, check: fn(&[u8]) -> T) {
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
