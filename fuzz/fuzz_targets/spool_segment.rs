#![no_main]

use ravenry::spool;

#[path = "../../src/spool/tests/segments.rs"]
mod segments;

libfuzzer_sys::fuzz_target!(|segment: &[u8]| segments::check(segment));
