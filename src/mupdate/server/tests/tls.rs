//! STARTTLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::{ServerConfig, Stage};
use crate::mupdate::peer::{PATIENCE, Peer};
use crate::net::tls::{self, Identity, testing};

/// A face with a certificate for `ravenry.test`, and a client that trusts its authority.
async fn encrypted() -> (Stage, Identity, TlsConnector, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let made = testing::make(dir.path(), "ravenry.test");
    let identity = Identity::load(&made.certificate, &made.key).unwrap();
    let tls = Some(identity.server());
    let stage = Stage::start_with(&[], |config| ServerConfig { tls, allow_plaintext: false, ..config }).await;
    let client = TlsConnector::from(tls::client(&made.authority).unwrap());
    (stage, identity, client, dir)
}

#[tokio::test]
async fn what_is_sent_behind_starttls_in_clear_is_thrown_away() {
    let (stage, _, connector, _dir) = encrypted().await;
    let mut stranger = stage.stranger().await;
    stranger.say("S1 STARTTLS\r\nX1 FIND \"user.injected\"\r\n").await;
    assert_eq!(stranger.until("\r\n").await, "S1 OK Begin TLS negotiation now\r\n");
    let connecting = connector.connect("ravenry.test".try_into().unwrap(), stranger.stream);
    let mut secure = tokio::time::timeout(PATIENCE, connecting).await.unwrap().expect("the handshake");
    secure.write_all(b"X2 LOGOUT\r\n").await.unwrap();
    let mut said = String::new();
    tokio::time::timeout(PATIENCE, secure.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.starts_with("* AUTH \"SCRAM-SHA-512\"") && said.contains("\"PLAIN\""), "{said}");
    assert!(said.ends_with("X2 OK \"bye-bye\"\r\n") && !said.contains("X1"), "{said}");
}

#[tokio::test]
async fn plain_needs_tls_where_the_configuration_says_so() {
    let (stage, _, _, _dir) = encrypted().await;
    let mut stranger = stage.stranger().await;
    let said = stranger.ask("AUTHENTICATE \"PLAIN\" \"AG11cmRlcgBzZWNyZXQ=\"").await;
    assert_eq!(said, "X1 NO \"no mechanism available\"\r\n");
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_not_waited_for() {
    let (stage, _, _, _dir) = encrypted().await;
    let mut stranger = stage.stranger().await;
    assert_eq!(stranger.ask("STARTTLS").await, "X1 OK Begin TLS negotiation now\r\n");
    stranger.say("this is no ClientHello\r\n").await;
    stranger.rest().await;
    let other = stage.stranger().await.ask("LOGOUT").await;
    assert_eq!(other, "X1 OK \"bye-bye\"\r\n", "nobody else notices");
}

#[tokio::test]
async fn a_certificate_read_again_is_shown_to_the_next_client() {
    let (stage, identity, connector, dir) = encrypted().await;
    let shown = async || {
        let mut stranger = stage.stranger().await;
        stranger.ask("STARTTLS").await;
        let connecting = connector.connect("ravenry.test".try_into().unwrap(), stranger.stream);
        let secure = tokio::time::timeout(PATIENCE, connecting).await.unwrap()?;
        std::io::Result::Ok(secure.get_ref().1.peer_certificates().unwrap()[0].clone())
    };
    let first = shown().await.unwrap();
    testing::make(dir.path(), "ravenry.test");
    assert_eq!(shown().await.unwrap(), first);
    identity.replace(identity.read_again().unwrap());
    assert!(shown().await.is_err(), "its authority is not the one that the client trusts");
}

#[tokio::test]
async fn where_tls_is_required_nobody_logs_in_without() {
    let dir = tempfile::tempdir().unwrap();
    let made = testing::make(dir.path(), "ravenry.test");
    let tls = Some(Identity::load(&made.certificate, &made.key).unwrap().server());
    let stage = Stage::start_with(&[], |config| ServerConfig { tls, require_tls: true, ..config }).await;
    let mut stranger = Peer::connect(stage.address).await;
    let banner = stranger.until("(master)\"\r\n").await;
    assert!(banner.starts_with("* AUTH\r\n* STARTTLS\r\n"), "{banner}");
    let said = stranger.ask("AUTHENTICATE \"PLAIN\" \"AG11cmRlcgBzZWNyZXQ=\"").await;
    assert_eq!(said, "X1 NO \"no mechanism available\"\r\n");
}
