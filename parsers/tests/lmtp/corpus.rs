//! Replays the fuzzers' seeds of this room.

use crate::invariants::{check_commands, check_data, check_replies};
use crate::seeds::replay;

#[test]
fn commands() {
    replay("lmtp_command", check_commands);
}

#[test]
fn replies() {
    replay("lmtp_reply", check_replies);
}

#[test]
fn data() {
    replay("lmtp_data", check_data);
}
