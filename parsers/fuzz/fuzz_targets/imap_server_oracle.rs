#![no_main]

#[allow(dead_code, reason = "each target uses its half")]
#[path = "../../tests/imap/oracle.rs"]
mod oracle;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    oracle::check_server(bytes);
});
