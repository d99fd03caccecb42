//! The link against a master that is played, byte by byte, by the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{LinkConfig, MasterLink};
use crate::authority::master::{LinkEvent, Lost, Master, MasterReply};
use crate::authority::write::Write;
use crate::list::{Acl, Location, MailboxName};
use crate::net::secret::Secret;
use crate::rules::{Rule, without};

/// What the link is patient for in these tests, and what we are.
const SILENCE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

const BANNER: &str = "* AUTH \"PLAIN\"\r\n* COMPRESS \"DEFLATE\"\r\n* PARTIAL-UPDATE\r\n\
                      * OK MUPDATE \"mm.test\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n";

/// One connection as the master sees it.
struct Conversation {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Conversation {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and with `end`; gives back what came, or what there was when the link hung up.
    async fn hear(&mut self, end: &str) -> Result<String, String> {
        let reading = async {
            loop {
                if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                    let rest = self.seen.split_off(at + end.len());
                    return Ok(String::from_utf8(std::mem::replace(&mut self.seen, rest)).unwrap());
                }
                let mut part = [0; 1024];
                match self.stream.read(&mut part).await {
                    Ok(0) | Err(_) => return Err(String::from_utf8_lossy(&self.seen).into_owned()),
                    Ok(n) => self.seen.extend_from_slice(&part[..n]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("the link never said {end:?}"))
    }

    async fn hung_up(&mut self) {
        assert!(self.hear("never said by anybody").await.is_err());
    }
}

/// A master that is not there yet.
struct Stage {
    listener: TcpListener,
    events: mpsc::Receiver<LinkEvent>,
    link: MasterLink,
}

impl Stage {
    async fn start() -> Self {
        Self::start_with(|config| config).await
    }

    async fn start_with(adjust: impl FnOnce(LinkConfig) -> LinkConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (sender, events) = mpsc::channel(16);
        let config = LinkConfig {
            silence: SILENCE,
            connect_deadline: SILENCE,
            ping: Duration::from_millis(100),
            backoff: Duration::from_millis(10),
            backoff_max: Duration::from_millis(50),
            connections: 2,
            ready: 0,
            ..LinkConfig::new(address.to_string(), "murder", Secret::new("secret"))
        };
        Self { listener, events, link: MasterLink::spawn(adjust(config), sender) }
    }

    async fn accept(&self) -> Conversation {
        let (stream, _) = tokio::time::timeout(PATIENCE, self.listener.accept()).await.unwrap().unwrap();
        Conversation { stream, seen: Vec::new() }
    }

    /// A connection that has logged in.
    async fn known(&self) -> Conversation {
        let mut conversation = self.accept().await;
        conversation.say(BANNER).await;
        let said = conversation.hear("=\"\r\n").await.unwrap();
        assert_eq!(said, "A01 AUTHENTICATE \"PLAIN\" \"AG11cmRlcgBzZWNyZXQ=\"\r\n");
        conversation.say("A01 OK \"Authenticated\"\r\n").await;
        conversation
    }

    /// A connection that follows, with one name in the list.
    async fn following(&mut self) -> Conversation {
        let mut conversation = self.known().await;
        conversation.hear("U01 UPDATE\r\n").await.unwrap();
        conversation
            .say("U01 MAILBOX {6+}\r\nuser.a {5+}\r\nbe1!d {5+}\r\na\tlrs\r\nU01 OK \"streaming starts\"\r\n")
            .await;
        assert!(matches!(self.event().await, LinkEvent::Up(_, identity) if identity.servername == "mm.test"));
        assert!(matches!(self.event().await, LinkEvent::Listed(_, list) if list.len() == 1));
        assert!(matches!(self.event().await, LinkEvent::Complete(_)));
        conversation
    }

    async fn event(&mut self) -> LinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event").expect("the link lives")
    }

    /// The reason of the next end of a connection; whatever else is told before it must not be `Complete`.
    async fn down(&mut self) -> String {
        loop {
            match self.event().await {
                LinkEvent::Down(_, reason) => return reason,
                LinkEvent::Complete(_) => panic!("a list that was never whole"),
                _ => {}
            }
        }
    }
}

fn delete(name: &str) -> Write {
    Write::Delete { name: MailboxName::new(name.as_bytes()).unwrap() }
}

fn activate(name: &str) -> Write {
    Write::Activate {
        name: MailboxName::new(name.as_bytes()).unwrap(),
        location: Location::new(b"be1!d").unwrap(),
        acl: Acl::new(b"a\tlrs"),
    }
}

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
        master.hung_up().await;
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
    let tls = super::Tls::StartTls(trust, "mm.test".try_into().unwrap());
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
async fn rule_5_a_delete_reserves_first_in_one_segment() {
    let mut stage = Stage::start().await;
    let _stream = stage.following().await;
    let sent = stage.link.send(delete("user.a"), PATIENCE);
    let (reply, ()) = tokio::join!(sent, async {
        let mut master = stage.known().await;
        let both = "X0 RESERVE \"user.a\" \"ravenry!none\"\r\nX1 DELETE \"user.a\"\r\n";
        let mut segment = vec![0; 1024];
        let n = master.stream.read(&mut segment).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&segment[..n]), both);
        master.say("X0 NO \"mailbox already exists\"\r\nX1 OK \"done\"\r\n").await;
    });
    assert_eq!(reply, Ok(MasterReply::Done));
}

/// Whether a real master that holds nothing would outlive a delete, as the link sends it.
async fn outlives_a_delete() -> bool {
    use ravenry_parsers::mupdate::{Command, CommandBody, CommandDecoder, CommandEvent, Limits};
    let mut stage = Stage::start().await;
    let _stream = stage.following().await;
    let link = &stage.link;
    tokio::select! {
        _ = link.send(delete("user.a"), PATIENCE) => unreachable!("nobody answered"),
        alive = async {
            let mut master = stage.known().await;
            let mut input = bytes::BytesMut::with_capacity(4096);
            master.stream.read_buf(&mut input).await.unwrap();
            let mut decoder = CommandDecoder::new(Limits::default());
            let mut held = false;
            while let Some(CommandEvent::Command(Command { body, .. })) = decoder.decode(&mut input).unwrap() {
                match body {
                    CommandBody::Reserve { .. } => held = true,
                    CommandBody::Delete { .. } => return held,
                    other => panic!("{other:?}"),
                }
            }
            panic!("no delete was sent")
        } => alive,
    }
}

#[tokio::test]
async fn rule_5_the_master_outlives_a_delete_of_what_it_does_not_hold() {
    assert!(outlives_a_delete().await);
}

#[tokio::test]
async fn without_rule_5_the_master_is_crashed() {
    let _off = without(Rule::MasterNeverCrashed);
    assert!(!outlives_a_delete().await);
}

#[tokio::test]
async fn a_write_that_is_given_up_is_reset_so_that_it_cannot_arrive_late() {
    let mut stage = Stage::start().await;
    let _stream = stage.following().await;
    let (lost, mut master) =
        tokio::join!(stage.link.send(activate("user.a"), SILENCE), async { stage.known().await });
    assert!(matches!(lost, Err(Lost::InDoubt(_))), "{lost:?}");
    let end = async {
        loop {
            if let Err(error) = master.stream.read(&mut [0; 1024]).await {
                return error.kind();
            }
        }
    };
    let end = tokio::time::timeout(PATIENCE, end).await.expect("reset, not closed");
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_was_sent_is_in_doubt_and_what_was_not_is_not() {
    let mut stage = Stage::start().await;
    let _stream = stage.following().await;
    // Cut before the reply.
    let (lost, ()) = tokio::join!(stage.link.send(activate("user.a"), PATIENCE), async {
        let mut master = stage.known().await;
        master.hear("a\tlrs\"\r\n").await.unwrap();
    });
    assert!(matches!(lost, Err(Lost::InDoubt(_))), "{lost:?}");
    // Hung before the reply.
    let (lost, _held) = tokio::join!(stage.link.send(activate("user.a"), SILENCE), stage.known());
    assert!(matches!(lost, Err(Lost::InDoubt(_))), "{lost:?}");
    // Hung before the login was through.
    let (lost, _held) = tokio::join!(stage.link.send(activate("user.a"), SILENCE), stage.accept());
    assert!(matches!(lost, Err(Lost::Unsent(_))), "{lost:?}");
}

#[tokio::test]
async fn a_connection_that_died_idle_is_replaced_unnoticed() {
    let mut stage = Stage::start().await;
    let _stream = stage.following().await;
    for _ in 0..2 {
        let (reply, ()) = tokio::join!(stage.link.send(activate("user.a"), PATIENCE), async {
            let mut master = stage.known().await;
            master.hear("a\tlrs\"\r\n").await.unwrap();
            master.say("X0 OK \"done\"\r\n").await;
        });
        assert_eq!(reply, Ok(MasterReply::Done));
    }
}

#[tokio::test]
async fn reconnect_takes_a_fresh_list_at_once() {
    let mut stage = Stage::start_with(|config| LinkConfig { backoff: PATIENCE, ..config }).await;
    let mut master = stage.following().await;
    stage.link.reconnect();
    master.hung_up().await;
    assert_eq!(stage.down().await, "connecting anew");
    stage.following().await;
}

/// A stream that nobody has to answer on.
fn quiet(config: LinkConfig) -> LinkConfig {
    LinkConfig { ping: PATIENCE, ..config }
}

/// The master's answer to a deletion: the guard and the deletion itself.
const DELETED: &str = "X0 NO \"mailbox already exists\"\r\nX1 OK \"done\"\r\n";

#[tokio::test]
async fn rule_5_two_deletions_of_a_name_are_never_at_the_master_together() {
    let mut stage = Stage::start_with(quiet).await;
    let _stream = stage.following().await;
    let link = &stage.link;
    let (first, mut hung) = tokio::join!(link.send(delete("user.a"), SILENCE), async {
        let mut connection = stage.known().await;
        connection.hear("X1 DELETE \"user.a\"\r\n").await.unwrap();
        connection
    });
    assert!(matches!(first, Err(Lost::InDoubt(_))), "{first:?}");

    let second = link.send(delete("user.a"), SILENCE).await;
    assert!(matches!(second, Err(Lost::Unsent(_))), "{second:?}");
    let (other, mut free) = tokio::join!(link.send(delete("user.b"), PATIENCE), async {
        let mut connection = stage.known().await;
        connection.hear("X1 DELETE \"user.b\"\r\n").await.unwrap();
        connection.say(DELETED).await;
        connection
    });
    assert_eq!(other, Ok(MasterReply::Done), "other names do not wait");

    let (third, ()) = tokio::join!(link.send(delete("user.a"), PATIENCE), async {
        let early = tokio::time::timeout(SILENCE, free.hear("user.a")).await;
        assert!(early.is_err(), "{early:?}");
        hung.say(DELETED).await;
        free.hear("X1 DELETE \"user.a\"\r\n").await.unwrap();
        free.say(DELETED).await;
    });
    assert_eq!(third, Ok(MasterReply::Done));
}

/// What holds a deletion back lets go of it when it lets go of the stream: a replay that began with the list would
/// meet it.
#[tokio::test]
async fn a_deletion_that_was_given_up_is_not_repeated_before_the_master_was_followed_for_a_while() {
    // Away for longer than a deletion counts as under way after its connection ended.
    let away = Duration::from_secs(3);
    let mut stage =
        Stage::start_with(|config| LinkConfig { backoff: away, backoff_max: away, ..quiet(config) }).await;
    let stream = stage.following().await;
    let (first, ()) = tokio::join!(stage.link.send(delete("user.a"), PATIENCE), async {
        stage.known().await.hear("X1 DELETE \"user.a\"\r\n").await.unwrap();
    });
    assert!(matches!(first, Err(Lost::InDoubt(_))), "{first:?}");
    drop(stream);
    stage.down().await;
    let mut stream = stage.known().await;
    stream.hear("U01 UPDATE\r\n").await.unwrap();
    let listed = std::time::Instant::now();
    stream.say("U01 OK \"streaming starts\"\r\n").await;
    let (second, ()) = tokio::join!(stage.link.send(delete("user.a"), PATIENCE), async {
        let mut master = stage.known().await;
        master.hear("X1 DELETE \"user.a\"\r\n").await.unwrap();
        assert!(listed.elapsed() >= Duration::from_secs(1), "{:?}", listed.elapsed());
        master.say(DELETED).await;
    });
    assert_eq!(second, Ok(MasterReply::Done));
}

#[tokio::test]
async fn writes_share_a_connection_and_one_given_up_takes_nobody_with_it() {
    let mut stage = Stage::start_with(quiet).await;
    let _stream = stage.following().await;
    let link = &stage.link;
    let (given_up, patient, ()) = tokio::join!(
        link.send(activate("user.a"), SILENCE),
        link.send(activate("user.b"), PATIENCE),
        async {
            let mut master = stage.known().await;
            master.hear("\"user.b\" \"be1!d\" \"a\tlrs\"\r\n").await.unwrap();
            tokio::time::sleep(SILENCE * 2).await;
            master.say("X0 OK \"done\"\r\nX0 NO \"no\"\r\n").await;
        }
    );
    assert!(matches!(given_up, Err(Lost::InDoubt(_))), "{given_up:?}");
    assert_eq!(patient, Ok(MasterReply::Refused("no".to_owned())));
    // The next one does not trust that connection.
    let (next, ()) = tokio::join!(link.send(activate("user.c"), PATIENCE), async {
        let mut master = stage.known().await;
        master.hear("a\tlrs\"\r\n").await.unwrap();
        master.say("X0 OK \"done\"\r\n").await;
    });
    assert_eq!(next, Ok(MasterReply::Done));
}

/// About one in 61 new connections to a mupdate of 3.6.1 gets no banner for 5 s.
#[tokio::test]
async fn a_connection_without_a_banner_keeps_no_write_waiting() {
    let ahead = |config| LinkConfig { ready: 2, connect_deadline: PATIENCE, ..quiet(config) };
    let mut stage = Stage::start_with(ahead).await;
    let _stream = stage.following().await;
    // Both were opened before anybody wrote.
    let _stalled = stage.accept().await;
    let mut master = stage.known().await;
    for name in ["user.a", "user.b"] {
        let (reply, ()) = tokio::join!(stage.link.send(activate(name), PATIENCE), async {
            master.hear("a\tlrs\"\r\n").await.unwrap();
            master.say("X0 OK \"done\"\r\n").await;
        });
        assert_eq!(reply, Ok(MasterReply::Done));
    }
}

#[test]
fn at_another_server_its_own_certificate_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let made = crate::net::tls::testing::make(dir.path(), "mm.test");
    let trust = crate::net::trust::Trust::load(&made.authority).unwrap();
    let tls = super::Tls::StartTls(trust, "mm.test".try_into().unwrap());
    let master = LinkConfig { tls, ..LinkConfig::new("mm.test:3905", "murder", Secret::new("secret")) };
    for (address, name) in [("fe1.test:3905", "fe1.test"), ("[::1]:3905", "::1")] {
        let link = master.at(address.to_owned()).unwrap();
        let super::Tls::StartTls(_, wanted) = &link.tls else { panic!("without TLS") };
        assert_eq!((link.address.as_str(), wanted.to_str().as_ref()), (address, name));
    }
    assert!(master.at("no port".to_owned()).is_err());
}

#[test]
fn the_password_is_not_shown() {
    let config = LinkConfig::new("mm.test:3905", "murder", Secret::new("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}
