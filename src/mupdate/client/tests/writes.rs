//! What is sent to the master, and what is known of it when no answer comes.

use std::time::Duration;

use tokio::io::AsyncReadExt;

use super::super::LinkConfig;
use super::{SILENCE, Stage, activate, delete};
use crate::authority::master::{Lost, Master, MasterReply};
use crate::mupdate::peer::PATIENCE;
use crate::rules::{Rule, without};

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
