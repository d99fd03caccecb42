//! What a well-behaved client is told.

use base64::Engine as _;

use super::Stage;
use crate::authority::machine::State;
use crate::authority::task::Order as Command;
use crate::mupdate::peer::Peer;

#[tokio::test]
async fn the_banner_and_every_reply_are_the_masters() {
    let stage = Stage::start(&[("user.alice", "be1!default"), ("user.bob", "be2!default")]).await;
    let mut stranger = Peer::connect(stage.address).await;
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
        "F MAILBOX \"user.alice\" \"be1!default\" \"anyone\tlrs\"\r\nF OK \"Search completed\"\r\n"
    );
    client.say("L LIST \"be2\"\r\n").await;
    assert_eq!(
        client.until("L OK \"list complete\"\r\n").await,
        "L MAILBOX \"user.bob\" \"be2!default\" \"anyone\tlrs\"\r\nL OK \"list complete\"\r\n"
    );
    assert_eq!(client.ask("LOGOUT").await, "X1 OK \"bye-bye\"\r\n");
    assert_eq!(client.rest().await, "");
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
async fn a_change_is_on_the_stream_before_its_ok_and_noop_comes_after_it() {
    let stage = Stage::start(&[("user.alice", "be1!default")]).await;
    let mut stream = stage.client().await;
    stream.say("U01 UPDATE\r\n").await;
    let dump = stream.until("U01 OK \"streaming starts\"\r\n").await;
    assert!(dump.starts_with("U01 MAILBOX \"user.alice\" \"be1!default\""), "{dump}");
    let mut backend = stage.client().await;
    assert_eq!(backend.ask("RESERVE \"user.new\" \"be1!default\"").await, "X1 OK \"done\"\r\n");
    assert_eq!(backend.ask("DELETE \"user.new\"").await, "X1 OK \"done\"\r\n");
    stream.say("N1 NOOP\r\n").await;
    assert_eq!(
        stream.until("N1 OK \"Noop done\"\r\n").await,
        "U01 RESERVE \"user.new\" \"be1!default\"\r\nU01 DELETE \"user.new\"\r\n\
         N1 OK \"Noop done\"\r\n"
    );
    assert_eq!(stage.server.streams().len(), 1);
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
