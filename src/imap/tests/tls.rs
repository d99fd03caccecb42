//! TLS towards clients and frontends, and who tries to get in before it.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ServerConfig;

use super::stub::{Part, Stub};
use super::{Client, Stage};
use crate::imap::Health;
use crate::net::tls::testing::{Made, make};
use crate::net::tls::{self, ClientTls, Identity};

fn identity(made: &Made) -> Arc<ServerConfig> {
    Identity::load(&made.certificate, &made.key).unwrap().server()
}

async fn under_tls(client: Client, authority: &Path) -> Client {
    let connector = TlsConnector::from(tls::client(authority).unwrap());
    client.start_tls(connector, "ravenry.test".try_into().unwrap()).await
}

/// CVE-2011-0411: what somebody puts behind a client's STARTTLS, in clear, must not be taken for the client's.
#[tokio::test]
async fn what_came_in_clear_behind_starttls_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), "ravenry.test");
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start_with(&[&stub], Some(identity(&made)), |c| c.allow_plaintext = false).await;
    let mut client = stage.client().await;
    let greeting = client.line().await;
    assert!(greeting.contains("STARTTLS") && greeting.contains("LOGINDISABLED"), "{greeting}");
    client.send("a STARTTLS\r\nb LOGIN mallory secret\r\nc NOOP\r\n").await;
    assert!(client.line().await.starts_with("a OK"));
    let mut client = under_tls(client, &made.authority).await;
    let answer = client.exchange("d CAPABILITY").await;
    assert_eq!(answer.len(), 2, "nothing is answered but this: {answer:?}");
    assert!(!answer[0].contains("STARTTLS") && !answer[0].contains("LOGINDISABLED"), "{answer:?}");
    assert_eq!(client.exchange("e STARTTLS").await.len(), 1, "not twice");
    assert!(client.exchange("f LOGIN alice secret").await[0].starts_with("f OK"));
    assert!(!stub.heard("mallory"));
}

/// Whether a frontend with a certificate for that host, reached like this, is used; and why not.
async fn is_used(host: &str, part: fn(Arc<ServerConfig>) -> Part, imaps: bool) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), host);
    let trusted = tls::client(&made.authority).unwrap();
    let stub = Stub::start(part(identity(&made))).await;
    let reach = if imaps { ClientTls::AtOnce } else { ClientTls::StartTls };
    let stage = Stage::start(&[&stub], |config| config.frontend_tls = reach(trusted)).await;
    if let Health::Down(why, _) = &stage.proxy.frontends()[0].health {
        assert!(!stub.heard("LOGIN"));
        return Err(why.clone());
    }
    let mut client = stage.logged_in().await;
    assert_eq!(client.exchange("b NOOP").await, ["b OK Completed "]);
    let fetched = client.exchange("e FETCH 1 BODY[]").await;
    assert_eq!(fetched, ["* 1 FETCH (BODY[] {11}", "hello world)", "e OK Completed "]);
    // As Cyrus, it ends TLS without an alert: nothing is lost, and nobody is down.
    client.send("f LOGOUT\r\n").await;
    assert_eq!(client.rest().await, "* BYE LOGOUT received\r\nf OK Completed\r\n");
    let health = &stage.proxy.frontends()[0].health;
    assert!(!matches!(health, Health::Down(..)), "{health:?}");
    Ok(())
}

#[tokio::test]
async fn frontends_under_tls_are_used_and_their_certificates_checked() {
    assert_eq!(is_used("127.0.0.1", Part::Imaps, true).await, Ok(()));
    assert_eq!(is_used("127.0.0.1", |tls| Part::StartTls(tls, ""), false).await, Ok(()));
    for (part, imaps) in
        [(Part::Imaps as fn(_) -> _, true), ((|tls| Part::StartTls(tls, "")) as fn(_) -> _, false)]
    {
        let why = is_used("elsewhere.test", part, imaps).await.unwrap_err();
        assert!(why.contains("certificate"), "{why}");
    }
}

/// A list in clear could be anybody's: somebody in between who takes the better mechanisms off it gets no client to use
/// a worse one. And Cyrus itself offers PLAIN only under TLS, where it is configured like that.
#[tokio::test]
async fn mechanisms_are_those_that_a_frontend_offers_under_tls() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), "127.0.0.1");
    let stub = Stub::start(Part::StartTls(identity(&made), "")).await;
    let trusted = tls::client(&made.authority).unwrap();
    let stage = Stage::start(&[&stub], |config| config.frontend_tls = ClientTls::StartTls(trusted)).await;
    let mut client = stage.client().await;
    assert_eq!(client.line().await, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=SCRAM-SHA-256] IMAP ready");
}

#[tokio::test]
async fn a_frontend_with_an_expired_or_unknown_certificate_gets_no_password() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(dir.path(), "127.0.0.1");
    for expired in [true, false] {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut own = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        own.distinguished_name.push(rcgen::DnType::CommonName, "an authority of its own");
        if expired {
            own.not_after = rcgen::date_time_ymd(2020, 2, 3);
        }
        let own = own.self_signed(&key).unwrap();
        std::fs::write(&made.certificate, own.pem()).unwrap();
        std::fs::write(&made.key, key.serialize_pem()).unwrap();
        // One that has expired is known otherwise.
        let authority = if expired { &made.certificate } else { &made.authority };
        let trusted = tls::client(authority).unwrap();
        for imaps in [true, false] {
            let part = |tls| if imaps { Part::Imaps(tls) } else { Part::StartTls(tls, "") };
            let stub = Stub::start(part(identity(&made))).await;
            let reach = if imaps { ClientTls::AtOnce } else { ClientTls::StartTls };
            let stage = Stage::start(&[&stub], |config| config.frontend_tls = reach(trusted.clone())).await;
            let health = stage.proxy.frontends()[0].health.clone();
            let why = if expired { "certificate expired" } else { "UnknownIssuer" };
            assert!(matches!(&health, Health::Down(told, _) if told.contains(why)), "{health:?}");
            assert!(!stub.heard("LOGIN"));
        }
    }
}

#[tokio::test]
async fn a_frontend_that_offers_no_tls_gets_no_password() {
    let why = is_used("127.0.0.1", |_| Part::Good, false).await.unwrap_err();
    assert!(why.contains("STARTTLS"), "{why}");
}

/// What somebody puts behind the frontend's answer, in clear, would be read as if it had come under TLS.
#[tokio::test]
async fn what_came_in_clear_behind_a_frontends_answer_is_believed_by_nobody() {
    let injected = |tls| Part::StartTls(tls, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] evil\r\n");
    let why = is_used("127.0.0.1", injected, false).await.unwrap_err();
    assert!(why.contains("in clear"), "{why}");
}
