#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
#[path = "../../tests/lmtp/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|wire: &[u8]| invariants::check_commands(wire));
