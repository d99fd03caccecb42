#![no_main]

#[allow(dead_code, reason = "each target uses its half")]
#[path = "../../tests/imap/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|wire: &[u8]| invariants::check_client(wire));
