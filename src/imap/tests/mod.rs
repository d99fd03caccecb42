//! The face to mail clients over loopback, in front of stubs.

mod abuse;
mod bounds;
mod client;
mod conversation;
mod crowd;
mod stub;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig as TlsConfig;

use super::{ImapConfig, Listening, Observer, Proxy};
use crate::list::MailboxName;
use client::Client;
use stub::{Part, Stub};

/// Wants to know nothing.
struct Nobody;

impl Observer for Nobody {
    fn gone(&self, _: MailboxName) {}
    fn without_master(&self, _: &'static str, _: Option<MailboxName>, _: &str) {}
}

/// A proxy in front of some stubs.
struct Stage {
    address: SocketAddr,
    /// TLS from the first byte, if there is an identity.
    address_tls: SocketAddr,
    proxy: Proxy,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
}

impl Stage {
    async fn start(stubs: &[&Stub], change: impl FnOnce(&mut ImapConfig)) -> Self {
        Self::start_with(stubs, None, change).await
    }

    async fn start_with(
        stubs: &[&Stub],
        tls: Option<Arc<TlsConfig>>,
        change: impl FnOnce(&mut ImapConfig),
    ) -> Self {
        let addresses = stubs.iter().map(|stub| stub.address.to_string()).collect();
        let mut config = ImapConfig::new(addresses);
        config.allow_plaintext = true;
        config.check_every = Duration::from_millis(50);
        config.drain = Duration::from_secs(1);
        change(&mut config);
        let proxy = Proxy::start(config, tls, Arc::new(Nobody));
        let listen = async || TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (listener, listener_tls) = (listen().await, listen().await);
        let [address, address_tls] = [&listener, &listener_tls].map(|bound| bound.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn({
            let proxy = proxy.clone();
            async move {
                tokio::join!(
                    proxy.serve(listener, Listening::Clear, stopped.clone()),
                    proxy.serve(listener_tls, Listening::Tls, stopped),
                );
            }
        });
        // The first check tells how the frontends greet.
        for _ in 0..200 {
            if proxy.frontends().iter().all(|frontend| frontend.health != super::Health::Unknown) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { address, address_tls, proxy, stop, serving }
    }

    /// Waits until every session has ended.
    async fn is_empty(&self) {
        for _ in 0..200 {
            if self.proxy.sessions() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} sessions are left", self.proxy.sessions());
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    async fn logged_in(&self) -> Client {
        let mut client = self.client().await;
        client.line().await;
        client.exchange("a LOGIN alice secret").await;
        client
    }
}

#[tokio::test]
async fn a_session_passes_and_capabilities_that_would_blind_us_do_not() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let mut client = stage.client().await;
    assert_eq!(
        client.line().await,
        "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE SASL-IR AUTH=PLAIN] fe Cyrus IMAP ready"
    );
    assert_eq!(
        client.exchange("a CAPABILITY").await,
        ["* CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE SASL-IR AUTH=PLAIN", "a OK Completed"]
    );
    assert_eq!(client.exchange("b SELECT INBOX").await, ["b BAD Please login first"]);
    assert_eq!(client.exchange("i ID NIL").await, ["* ID (\"name\" \"stub\")", "i OK Completed"]);
    // The longest that RFC 2971 allows.
    let fields: Vec<_> = (0..30).map(|n| format!("\"{n:x<30}\" \"{}\"", "v".repeat(1024))).collect();
    let longest = format!("i ID ({})", fields.join(" "));
    assert_eq!(client.exchange(&longest).await, ["* ID (\"name\" \"stub\")", "i OK Completed"]);
    let answer = client.exchange("c LOGIN \"alice\" {6+}\r\nsecret").await;
    assert_eq!(answer, ["c OK [CAPABILITY IMAP4rev1 IDLE] User logged in"]);
    assert_eq!(client.exchange("d COMPRESS DEFLATE").await, ["d BAD Unrecognized command"]);
    let fetched = client.exchange("e FETCH 1 BODY[]").await;
    assert_eq!(fetched, ["* 1 FETCH (BODY[] {11}", "hello world)", "e OK Completed "]);
    assert_eq!(
        client.exchange("f CREATE x").await,
        [
            "f NO [UNAVAILABLE] The mail system cannot do this right now, try again later (no connection to server)"
        ]
    );
    assert_eq!(client.exchange("g LOGOUT").await, ["* BYE LOGOUT received", "g OK Completed"]);
    assert_eq!(client.rest().await, "");
    assert!(!stub.heard("COMPRESS"));
}

#[tokio::test]
async fn commands_sent_ahead_of_the_login_are_not_lost() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let mut client = stage.client().await;
    client.send("a LOGIN alice secret\r\nb NOOP\r\nc LOGOUT\r\n").await;
    client.shutdown().await;
    let rest = client.rest().await;
    assert!(rest.ends_with("b OK Completed \r\n* BYE LOGOUT received\r\nc OK Completed\r\n"), "{rest}");
}

#[tokio::test]
async fn authenticate_with_and_without_an_initial_response() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let secret = BASE64.encode("\0alice\0secret");
    let mut client = stage.client().await;
    client.line().await;
    assert_eq!(
        client.exchange(&format!("a AUTHENTICATE PLAIN {secret}")).await,
        ["a OK Success (no protection)"]
    );
    let mut client = stage.client().await;
    client.line().await;
    client.send("a AUTHENTICATE PLAIN\r\n").await;
    assert_eq!(client.line().await, "+ ");
    assert_eq!(client.exchange_tagged(&secret, "a").await, ["a OK Success (no protection)"]);
    let mut client = stage.client().await;
    client.line().await;
    assert_eq!(
        client.exchange("a AUTHENTICATE GSSAPI").await,
        ["a NO no mechanism available"],
        "a layer would hide it"
    );
}

#[tokio::test]
async fn without_tls_no_secret_is_taken_unless_configured() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.allow_plaintext = false).await;
    let mut client = stage.client().await;
    assert_eq!(
        client.line().await,
        "* OK [CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE SASL-IR LOGINDISABLED] fe Cyrus IMAP ready"
    );
    let refused = client.exchange("a LOGIN alice secret").await;
    assert!(refused[0].starts_with("a NO [PRIVACYREQUIRED]"), "{refused:?}");
    assert_eq!(client.exchange("b AUTHENTICATE PLAIN AGEAYg==").await, ["b NO no mechanism available"]);
    assert!(!stub.heard("secret"));
}

#[tokio::test]
async fn a_login_goes_to_another_frontend_when_the_first_dies() {
    let (dying, good) = (Stub::start(Part::DiesAtLogin).await, Stub::start(Part::Good).await);
    let stage = Stage::start(&[&dying, &good], |_| {}).await;
    for _ in 0..4 {
        let mut client = stage.client().await;
        client.line().await;
        let answer = client.exchange("a LOGIN alice secret").await;
        assert!(answer[0].starts_with("a OK"), "{answer:?}");
    }
    let mut client = stage.client().await;
    client.line().await;
    let answer = client.exchange("a LOGIN alice wrong").await;
    assert_eq!(answer, ["a NO Login failed: authentication failure"], "the frontend's word is final");
}

#[tokio::test]
async fn with_no_frontend_left_the_client_is_told_so() {
    let dying = Stub::start(Part::DiesAtLogin).await;
    let stage = Stage::start(&[&dying], |_| {}).await;
    let mut client = stage.client().await;
    client.line().await;
    let answer = client.exchange("a LOGIN alice secret").await;
    assert!(answer[0].starts_with("a NO [UNAVAILABLE]"), "{answer:?}");
}

#[tokio::test]
async fn with_no_frontend_to_greet_for_the_client_is_told_so() {
    let bad = Stub::start(Part::PreAuth).await;
    let stage = Stage::start(&[&bad], |_| {}).await;
    let said = stage.client().await.rest().await;
    assert!(said.starts_with("* BYE [UNAVAILABLE] The mail system") && said.ends_with("later\r\n"), "{said}");
}

#[tokio::test]
async fn a_frontend_that_greets_preauth_is_never_used() {
    let (bad, good) = (Stub::start(Part::PreAuth).await, Stub::start(Part::Good).await);
    let stage = Stage::start(&[&bad, &good], |_| {}).await;
    for _ in 0..4 {
        let mut client = stage.logged_in().await;
        assert_eq!(client.exchange("b NOOP").await, ["b OK Completed "]);
    }
    assert!(!bad.heard("LOGIN"));
}

#[tokio::test]
async fn sessions_of_a_lost_frontend_end_with_a_bye_and_others_go_on() {
    let (doomed, other) = (Stub::start(Part::Good).await, Stub::start(Part::Good).await);
    let stage = Stage::start(&[&doomed, &other], |_| {}).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(stage.logged_in().await);
    }
    drop(doomed);
    let (mut lost, mut alive) = (0, 0);
    for client in &mut clients {
        match client.exchange("b NOOP").await.as_slice() {
            [line] if line == "b OK Completed " => alive += 1,
            [line] if line.starts_with("* BYE [UNAVAILABLE]") => lost += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((lost, alive), (3, 3), "the sessions were shared out");
    assert_eq!(stage.logged_in().await.exchange("c NOOP").await, ["c OK Completed "]);
}

#[tokio::test]
async fn stopping_says_goodbye_between_two_commands() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let mut client = stage.logged_in().await;
    client.exchange("b NOOP").await;
    stage.stop.send(true).unwrap();
    assert!(client.line().await.starts_with("* BYE [UNAVAILABLE]"));
    assert_eq!(client.rest().await, "");
    tokio::time::timeout(Duration::from_secs(5), stage.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drained_frontend_loses_its_sessions_in_order_and_gets_no_new_ones() {
    let (one, other) = (Stub::start(Part::Good).await, Stub::start(Part::Good).await);
    let stage = Stage::start(&[&one, &other], |_| {}).await;
    let (mut first, mut second) = (stage.logged_in().await, stage.logged_in().await);
    assert!(stage.proxy.drain(&one.address.to_string(), true));
    assert!(!stage.proxy.drain("elsewhere:143", true));
    for client in [&mut first, &mut second] {
        let answer = client.exchange("b NOOP").await;
        assert!(answer[0].starts_with("* BYE [UNAVAILABLE]") || answer[0].starts_with("b OK"), "{answer:?}");
    }
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let mut client = stage.logged_in().await;
        assert_eq!(client.exchange("c NOOP").await, ["c OK Completed "]);
        sessions.push(client);
    }
    let status = stage.proxy.frontends();
    assert_eq!((status[0].drained, status[0].sessions), (true, 0));
    assert!(stage.proxy.drain(&one.address.to_string(), false));
    stage.logged_in().await;
    assert!(!stage.proxy.frontends()[0].drained);
}

#[tokio::test]
async fn one_client_cannot_take_every_session() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.max_per_client = 2).await;
    let (first, _second) = (stage.logged_in().await, stage.logged_in().await);
    assert_eq!(stage.client().await.line().await, "* BYE [LIMIT] Too many sessions from your address");
    drop(first);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(stage.client().await.line().await.starts_with("* OK"));
}

#[tokio::test]
async fn balancers_are_believed_and_frontends_are_told() {
    let stub = Stub::start(Part::BehindProxy).await;
    let stage = Stage::start(&[&stub], |config| {
        config.announce_clients = true;
        config.balancers = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut client = stage.client().await;
    client.send("PROXY TCP4 192.0.2.7 192.0.2.1 4242 143\r\n").await;
    assert!(client.line().await.starts_with("* OK"));
    client.exchange("a LOGIN alice secret").await;
    assert_eq!(client.exchange("b NOOP").await, ["b OK Completed 192.0.2.7"]);
    let mut liar = stage.client().await;
    liar.send("a LOGIN alice secret\r\n").await;
    assert_eq!(liar.rest().await, "", "a balancer that does not speak the protocol is cut off");
}

#[tokio::test]
async fn a_header_from_anybody_else_is_no_header() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let mut client = stage.client().await;
    client.line().await;
    let answer = client.exchange_tagged("PROXY TCP4 192.0.2.7 192.0.2.1 4242 143", "PROXY").await;
    assert_eq!(answer, ["PROXY BAD Please login first"]);
}

#[tokio::test]
async fn strangers_are_bounded_in_bytes_and_time() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.login_timeout = Duration::from_millis(300)).await;
    for endless in
        ["x".repeat(50_000), "a LOGIN {999999999}\r\n".into(), "a LOGIN {99999999999999999999999}\r\n".into()]
    {
        let mut client = stage.client().await;
        client.line().await;
        client.send(&endless).await;
        let rest = client.rest().await;
        assert!(rest.is_empty() || rest.starts_with("* BYE"), "{rest}");
    }
    let mut slow = stage.client().await;
    slow.line().await;
    assert_eq!(slow.rest().await, "* BYE No login in time\r\n");
    assert_eq!(stage.proxy.frontends()[0].sessions, 0);
}
