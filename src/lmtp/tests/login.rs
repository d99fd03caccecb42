//! Who may deliver, and how he shows who he is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::frontend::Script;
use super::stage::{Client, List, Stage, stage_with};
use crate::lmtp::FaceConfig;
use crate::net::sasl::client::Login;
use crate::net::sasl::server::Gate;
use crate::net::secret::Secret;
use crate::net::tls::{self, Identity};
use crate::net::users::{Users, add_user};

fn identity(what: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tls").join(format!("ravenry.test.{what}"))
}

/// Nobody is trusted; `mta` may log in; TLS is there.
async fn strict(dir: &tempfile::TempDir, adjust: impl FnOnce(&mut FaceConfig)) -> Stage {
    let users = dir.path().join("users");
    add_user(&users, "mta", "secret").unwrap();
    let (certificate, key) = (identity("crt"), identity("key"));
    let gate = Arc::new(Gate::new(Users::load(&users).unwrap()).unwrap());
    let tls = Identity::load(&certificate, &key).unwrap().server();
    stage_with(vec![Script::default()], List::of(&["user.alice"], true), |config| {
        config.trusted.clear();
        config.gate = Some(gate);
        config.tls = Some(tls);
        adjust(config);
    })
    .await
}

fn plain() -> String {
    format!("AUTH PLAIN {}", BASE64.encode("\0mta\0secret"))
}

async fn scram<S>(client: &mut Client<S>, password: &str) -> u16
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let offered = ["SCRAM-SHA-256".to_owned()];
    let mut login = Login::start(&offered, "mta", &Secret::new(password)).unwrap();
    let first = BASE64.encode(login.step(None).unwrap());
    let (mut code, mut text) = client.ask(&format!("AUTH SCRAM-SHA-256 {first}")).await;
    while code == 334 {
        let answer = login.step(Some(&BASE64.decode(text.trim_end()).unwrap())).unwrap();
        (code, text) = client.ask(&BASE64.encode(answer)).await;
    }
    code
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_login_nothing_is_taken_and_nothing_bounces() {
    let dir = tempfile::tempdir().unwrap();
    let stage = strict(&dir, |_| {}).await;
    let mut client = stage.client().await;
    assert_eq!(client.ask("MAIL FROM:<>").await.0, 430);
    assert_eq!(client.ask("RCPT TO:<alice>").await.0, 503);
    assert_eq!(scram(&mut client, "secret").await, 235);
    assert_eq!(client.ask(&plain()).await.0, 503);
    assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    let text = String::from_utf8(stage.frontends[0].received()[0].text.clone()).unwrap();
    assert!(text.contains(" with LMTPA;"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_taken_in_clear() {
    let dir = tempfile::tempdir().unwrap();
    let stage = strict(&dir, |_| {}).await;
    let mut client = stage.client().await;
    let (_, offers) = client.ask("LHLO x").await;
    assert!(
        offers.contains("STARTTLS") && offers.contains("SCRAM-SHA-512") && !offers.contains("PLAIN"),
        "{offers}"
    );
    // Not even from a client that was told otherwise on the way here.
    assert_eq!(client.ask(&plain()).await.0, 535);
    assert_eq!(client.ask("MAIL FROM:<>").await.0, 430);

    let dir = tempfile::tempdir().unwrap();
    let allowing = strict(&dir, |config| config.allow_plaintext = true).await;
    let mut client = allowing.client().await;
    assert_eq!(client.ask(&plain()).await.0, 235);
    assert_eq!(client.ask("MAIL FROM:<>").await.0, 250);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_ends_soon() {
    let dir = tempfile::tempdir().unwrap();
    let stage = strict(&dir, |_| {}).await;
    let mut client = stage.client().await;
    for line in ["AUTH PLAIN !!!", "AUTH NTLM", "AUTH SCRAM-SHA-256 !"] {
        client.send(&format!("{line}\r\n")).await;
    }
    let rest = client.rest().await;
    assert!(rest.lines().last().unwrap().starts_with("421"), "{rest}");
    let mut client = stage.client().await;
    client.send("AUTH SCRAM-SHA-256\r\n*\r\n").await;
    assert_eq!((client.reply().await.0, client.reply().await.0), (334, 501));
    assert_eq!(scram(&mut client, "wrong").await, 535);
}

async fn upgraded(stage: &Stage) -> Client<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut client = stage.client().await;
    assert_eq!(client.ask("STARTTLS").await.0, 220);
    let trust = tls::client(&identity("crt")).unwrap();
    let name = ServerName::try_from("ravenry.test").unwrap();
    let stream = TlsConnector::from(trust).connect(name, client.stream.into_inner()).await.unwrap();
    Client::new(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn under_tls_everything_begins_anew_and_plain_may_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let stage = strict(&dir, |_| {}).await;
    let mut client = upgraded(&stage).await;
    assert_eq!(client.ask("MAIL FROM:<>").await.0, 503, "what was said in clear does not count");
    let (_, offers) = client.ask("LHLO mta.test").await;
    assert!(!offers.contains("STARTTLS") && offers.contains("PLAIN"), "{offers}");
    assert_eq!(client.ask("STARTTLS").await.0, 454);
    assert_eq!(client.ask(&plain()).await.0, 235);
    assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    let text = String::from_utf8(stage.frontends[0].received()[0].text.clone()).unwrap();
    assert!(text.contains(" with LMTPSA;"), "{text}");
}

/// What a man in the middle puts behind STARTTLS must not be taken for what the client says under TLS.
#[tokio::test(flavor = "multi_thread")]
async fn commands_behind_starttls_end_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let stage = strict(&dir, |_| {}).await;
    for injected in ["LHLO evil\r\n", "RSET\r\nMAIL FROM:<evil@b>\r\n", "x"] {
        let mut client = stage.client().await;
        client.send(&format!("STARTTLS\r\n{injected}")).await;
        assert_eq!(client.rest().await, "220 2.0.0 Begin TLS negotiation now\r\n", "{injected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_place_of_tls_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let stage = strict(&dir, |_| {}).await;
    let mut client = stage.client().await;
    assert_eq!(client.ask("STARTTLS").await.0, 220);
    client.stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    client.rest().await;
    assert_eq!(stage.client().await.ask("NOOP").await.0, 250);
}
