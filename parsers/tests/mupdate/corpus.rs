//! Replays the fuzzers' seeds of this room.

use crate::invariants::{check_commands, check_replies};
use crate::seeds::replay;

#[test]
fn commands() {
    replay("mupdate_command", check_commands);
}

#[test]
fn replies() {
    replay("mupdate_reply", check_replies);
}
