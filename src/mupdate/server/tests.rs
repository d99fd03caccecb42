//! The face to the murder over loopback, against a real store and a master that is played by the test.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::{Server, ServerConfig};
use crate::authority::machine::State;
use crate::authority::master::{BoxFuture, LinkEpoch, LinkEvent, Lost, Master, MasterIdentity, MasterReply};
use crate::authority::task::{Authority, Options, Order as Command};
use crate::authority::write::Write;
use crate::list::{Acl, Entry, Location, MailboxName};
use crate::net::sasl::server::Gate;
use crate::net::users::{Users, add_user};
use crate::store::{Options as StoreOptions, Store};

const PATIENCE: Duration = Duration::from_secs(20);

/// A master that says yes to everything.
struct Willing;

impl Master for Willing {
    fn send(&self, _: Write, _: Duration) -> BoxFuture<Result<MasterReply, Lost>> {
        Box::pin(async { Ok(MasterReply::Done) })
    }
    fn barrier(&self, _: Duration) -> BoxFuture<Result<(), Lost>> {
        Box::pin(async { Ok(()) })
    }
    fn reconnect(&self) {}
}

/// A served namespace.
struct Stage {
    address: std::net::SocketAddr,
    authority: Authority,
    server: Server,
    _events: mpsc::Sender<LinkEvent>,
    _stop: watch::Sender<bool>,
    _dir: tempfile::TempDir,
}

fn name(text: &str) -> MailboxName {
    MailboxName::new(text.as_bytes()).unwrap()
}

fn active(location: &str) -> Entry {
    Entry::active(Location::new(location.as_bytes()).unwrap(), Acl::new(b"anyone\tlrs"))
}

impl Stage {
    async fn start(names: &[(&str, &str)]) -> Self {
        Self::start_with(names, |config| config).await
    }

    async fn start_with(names: &[(&str, &str)], adjust: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let users = dir.path().join("users");
        add_user(&users, "murder", "secret").unwrap();
        let store = Store::open(&dir.path().join("list"), StoreOptions::default()).unwrap();
        let (events, link) = mpsc::channel(64);
        let authority = Authority::spawn(store, Arc::new(Willing), link, Options::default());
        let identity =
            MasterIdentity { servername: "mm.test".into(), version: "3.6.1".into(), role: "(master)".into() };
        let epoch = LinkEpoch(1);
        let listed = names.iter().map(|(n, location)| (name(n), active(location))).collect();
        for event in
            [LinkEvent::Up(epoch, identity), LinkEvent::Listed(epoch, listed), LinkEvent::Complete(epoch)]
        {
            events.send(event).await.unwrap();
        }
        authority.standing().wait_for(|s| s.state == State::Following).await.unwrap();
        let gate = Arc::new(Gate::new(Users::load(&users).unwrap()).unwrap());
        let config = ServerConfig {
            allow_plaintext: true,
            failed_login_delay: Duration::from_millis(1),
            ..ServerConfig::new("ravenry.test", gate)
        };
        let server = Server::new(adjust(config), Arc::new(authority.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(listener, stopped).await });
        Self { address, authority, server, _events: events, _stop: stop, _dir: dir }
    }

    async fn stranger(&self) -> Client {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let mut client = Client { stream, seen: Vec::new() };
        client.until("(master)\"\r\n").await;
        client
    }

    async fn client(&self) -> Client {
        let mut client = self.stranger().await;
        let plain = base64::engine::general_purpose::STANDARD.encode("\0murder\0secret");
        client.say(&format!("A01 AUTHENTICATE \"PLAIN\" {{{}+}}\r\n{plain}\r\n", plain.len())).await;
        client.until("A01 OK \"Authenticated\"\r\n").await;
        client
    }
}

struct Client {
    stream: TcpStream,
    seen: Vec<u8>,
}

impl Client {
    async fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads up to and with `end`, and gives back all of it.
    async fn until(&mut self, end: &str) -> String {
        let reading = async {
            loop {
                if let Some(at) = self.seen.windows(end.len()).position(|w| w == end.as_bytes()) {
                    let rest = self.seen.split_off(at + end.len());
                    let text = std::mem::replace(&mut self.seen, rest);
                    return String::from_utf8(text).unwrap();
                }
                let mut part = [0; 4096];
                match self.stream.read(&mut part).await.unwrap() {
                    0 => panic!("closed before {end:?}: {:?}", String::from_utf8_lossy(&self.seen)),
                    n => self.seen.extend_from_slice(&part[..n]),
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect(end)
    }

    async fn ask(&mut self, command: &str) -> String {
        self.say(&format!("X1 {command}\r\n")).await;
        self.until("\r\n").await
    }

    /// Reads until the other side hangs up.
    async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        // Closed bare, with our bytes unread, it is a reset.
        let _ = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("an end");
        self.seen.extend_from_slice(&rest);
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

#[tokio::test]
async fn the_banner_and_every_reply_are_the_masters() {
    let stage = Stage::start(&[("user.alice", "be1!default"), ("user.bob", "be2!default")]).await;
    let mut stranger = Client { stream: TcpStream::connect(stage.address).await.unwrap(), seen: Vec::new() };
    assert_eq!(
        stranger.until("(master)\"\r\n").await,
        format!(
            "* AUTH \"SCRAM-SHA-512\" \"SCRAM-SHA-256\" \"SCRAM-SHA-1\" \"PLAIN\"\r\n* PARTIAL-UPDATE\r\n\
             * OK MUPDATE \"ravenry.test\" \"Cyrus IMAP\" \"{}\" \"(master)\"\r\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    assert_eq!(stranger.ask("FIND \"user.alice\"").await, "X1 BAD \"Please login first\"\r\n");

    let mut client = stage.client().await;
    for (command, reply) in [
        ("NOOP", "X1 OK \"Noop done\"\r\n"),
        ("FIND \"user.nobody\"", "X1 OK \"Search completed\"\r\n"),
        ("FIND user.alice", "X1 BAD \"Extra arguments\"\r\n"),
        ("RESERVE \"user.carol\" \"be1!default\"", "X1 OK \"done\"\r\n"),
        ("ACTIVATE \"user.carol\" \"be1!default\" \"carol\tlrs\"", "X1 OK \"done\"\r\n"),
        ("DELETE \"user.unknown\"", "X1 OK \"done\"\r\n"),
        ("DEACTIVATE \"user.unknown\" \"be1!default\"", "X1 NO \"mailbox doesn't exist\"\r\n"),
        ("DEACTIVATE \"user.carol\" \"be1!default\"", "X1 OK \"done\"\r\n"),
        ("DEACTIVATE \"user.carol\" \"be1!default\"", "X1 NO \"mailbox not currently active\"\r\n"),
        ("ACTIVATE \"user.\u{1}\" \"be1!default\" \"\"", "X1 BAD \"Badly formed arguments\"\r\n"),
        ("ACTIVATE \"user.x\" \"nowhere\" \"\"", "X1 BAD \"Badly formed arguments\"\r\n"),
        ("BREAKFAST", "X1 BAD \"Unrecognized command\"\r\n"),
        ("AUTHENTICATE \"PLAIN\"", "X1 BAD \"already authenticated\"\r\n"),
    ] {
        assert_eq!(client.ask(command).await, reply, "{command}");
    }
    client.say("F FIND {10+}\r\nuser.alice\r\n").await;
    assert_eq!(
        client.until("F OK \"Search completed\"\r\n").await,
        "F MAILBOX {10+}\r\nuser.alice {11+}\r\nbe1!default {10+}\r\nanyone\tlrs\r\nF OK \"Search completed\"\r\n"
    );
    client.say("L LIST \"be2\"\r\n").await;
    assert_eq!(
        client.until("L OK \"list complete\"\r\n").await,
        "L MAILBOX {8+}\r\nuser.bob {11+}\r\nbe2!default {10+}\r\nanyone\tlrs\r\nL OK \"list complete\"\r\n"
    );
    assert_eq!(client.ask("LOGOUT").await, "X1 OK \"bye-bye\"\r\n");
    assert_eq!(client.rest().await, "");
}

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
async fn every_mechanism_lets_the_right_password_in() {
    use crate::net::sasl::client::Login;
    use crate::net::secret::Secret;
    let stage = Stage::start(&[]).await;
    let base64 = base64::engine::general_purpose::STANDARD;
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"] {
        let mut login = Login::start(&[mechanism.into()], "murder", &Secret::new("secret")).unwrap();
        let mut client = stage.stranger().await;
        let first = base64.encode(login.step(None).unwrap());
        client.say(&format!("A AUTHENTICATE \"{mechanism}\" {{{}+}}\r\n{first}\r\n", first.len())).await;
        loop {
            let line = client.until("\r\n").await;
            if line.starts_with("A ") {
                assert_eq!(line, "A OK \"Authenticated\"\r\n", "{mechanism}");
                break;
            }
            let answer = login.step(Some(&base64.decode(line.trim_end()).unwrap())).unwrap();
            client.say(&format!("{}\r\n", base64.encode(answer))).await;
        }
    }
}

#[tokio::test]
async fn rule_2_a_stream_is_never_ended_by_a_reply() {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let mut stream = stage.client().await;
    stream.say("U01 UPDATE\r\n").await;
    stream.until("U01 OK \"streaming starts\"\r\n").await;
    assert_eq!(stream.ask("FIND \"user.alice\"").await, "X1 BAD \"not legal when streaming\"\r\n");
    stage.authority.stop().await;
    assert_eq!(stream.rest().await, "", "closed bare");
}

#[tokio::test]
async fn a_change_is_on_the_stream_before_its_ok_and_noop_comes_after_it() {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let mut stream = stage.client().await;
    stream.say("U01 UPDATE\r\n").await;
    let dump = stream.until("U01 OK \"streaming starts\"\r\n").await;
    assert!(dump.starts_with("U01 MAILBOX {10+}\r\nuser.alice {11+}\r\nbe1!default"), "{dump}");
    let mut backend = stage.client().await;
    assert_eq!(backend.ask("RESERVE \"user.new\" \"be1!default\"").await, "X1 OK \"done\"\r\n");
    assert_eq!(backend.ask("DELETE \"user.new\"").await, "X1 OK \"done\"\r\n");
    stream.say("N1 NOOP\r\n").await;
    assert_eq!(
        stream.until("N1 OK \"Noop done\"\r\n").await,
        "U01 RESERVE {8+}\r\nuser.new {11+}\r\nbe1!default\r\nU01 DELETE {8+}\r\nuser.new\r\n\
         N1 OK \"Noop done\"\r\n"
    );
    assert_eq!(stage.server.streams().len(), 1);
}

#[tokio::test]
async fn rule_3_what_a_slave_would_drop_is_sent_again() {
    let names = [("user.foo", "be1!d"), ("user.foo.bar", "be1!d"), ("user.foo-x", "be1!d")];
    let stage = Stage::start(&names).await;
    let mut stream = stage.client().await;
    stream.say("U UPDATE\r\n").await;
    let dump = stream.until("U OK \"streaming starts\"\r\n").await;
    let at = |what: &str| dump.find(&format!("\r\n{what} ")).unwrap();
    assert!(at("user.foo") < at("user.foo.bar") && at("user.foo.bar") < at("user.foo-x"), "{dump}");
    stream.say("N NOOP\r\n").await;
    let again = stream.until("N OK \"Noop done\"\r\n").await;
    assert!(again.contains("user.foo-x") && !again.contains("user.foo.bar"), "{again}");
}

#[tokio::test]
async fn rule_4_ctl_mboxlist_is_not_told_what_would_make_it_wipe() {
    let stage = Stage::start(&[("user.alice", "be2!default"), ("user.bob", "be1!default")]).await;
    let mut backend = stage.client().await;
    backend.say("X0 LIST \"be1!\"\r\n").await;
    backend.until("X0 OK \"list complete\"\r\n").await;
    assert_eq!(backend.ask("FIND \"user.alice\"").await, "X1 NO \"temporary failure\"\r\n");
    let taken = backend.ask("ACTIVATE \"user.alice\" \"be1!default\" \"alice\tlrs\"").await;
    assert_eq!(taken, "X1 NO \"temporary failure\"\r\n");
    assert_eq!(backend.ask("DELETE \"user.alice\"").await, "X1 NO \"temporary failure\"\r\n");
    assert_eq!(backend.ask("ACTIVATE \"user.bob\" \"be1!default\" \"bob\tlrs\"").await, "X1 OK \"done\"\r\n");
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
    let end = tokio::time::timeout(PATIENCE, async {
        tokio::time::sleep(stall * 4).await;
        stuck.rest().await
    });
    assert!(!end.await.expect("closed").ends_with("X OK \"list complete\"\r\nX OK"));
}

#[tokio::test]
async fn standing_in_the_same_client_gets_the_same_answers() {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    stage.authority.order(Command::StandIn).await.unwrap();
    assert_eq!(stage.authority.standing().borrow().state, State::StandingIn);
    let mut backend = stage.client().await;
    let taken = backend.ask("RESERVE \"user.alice\" \"be2!default\"").await;
    assert_eq!(taken, "X1 NO \"mailbox already exists\"\r\n");
    assert_eq!(backend.ask("RESERVE \"user.new\" \"be2!default\"").await, "X1 OK \"done\"\r\n");
    assert_eq!(backend.ask("DELETE \"user.gone\"").await, "X1 OK \"done\"\r\n");
    assert_eq!(stage.authority.store().stats().journalled_names, 2);
}
