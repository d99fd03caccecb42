//! The stream: the list, what changes it, and masters that are none.
use super::super::LinkConfig;
use super::{BANNER, Stage};
use crate::authority::master::{LinkEvent, Master};
use crate::mupdate::peer::PATIENCE;
use crate::net::secret::Secret;

#[tokio::test]
async fn the_list_and_then_every_change_arrive_in_order() {
    let mut stage = Stage::start().await;
    let mut master = stage.following().await;
    master.say("U01 RESERVE {6+}\r\nuser.b {5+}\r\nbe1!d\r\nU01 DELETE {6+}\r\nuser.a\r\n").await;
    let mut changes = Vec::new();
    while changes.len() < 2 {
        let LinkEvent::Changed(_, part) = stage.event().await else { panic!("a change") };
        changes.extend(part);
    }
    assert_eq!(changes[0].0.to_string(), "user.b");
    assert!(changes[0].1.as_ref().is_some_and(|entry| !entry.is_active()));
    assert_eq!((changes[1].0.to_string(), &changes[1].1), ("user.a".into(), &None));
}

#[tokio::test]
async fn a_barrier_passes_after_everything_before_it() {
    let mut stage = Stage::start().await;
    let mut master = stage.following().await;
    let barrier = stage.link.barrier(PATIENCE);
    let (passed, ()) = tokio::join!(barrier, async {
        let noop = master.hear("NOOP\r\n").await.unwrap();
        let tag = noop.split(' ').next().unwrap().to_owned();
        master.say("U01 DELETE {6+}\r\nuser.a\r\n").await;
        master.say(&format!("{tag} OK \"Noop done\"\r\n")).await;
    });
    assert_eq!(passed, Ok(()));
    assert!(matches!(stage.events.try_recv(), Ok(LinkEvent::Changed(_, changes)) if changes.len() == 1));
}

#[tokio::test]
async fn a_master_that_hangs_anywhere_is_lost_in_bounded_time() {
    // Before the banner; before the reply to AUTHENTICATE; before the list; in a line; at a NOOP.
    for stop_after in 0..5 {
        let mut stage = Stage::start().await;
        let mut master = stage.accept().await;
        for (at, say) in [
            BANNER,
            "A01 OK \"Authenticated\"\r\n",
            "U01 MAILBOX {6+}\r\nuser.a {5",
            "+}\r\nbe1!d {5+}\r\na\tlrs\r\nU01 OK \"streaming starts\"\r\n",
        ]
        .into_iter()
        .enumerate()
        {
            if at >= stop_after {
                break;
            }
            match at {
                1 => drop(master.hear("=\"\r\n").await.unwrap()),
                2 => drop(master.hear("U01 UPDATE\r\n").await.unwrap()),
                _ => {}
            }
            master.say(say).await;
        }
        let reason = loop {
            if let LinkEvent::Down(_, reason) = stage.event().await {
                break reason;
            }
        };
        assert!(reason.starts_with("no answer for"), "stopped after {stop_after}: {reason}");
        master.rest().await;
    }
}

#[tokio::test]
async fn what_is_no_whole_list_of_a_master_is_never_complete() {
    for (answer, expected) in [
        ("U01 NO \"no longer ready\"\r\n", "the server answered UPDATE with NO \"no longer ready\""),
        ("* BYE \"Server Unable\"\r\n", "the server answered UPDATE with BYE \"Server Unable\""),
        (
            "U01 MAILBOX {6+}\r\nuser.a {5+}\r\nnoloc {0+}\r\n\r\n",
            "user.a is at \"noloc\" there, which names no server",
        ),
        ("U01 BREAKFAST\r\n", "no MUPDATE reply"),
        (
            "U01 RESERVE {6+}\r\nuser.a {3+}\r\nbe!\r\nU01 NO \"enough\"\r\n",
            "the list broke off after 1 names: the server answered UPDATE with NO",
        ),
    ] {
        let mut stage = Stage::start().await;
        let mut master = stage.known().await;
        master.hear("U01 UPDATE\r\n").await.unwrap();
        master.say(answer).await;
        let reason = stage.down().await;
        assert!(reason.contains(expected), "{answer:?}: {reason}");
    }
    let mut stage = Stage::start().await;
    let mut slave = stage.accept().await;
    slave.say(&BANNER.replace("(master)", "mupdate://mm.test")).await;
    slave.hear("=\"\r\n").await.unwrap();
    slave.say("A01 OK \"Authenticated\"\r\n").await;
    assert_eq!(stage.down().await, "mm.test is not a master, but a slave: mupdate://mm.test");
}

#[tokio::test]
async fn a_master_without_a_login_that_we_speak_is_refused_clearly() {
    let mut stage = Stage::start().await;
    let mut master = stage.accept().await;
    master.say(&BANNER.replace("PLAIN", "DIGEST-MD5")).await;
    let reason = stage.down().await;
    assert_eq!(reason, "the server offers no login that Ravenry speaks here: [\"DIGEST-MD5\"]");
}

#[tokio::test]
async fn rule_5_a_master_that_tls_would_crash_is_not_asked_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let made = crate::net::tls::testing::make(dir.path(), "mm.test");
    let trust = crate::net::trust::Trust::load(&made.authority).unwrap();
    let tls = super::super::Tls::StartTls(trust, "mm.test".try_into().unwrap());
    let mut stage = Stage::start_with(|config| LinkConfig { tls, ..config }).await;
    for (version, asked) in [("3.2.6", false), ("3.6.1-Debian-3.6.1-4+deb12u5", false), ("3.10.2", true)] {
        let mut master = stage.accept().await;
        master.say(&BANNER.replace("* PARTIAL", "* STARTTLS\r\n* PARTIAL").replace("3.6.1", version)).await;
        assert_eq!(master.hear("STARTTLS\r\n").await.is_ok(), asked, "{version}");
        drop(master);
        let reason = stage.down().await;
        assert_eq!(
            reason.contains("crashes when a connection under TLS ends"),
            !asked,
            "{version}: {reason}"
        );
    }
}

#[tokio::test]
async fn reconnect_takes_a_fresh_list_at_once() {
    let mut stage = Stage::start_with(|config| LinkConfig { backoff: PATIENCE, ..config }).await;
    let master = stage.following().await;
    stage.link.reconnect();
    master.rest().await;
    assert_eq!(stage.down().await, "connecting anew");
    stage.following().await;
}

#[test]
fn at_another_server_its_own_certificate_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let made = crate::net::tls::testing::make(dir.path(), "mm.test");
    let trust = crate::net::trust::Trust::load(&made.authority).unwrap();
    let tls = super::super::Tls::StartTls(trust, "mm.test".try_into().unwrap());
    let master = LinkConfig { tls, ..LinkConfig::new("mm.test:3905", "murder", Secret::new("secret")) };
    for (address, name) in [("fe1.test:3905", "fe1.test"), ("[::1]:3905", "::1")] {
        let link = master.at(address.to_owned()).unwrap();
        let super::super::Tls::StartTls(_, wanted) = &link.tls else { panic!("without TLS") };
        assert_eq!((link.address.as_str(), wanted.to_str().as_ref()), (address, name));
    }
    assert!(master.at("no port".to_owned()).is_err());
}

#[test]
fn the_password_is_not_shown() {
    let config = LinkConfig::new("mm.test:3905", "murder", Secret::new("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}
