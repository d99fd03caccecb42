//! Clients, and those who pretend to be clients or balancers, that send too much, too slowly, or what is not theirs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::stub::{Part, Stub};
use super::{Client, Stage};
use crate::net::tls::Identity;
use crate::net::tls::testing::make;

/// Who drips sends a byte so often, which is no reason to wait longer.
const DRIP: Duration = Duration::from_millis(20);
const LOGIN: Duration = Duration::from_millis(400);
/// The deadline, with slack for a busy machine.
const ENDED: Duration = Duration::from_secs(3);

async fn stage(stub: &Stub, dir: &Path) -> Stage {
    let made = make(dir, "ravenry.test");
    let tls = Identity::load(&made.certificate, &made.key).unwrap().server();
    Stage::start_with(&[stub], Some(tls), |config| config.login_timeout = LOGIN).await
}

/// Drips until it is cut off; how long that took, and what it was told.
async fn drips(mut client: Client, text: &str) -> (Duration, String) {
    let began = Instant::now();
    let (mut bytes, mut said) = (text.chars().cycle(), Vec::new());
    while began.elapsed() < 2 * ENDED {
        client.send(&bytes.next().map(String::from).unwrap_or_default()).await;
        if client.ended_within(DRIP, &mut said).await {
            return (began.elapsed(), String::from_utf8_lossy(&said).into_owned());
        }
    }
    panic!("it was never cut off");
}

#[tokio::test]
async fn whoever_drips_is_cut_off_in_every_state_and_nobody_else_notices() {
    let (dir, stub) = (tempfile::tempdir().unwrap(), Stub::start(Part::Good).await);
    let stage = Arc::new(stage(&stub, dir.path()).await);
    let mut bystander = stage.logged_in().await;
    let mut slow = tokio::task::JoinSet::new();
    for (first, heard, drip) in [
        ("", "", "x"),
        ("a LOGIN ", "", "alice"),
        ("a LOGIN alice {400}\r\n", "+ ", "s"),
        ("a LOGIN {5}\r\n", "+ ", ""),
        ("a AUTHENTICATE PLAIN\r\n", "+ ", "A"),
        ("a NOOP\r\n", "a OK", "b NOOP\r\n"),
    ] {
        let stage = stage.clone();
        slow.spawn(async move {
            let began = Instant::now();
            let mut client = stage.client().await;
            client.line().await;
            client.send(first).await;
            if !heard.is_empty() {
                let line = client.line().await;
                assert!(line.starts_with(heard), "{first:?}: {line}");
            }
            let (took, said) = drips(client, drip).await;
            // Its time runs from when it was heard, not from its first drip.
            assert!(took < ENDED && began.elapsed() > LOGIN / 2, "{first:?}: {took:?}");
            assert!(said.ends_with("* BYE No login in time\r\n"), "{first:?}: {said}");
        });
    }
    // In the handshake, behind STARTTLS and on the port for TLS.
    for (address, starttls) in [(stage.address, true), (stage.address_tls, false)] {
        slow.spawn(async move {
            let mut client = Client::connect(address).await;
            if starttls {
                client.line().await;
                assert!(client.exchange("a STARTTLS").await.concat().starts_with("a OK"));
            }
            // The beginning of a ClientHello that never ends.
            client.send("\x16\x03\x01\x02\x00\x01\x00\x01\x6c\x03\x03").await;
            let (took, said) = drips(client, "x").await;
            assert!(took < ENDED, "{took:?}");
            assert!(!said.contains("OK"), "{said}");
        });
    }
    while !slow.is_empty() {
        assert_eq!(bystander.exchange("b NOOP").await, ["b OK Completed "]);
        assert_eq!(stage.logged_in().await.exchange("c NOOP").await, ["c OK Completed "]);
        if let Ok(Some(done)) = tokio::time::timeout(DRIP, slow.join_next()).await {
            done.unwrap();
        }
    }
    drop(bystander);
    stage.is_empty().await;
}

#[tokio::test]
async fn what_is_sent_ahead_behind_authenticate_is_the_clients_own_and_in_order() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let secret = BASE64.encode("\0alice\0secret");
    let mut client = stage.client().await;
    client.line().await;
    client.send(&format!("a AUTHENTICATE PLAIN\r\n{secret}\r\nb NOOP\r\nc LOGOUT\r\n")).await;
    let rest = client.rest().await;
    assert_eq!(
        rest,
        "+ \r\na OK Success (no protection)\r\nb OK Completed \r\n* BYE LOGOUT received\r\nc OK Completed\r\n"
    );
    // Refused at once: what was meant as an answer is no command of anybody's, and what follows it needs a login.
    let mut client = stage.client().await;
    client.line().await;
    client.send(&format!("a AUTHENTICATE GSSAPI\r\n{secret}\r\nb DELETE INBOX.x\r\nc LOGOUT\r\n")).await;
    let rest = client.rest().await;
    assert!(rest.starts_with("a NO no mechanism available\r\n"), "{rest}");
    assert!(rest.contains("b BAD Please login first\r\n") && rest.ends_with("c OK Completed\r\n"), "{rest}");
    assert!(!stub.heard("DELETE"));
    // Given up (RFC 9051 §6.2.2): the frontend says so, and the client is a stranger still.
    let mut client = stage.client().await;
    client.line().await;
    client.send("a AUTHENTICATE PLAIN\r\n*\r\nb DELETE INBOX.y\r\n").await;
    assert_eq!(client.line().await, "+ ");
    assert_eq!(client.line().await, "a BAD Authentication canceled");
    assert_eq!(client.line().await, "b BAD Please login first");
    assert!(!stub.heard("DELETE"));
}

#[tokio::test]
async fn mechanisms_that_were_not_offered_never_reach_a_frontend() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.allow_plaintext = false).await;
    let mut client = stage.client().await;
    client.line().await;
    for mechanism in
        ["PLAIN", "LOGIN", "ANONYMOUS", "EXTERNAL", "CRAM-MD5", "GSSAPI", "SCRAM-SHA-256-PLUS", "plain", "X"]
    {
        let answer = client.exchange(&format!("a AUTHENTICATE {mechanism} AGFsaWNlAHNlY3JldA==")).await;
        assert_eq!(answer, ["a NO no mechanism available"], "{mechanism}");
    }
    assert!(!stub.heard("AUTHENTICATE"));
}

#[tokio::test]
async fn literals_before_the_login_are_bounded_whatever_they_announce() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    for size in ["40961", "4294967296", "9223372036854775807", "18446744073709551615", "18446744073709551616"]
    {
        for (verb, plus) in [("LOGIN", ""), ("LOGIN", "+"), ("ID", "+"), ("APPEND", "+"), ("APPEND", "")] {
            let mut client = stage.client().await;
            client.line().await;
            client.send(&format!("a {verb} {{{size}{plus}}}\r\n")).await;
            let rest = client.rest().await;
            assert!(rest.starts_with("* BYE"), "{verb} {size}{plus}: {rest}");
        }
    }
    stage.is_empty().await;
}

#[tokio::test]
async fn literals_and_lines_after_the_login_pass_or_end_their_own_session_alone() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let mut bystander = stage.logged_in().await;
    // Nobody can count so far: what would follow cannot be told from commands.
    for size in ["18446744073709551616", "99999999999999999999999999999999"] {
        let mut client = stage.logged_in().await;
        client.send(&format!("b APPEND INBOX {{{size}+}}\r\nc DELETE INBOX\r\n")).await;
        assert_eq!(client.rest().await, "* BYE Literal size is invalid\r\n", "{size}");
    }
    assert!(!stub.heard("DELETE"));
    // So much is the frontend's to refuse; its answer is the client's, and the session goes on.
    let mut client = stage.logged_in().await;
    let answer = client.exchange("b APPEND INBOX {18446744073709551615}").await;
    assert_eq!(answer, ["b OK Completed "]);
    assert_eq!(client.exchange("c NOOP").await, ["c OK Completed "]);
    // A line without an end passes as it comes.
    let endless = "x".repeat(64 << 10);
    client.send("d CREATE ").await;
    for _ in 0..64 {
        client.send(&endless).await;
        assert_eq!(bystander.exchange("b NOOP").await, ["b OK Completed "]);
    }
    let answer = client.exchange_tagged("", "d").await;
    assert!(answer.concat().starts_with("d NO"), "{answer:?}");
    // A tag without an end does not.
    client.send(&"y".repeat(300)).await;
    assert_eq!(client.rest().await, "* BYE Invalid tag\r\n");
    assert_eq!(bystander.exchange("b NOOP").await, ["b OK Completed "]);
}

#[tokio::test]
async fn a_frontend_that_cannot_be_followed_ends_its_session_alone() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |_| {}).await;
    let (mut bystander, mut client) = (stage.logged_in().await, stage.logged_in().await);
    client.send("b OVERFLOW\r\n").await;
    let rest = client.rest().await;
    assert!(!rest.contains("b OK"), "{rest}");
    assert_eq!(bystander.exchange("b NOOP").await, ["b OK Completed "]);
}

#[tokio::test]
async fn headers_that_are_spoofed_or_never_end_are_believed_by_nobody() {
    let stub = Stub::start(Part::BehindProxy).await;
    let stage = Stage::start(&[&stub], |config| {
        config.announce_clients = true;
        config.balancers = vec!["127.0.0.0/8".parse().unwrap()];
        config.connect_deadline = LOGIN;
    })
    .await;
    const HEADER: &str = "PROXY TCP4 192.0.2.7 192.0.2.1 4242 143\r\n";
    // A second header is the client's own words.
    let mut client = stage.client().await;
    client.send(&format!("{HEADER}PROXY TCP4 203.0.113.9 192.0.2.1 1 143\r\n")).await;
    assert!(client.line().await.starts_with("* OK"));
    assert_eq!(client.line().await, "PROXY BAD Please login first");
    client.exchange("a LOGIN alice secret").await;
    assert_eq!(client.exchange("b NOOP").await, ["b OK Completed 192.0.2.7"]);
    for spoofed in [
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP6 192.0.2.7 192.0.2.1 4242 143\r\n",
        "PROXY TCP4 192.0.2.7 192.0.2.1 70000 143\r\n",
        "proxy TCP4 192.0.2.7 192.0.2.1 4242 143\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0cabcdefghijkl",
        "* OK hello\r\n",
    ] {
        let mut client = stage.client().await;
        client.send(spoofed).await;
        assert_eq!(client.rest().await, "", "{spoofed:?}");
    }
    let began = Instant::now();
    let mut endless = stage.client().await;
    endless.send("PROXY ").await;
    assert_eq!(endless.rest().await, "");
    assert!(began.elapsed() < ENDED, "{:?}", began.elapsed());
    let (took, said) = drips(stage.client().await, HEADER.trim_end()).await;
    assert!(took < ENDED && said.is_empty(), "{took:?} {said}");
    drop(client);
    stage.is_empty().await;
}
