#![no_main]

use ravenry::list;

#[path = "../../src/list/dump/tests/any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|dump: &[u8]| any::check(dump));
