#![no_main]

#[allow(dead_code, reason = "each target uses its half")]
#[path = "../../tests/mupdate/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|wire: &[u8]| invariants::check_replies(wire));
