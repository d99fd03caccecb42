//! Servers that want TLS and a login: frontends, and the submission host.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::frontend::Script;
use super::stage::{List, Stage, stage_with};
use crate::lmtp::mailbox::Naming;
use crate::lmtp::{Frontends, Replay, Submission, UpstreamConfig};
use crate::net::sasl::server::Gate;
use crate::net::secret::Secret;
use crate::net::tls::{self, Identity, testing};
use crate::net::users::{Users, add_user};
use crate::spool::{Address, Attempt, Body, Deliver, Destination, Envelope, Protocol, Recipient, Verdict};

const TEXT: &[u8] = b"Subject: x\r\n\r\n.\r\n..dots\r\n";

/// A message from the null sender, as reports are.
async fn deliver(way: &dyn Deliver, to: &[&str]) -> Vec<Verdict> {
    let address = |text: &str| Address::new(Bytes::from(text.to_owned())).unwrap();
    let recipient = |to: &&str| Recipient { address: address(to), parameters: Vec::new(), mailbox: None };
    let envelope = Envelope {
        sender: address(""),
        parameters: Vec::new(),
        recipients: to.iter().map(recipient).collect(),
        arrival_unix_ms: 0,
        peer: "test".into(),
        protocol: Protocol::Report,
    };
    way.deliver(Attempt {
        id: "1".parse().unwrap(),
        envelope: Arc::new(envelope),
        recipients: (0..to.len()).collect(),
        destination: Destination::Submission,
        body: Body::in_memory(TEXT).reader(),
    })
    .await
}

fn config(authority: Option<&Path>, login: Option<(&str, &str)>) -> UpstreamConfig {
    UpstreamConfig {
        login: login.map(|(user, password)| (user.to_owned(), Secret::new(password))),
        tls: authority.map(|authority| tls::client(authority).unwrap()),
        ..UpstreamConfig::new("ravenry.test")
    }
}

/// What a submission host heard, with `TLS` where that began.
type Heard = Arc<Mutex<Vec<String>>>;

/// A submission host on loopback that takes mail only under TLS and after PLAIN. `injects` puts replies behind its 220
/// to STARTTLS, as a man in the middle would.
async fn host(dir: &Path, injects: bool) -> (SocketAddr, Heard) {
    let made = testing::make(dir, "127.0.0.1");
    let identity = Identity::load(&made.certificate, &made.key).unwrap();
    let acceptor = TlsAcceptor::from(identity.server());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Heard::default();
    let hearing = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let (acceptor, hearing) = (acceptor.clone(), hearing.clone());
            tokio::spawn(async move {
                tcp.write_all(b"220 host ESMTP\r\n").await.unwrap();
                let Some(mut tcp) = attend(tcp, &hearing, false).await else { return };
                let injected = "220 go ahead\r\n250-host\r\n250 AUTH PLAIN\r\n";
                let go = if injects { injected } else { "220 go ahead\r\n" };
                tcp.write_all(go.as_bytes()).await.unwrap();
                if let Ok(tls) = acceptor.accept(tcp).await {
                    hearing.lock().unwrap().push("TLS".into());
                    attend(tls, &hearing, true).await;
                }
            });
        }
    });
    (address, heard)
}

/// Speaks SMTP; gives the connection back where STARTTLS was said.
async fn attend<S: AsyncRead + AsyncWrite + Unpin>(stream: S, heard: &Heard, under_tls: bool) -> Option<S> {
    let mut stream = BufReader::new(stream);
    let (mut known, mut in_text) = (false, false);
    loop {
        let mut line = String::new();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            return None;
        }
        let line = line.trim_end_matches("\r\n").to_owned();
        heard.lock().unwrap().push(line.clone());
        if in_text && line != "." {
            continue;
        }
        let login = format!("AUTH PLAIN {}", BASE64.encode("\0mailer\0secret"));
        let reply = match line.split(' ').next().unwrap_or_default() {
            "." => "250 2.0.0 Ok",
            "EHLO" if under_tls => "250-host\r\n250 AUTH PLAIN",
            "EHLO" => "250-host\r\n250 STARTTLS",
            "STARTTLS" => return Some(stream.into_inner()),
            "AUTH" if line == login => {
                known = true;
                "235 2.7.0 Ok"
            }
            "AUTH" => "535 5.7.8 no",
            "MAIL" if !known => "530 5.7.0 Authentication required",
            "RCPT" if line.contains("stranger") => "550 5.1.1 nobody",
            "RCPT" if line.contains("later") => "450 4.2.0 later",
            "DATA" => "354 go ahead",
            _ => "250 Ok",
        };
        in_text = line == "DATA";
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_submitted_under_tls_and_after_a_login() {
    let dir = tempfile::tempdir().unwrap();
    let (address, heard) = host(dir.path(), false).await;
    let authority = dir.path().join("ca.crt");
    let config = config(Some(&authority), Some(("mailer", "secret")));
    let submission = Submission::new(&address.to_string(), config);
    let verdicts = deliver(&submission, &["sender@example.org", "stranger@x", "later@x"]).await;
    assert!(
        matches!(&verdicts[..], [Verdict::Delivered(_), Verdict::Refused(_), Verdict::Deferred(_)]),
        "{verdicts:?}"
    );
    let heard = heard.lock().unwrap().clone();
    assert_eq!(heard[..3], ["EHLO ravenry.test", "STARTTLS", "TLS"], "{heard:?}");
    assert_eq!(heard[3], "EHLO ravenry.test", "what was said in clear does not count");
    assert!(heard[4].starts_with("AUTH PLAIN "), "{heard:?}");
    assert_eq!(heard[5], "MAIL FROM:<>");
    let text = heard.iter().skip_while(|line| *line != "DATA").skip(1).take_while(|line| *line != "QUIT");
    let text: Vec<&str> = text.map(String::as_str).collect();
    assert_eq!(text, ["Subject: x", "", "..", "...dots", "."], "dots are stuffed");
}

/// Whatever is wrong with the host or with us, a report stays queued.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_as_configured_is_told_nothing_and_costs_no_report() {
    let dir = tempfile::tempdir().unwrap();
    let others = tempfile::tempdir().unwrap();
    testing::make(others.path(), "127.0.0.1");
    let (address, heard) = host(dir.path(), false).await;
    let authority = dir.path().join("ca.crt");
    let stranger = others.path().join("ca.crt");
    let cases = [
        ("another authority", config(Some(&stranger), Some(("mailer", "secret")))),
        ("a wrong password", config(Some(&authority), Some(("mailer", "wrong")))),
        ("no login", config(Some(&authority), None)),
        ("no TLS, so no mechanism", config(None, Some(("mailer", "secret")))),
    ];
    for (what, config) in cases {
        let submission = Submission::new(&address.to_string(), config);
        let verdicts = deliver(&submission, &["sender@example.org"]).await;
        let [Verdict::Deferred(reply)] = &verdicts[..] else { panic!("{what}: {verdicts:?}") };
        assert!(reply.is_about_the_destination(), "{what}: {reply}");
    }
    let heard = heard.lock().unwrap().clone();
    assert!(!heard.iter().any(|line| line == "DATA"), "{heard:?}");
    let secret = BASE64.encode("\0mailer\0secret");
    assert!(!heard.iter().any(|line| line.contains(&secret)), "the password went out: {heard:?}");
}

/// A reload has another password for both ways.
#[tokio::test(flavor = "multi_thread")]
async fn a_password_can_be_changed_while_it_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let (address, _) = host(dir.path(), false).await;
    let authority = dir.path().join("ca.crt");
    let right = config(Some(&authority), Some(("mailer", "secret")));
    let submission =
        Submission::new(&address.to_string(), config(Some(&authority), Some(("mailer", "wrong"))));
    let running: &dyn Deliver = &submission.clone();
    assert!(matches!(deliver(running, &["sender@x"]).await[..], [Verdict::Deferred(_)]));
    submission.change(|old| UpstreamConfig { login: right.login.clone(), ..old });
    assert!(matches!(deliver(running, &["sender@x"]).await[..], [Verdict::Delivered(_)]));

    let dir = tempfile::tempdir().unwrap();
    let frontend = strict_frontend(&dir).await;
    let authority = dir.path().join("ca.crt");
    let address = frontend.address.to_string();
    let pool = Frontends::new([address.as_str()], config(Some(&authority), Some(("proxy", "wrong"))));
    let replay = Replay::new(pool.clone(), List::of(&["user.alice"], true), Naming::default());
    assert!(matches!(deliver(&replay, &["alice"]).await[..], [Verdict::Deferred(_)]));
    let right = config(Some(&authority), Some(("proxy", "secret")));
    pool.change(|old| UpstreamConfig { login: right.login, ..old });
    let back = Arc::new(tokio::sync::Notify::new());
    let (told, watching) = (back.clone(), pool.clone());
    tokio::spawn(async move { watching.watch(move || told.notify_one()).await });
    back.notified().await;
    assert!(matches!(deliver(&replay, &["alice"]).await[..], [Verdict::Delivered(_)]));
}

/// What came in clear behind the 220 must not be taken for an answer under TLS.
#[tokio::test(flavor = "multi_thread")]
async fn replies_behind_starttls_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (address, heard) = host(dir.path(), true).await;
    let config = config(Some(&dir.path().join("ca.crt")), Some(("mailer", "secret")));
    let verdicts = deliver(&Submission::new(&address.to_string(), config), &["sender@example.org"]).await;
    let heard = heard.lock().unwrap().clone();
    // Either the handshake trips over it, or it is thrown away: then the greeting under TLS is the host's own.
    match &verdicts[..] {
        [Verdict::Delivered(_)] => assert_eq!(heard[2..4], ["TLS", "EHLO ravenry.test"], "{heard:?}"),
        [Verdict::Deferred(_)] => assert!(!heard.iter().any(|line| line.starts_with("AUTH")), "{heard:?}"),
        other => panic!("{other:?}"),
    }
}

/// Our own face plays the frontend: it trusts nobody, and has TLS and SCRAM.
async fn strict_frontend(dir: &tempfile::TempDir) -> Stage {
    let made = testing::make(dir.path(), "127.0.0.1");
    let users = dir.path().join("users");
    add_user(&users, "proxy", "secret").unwrap();
    let gate = Arc::new(Gate::new(Users::load(&users).unwrap()).unwrap());
    let tls = Identity::load(&made.certificate, &made.key).unwrap().server();
    stage_with(vec![Script::default()], List::of(&["user.alice"], true), |config| {
        config.trusted.clear();
        config.gate = Some(gate);
        config.tls = Some(tls);
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_that_wants_tls_and_a_login_gets_both() {
    let dir = tempfile::tempdir().unwrap();
    let frontend = strict_frontend(&dir).await;
    let authority = dir.path().join("ca.crt");
    let address = frontend.address.to_string();
    let cases = [
        (Some(authority.as_path()), Some(("proxy", "secret")), "LMTPSA"),
        (None, Some(("proxy", "secret")), "LMTPA"),
        (Some(authority.as_path()), Some(("proxy", "wrong")), ""),
        (Some(authority.as_path()), None, ""),
    ];
    for (authority, login, protocol) in cases {
        let pool = Frontends::new([address.as_str()], config(authority, login));
        let replay = Replay::new(pool.clone(), List::of(&["user.alice"], true), Naming::default());
        let verdicts = deliver(&replay, &["alice"]).await;
        if protocol.is_empty() {
            assert!(matches!(&verdicts[..], [Verdict::Deferred(_)]), "{verdicts:?}");
            let status = pool.status();
            assert!(status[0].down.is_some(), "it is down, and bounces nothing: {status:?}");
            continue;
        }
        assert!(matches!(&verdicts[..], [Verdict::Delivered(_)]), "{verdicts:?}");
        let received = frontend.frontends[0].received().pop().unwrap();
        let text = String::from_utf8(received.text).unwrap();
        assert!(text.contains(&format!(" with {protocol};")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_whose_starttls_was_taken_away_gets_no_mail() {
    let plain = stage_with(vec![Script::default()], List::of(&["user.alice"], true), |_| {}).await;
    let dir = tempfile::tempdir().unwrap();
    let made = testing::make(dir.path(), "127.0.0.1");
    let pool = Frontends::new([plain.address.to_string().as_str()], config(Some(&made.authority), None));
    let replay = Replay::new(pool.clone(), List::of(&["user.alice"], true), Naming::default());
    let verdicts = deliver(&replay, &["alice"]).await;
    assert!(matches!(&verdicts[..], [Verdict::Deferred(_)]), "{verdicts:?}");
    assert!(pool.status()[0].down.as_ref().is_some_and(|why| why.contains("STARTTLS")));
    assert!(plain.delivered().is_empty());
}
