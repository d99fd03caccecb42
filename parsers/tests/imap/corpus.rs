//! Replays the fuzzers' seeds of this room.

use crate::invariants::{check_client, check_server};
use crate::oracle;
use crate::seeds::replay;

#[test]
fn clients() {
    replay("imap_client", check_client);
}

#[test]
fn servers() {
    replay("imap_server", check_server);
}

#[test]
fn clients_as_others_read_them() {
    replay("imap_client", oracle::check_client);
    replay("imap_client_oracle", oracle::check_client);
}

#[test]
fn servers_as_others_read_them() {
    replay("imap_server", oracle::check_server);
    replay("imap_server_oracle", oracle::check_server);
}
