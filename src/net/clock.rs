//! Our clock, and another host's where Cyrus shows it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970, by this host's clock.
pub fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Cyrus ends some answers with `SESSIONID=<host-TIME-pid-count-random>`, where TIME is when the session began, in
/// seconds since 1970: IMAP its answer to a login, LMTP that to LHLO.
pub fn clock_of_session(answer: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(answer).ok()?;
    let (_, id) = text.rsplit_once("SESSIONID=<")?;
    // The host's name can hold hyphens.
    id.split_once('>')?.0.rsplit('-').nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_behind_any_name() {
        let real =
            b"r1 OK User logged in SESSIONID=<be-1.murder.test-1795526737-60-1-8685230188279227479>\r\n";
        assert_eq!(clock_of_session(real), Some(1_795_526_737));
        for none in [&b"r1 OK done"[..], b"SESSIONID=<x>", b"SESSIONID=<a-b-c-d-e>", b"SESSIONID=<1-2-3-4-5"]
        {
            assert_eq!(clock_of_session(none), None);
        }
    }
}
