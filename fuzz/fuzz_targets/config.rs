#![no_main]

use ravenry::config;

#[path = "../../src/config/tests/any.rs"]
mod any;

libfuzzer_sys::fuzz_target!(|file: &str| any::check(file));
