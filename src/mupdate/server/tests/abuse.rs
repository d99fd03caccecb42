//! Bad input, slow input, too much input.

use std::time::Duration;

use base64::Engine as _;
use tokio::io::AsyncWriteExt;

use super::{ServerConfig, Stage};
use crate::mupdate::peer::{PATIENCE, Peer};

#[tokio::test]
async fn a_wrong_password_and_a_stranger_get_nowhere() {
    let stage = Stage::start(&[]).await;
    let mut client = stage.stranger().await;
    for credentials in ["\0murder\0wrong", "\0nobody\0secret", "cyrus\0murder\0secret", "garbage"] {
        let plain = base64::engine::general_purpose::STANDARD.encode(credentials);
        let reply = client.ask(&format!("AUTHENTICATE \"PLAIN\" \"{plain}\"")).await;
        assert_eq!(reply, "X1 NO \"authentication failure\"\r\n", "{credentials:?}");
    }
    assert_eq!(client.ask("AUTHENTICATE \"DIGEST-MD5\"").await, "X1 NO \"no mechanism available\"\r\n");
    assert_eq!(client.ask("UPDATE").await, "X1 BAD \"Please login first\"\r\n");
}

#[tokio::test]
async fn bad_input_gets_a_clear_end_and_harms_nobody() {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let endless = "x".repeat(200_000);
    for input in [
        "A01 AUTHENTICATE \"PLAIN\" {4294967296+}\r\n",
        "A01 AUTHENTICATE \"PLAIN\" {2147483648+}\r\n",
        "A01 AUTHENTICATE \"PLAIN\" {2147483648}\r\n",
        "A01 AUTHENTICATE \"unterminated\r\n\r\nX LOGOUT\r\n",
        &endless,
    ] {
        let mut client = stage.stranger().await;
        // It may hang up in the midst of what it is sent.
        let _ = client.stream.write_all(input.as_bytes()).await;
        let _ = client.stream.shutdown().await;
        let _ = tokio::time::timeout(PATIENCE, client.rest()).await.expect("a bounded end");
    }
    let mut slow = stage.stranger().await;
    for byte in "X1 NOOP\r\n".bytes() {
        slow.stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(slow.until("\r\n").await, "X1 BAD \"Please login first\"\r\n");
    assert_eq!(stage.client().await.ask("NOOP").await, "X1 OK \"Noop done\"\r\n");
}

#[tokio::test]
async fn a_slave_that_takes_nothing_is_closed_and_holds_up_nobody() {
    let names: Vec<String> = (0..20_000).map(|n| format!("user.u{n:05}")).collect();
    let names: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "be1!default")).collect();
    let stall = Duration::from_millis(300);
    let stage = Stage::start_with(&names, |config| ServerConfig { write_stall: stall, ..config }).await;
    let mut stuck = stage.client().await;
    for _ in 0..50 {
        stuck.say("X LIST\r\n").await;
    }
    let mut backend = stage.client().await;
    assert_eq!(backend.ask("RESERVE \"user.new\" \"be1!default\"").await, "X1 OK \"done\"\r\n");
    // Reading nothing, it notices only that nothing can be written any more.
    let closed = async {
        while stuck.stream.write_all(b"X NOOP\r\n").await.is_ok() {
            tokio::time::sleep(stall).await;
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.expect("closed");
}

fn hasty(config: ServerConfig) -> ServerConfig {
    let short = Duration::from_millis(200);
    ServerConfig { login_timeout: short, command_timeout: short, ..config }
}

/// Until closed, in however small steps it is written to.
async fn drip(client: &mut Peer, bytes: &[u8]) {
    let dripping = async {
        for byte in bytes.iter().cycle() {
            if client.stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dripping).await.expect("closed");
}

#[tokio::test]
async fn a_slow_loris_is_closed_before_and_after_its_login() {
    let stage = Stage::start_with(&[], hasty).await;
    let mut stranger = stage.stranger().await;
    drip(&mut stranger, b"X1 NOOP\r\n").await;
    let mut client = stage.client().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(client.ask("NOOP").await, "X1 OK \"Noop done\"\r\n", "idle is not slow");
    drip(&mut client, b"X1 FIND {100+}\r\nuser.alice").await;
}

#[tokio::test]
async fn somebody_who_opens_connections_by_the_thousand_keeps_nobody_out() {
    let stage = Stage::start_with(&[], |config| ServerConfig { max_unauthenticated: 50, ..config }).await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(stage.stranger().await);
        // Those that are logged in are not strangers.
        if idle.len() % 50 == 0 {
            let mut client = stage.client().await;
            assert_eq!(client.ask("NOOP").await, "X1 OK \"Noop done\"\r\n");
        }
    }
    let first = idle.swap_remove(0);
    assert_eq!(first.rest().await, "", "the oldest made room, and was closed bare");
}

#[tokio::test]
async fn more_clients_than_allowed_are_closed_bare_and_the_others_stay() {
    let stage = Stage::start_with(&[], |config| ServerConfig { max_connections: 2, ..config }).await;
    let (mut one, _two) = (stage.client().await, stage.client().await);
    let mut three = stage.stranger().await;
    three.say("A01 AUTHENTICATE \"PLAIN\" \"AG11cmRlcgBzZWNyZXQ=\"\r\n").await;
    assert_eq!(three.rest().await, "");
    assert_eq!(one.ask("NOOP").await, "X1 OK \"Noop done\"\r\n");
}

#[tokio::test]
async fn a_slave_that_asks_without_end_is_answered_in_order_and_read_no_further_than_that() {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let mut stream = stage.client().await;
    stream.say("U01 UPDATE\r\n").await;
    stream.until("U01 OK \"streaming starts\"\r\n").await;
    let asked: String = (0..5000).map(|n| format!("N{n} NOOP\r\n")).collect();
    stream.say(&asked).await;
    for n in 0..5000 {
        assert_eq!(stream.until("\r\n").await, format!("N{n} OK \"Noop done\"\r\n"));
    }
}
