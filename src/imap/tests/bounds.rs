//! What is bounded for everybody: sessions, silence, and the time for a good end.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use ravenry_parsers::proxy::put_proxy_v2;

use super::Stage;
use super::stub::{Part, Stub};

const DRAIN: Duration = Duration::from_millis(800);
/// Well within it.
const A_MOMENT: Duration = Duration::from_millis(200);
/// With slack for a busy machine.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn there_are_so_many_sessions_and_no_more_wherever_they_come_from() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.max_sessions = 2).await;
    let (mut first, second) = (stage.logged_in().await, stage.logged_in().await);
    assert_eq!(stage.client().await.rest().await, "* BYE [UNAVAILABLE] Too many sessions\r\n");
    assert_eq!(first.exchange("b NOOP").await, ["b OK Completed "]);
    drop(second);
    let began = Instant::now();
    while !stage.client().await.line().await.starts_with("* OK") {
        assert!(began.elapsed() < SOON, "the place of who went was not given away");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_session_in_which_nothing_passes_ends_and_one_at_work_does_not() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.idle_timeout = 2 * A_MOMENT).await;
    let (mut silent, mut busy) = (stage.logged_in().await, stage.logged_in().await);
    for _ in 0..8 {
        assert_eq!(busy.exchange("b NOOP").await, ["b OK Completed "]);
        tokio::time::sleep(A_MOMENT / 2).await;
    }
    assert_eq!(silent.rest().await, "* BYE Idle for too long\r\n");
    assert_eq!(busy.exchange("c NOOP").await, ["c OK Completed "]);
}

/// The goodbye waits for the command to be whole and answered.
#[tokio::test]
async fn a_command_that_is_under_way_is_ended_before_the_goodbye() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.drain = SOON).await;
    let mut client = stage.logged_in().await;
    client.send("b APPEND INBOX {10+}\r\nhello").await;
    tokio::time::sleep(A_MOMENT).await;
    stage.stop.send(true).unwrap();
    assert!(!client.ended_within(A_MOMENT, &mut Vec::new()).await, "it was cut off within its command");
    client.send("world\r\n").await;
    assert_eq!(client.line().await, "b OK Completed ");
    assert!(client.line().await.starts_with("* BYE [UNAVAILABLE]"));
    assert_eq!(client.rest().await, "");
}

/// Nor is somebody sent away who waits for an answer.
#[tokio::test]
async fn a_command_that_waits_for_its_answer_is_answered_before_the_goodbye() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.drain = SOON).await;
    let mut client = stage.logged_in().await;
    client.exchange("b NOOP").await;
    stub.pause(true);
    client.send("c FETCH 1 BODY[]\r\nd SEARCH ALL\r\n").await;
    tokio::time::sleep(A_MOMENT).await;
    stage.stop.send(true).unwrap();
    assert!(!client.ended_within(2 * A_MOMENT, &mut Vec::new()).await, "it was sent away");
    stub.pause(false);
    let rest = client.rest().await;
    let (answers, goodbye) = rest.split_once("* BYE").unwrap();
    assert_eq!(answers, "* 1 FETCH (BODY[] {11}\r\nhello world)\r\nc OK Completed \r\nd OK Completed \r\n");
    assert!(goodbye.starts_with(" [UNAVAILABLE]"), "{rest}");
}

/// Who never comes to an end is not waited for longer than that.
#[tokio::test]
async fn the_time_for_a_good_end_is_bounded() {
    let stub = Stub::start(Part::Good).await;
    let stage = Stage::start(&[&stub], |config| config.drain = DRAIN).await;
    let (mut waiting, mut writing) = (stage.logged_in().await, stage.logged_in().await);
    waiting.send("b IDLE\r\n").await;
    assert_eq!(waiting.line().await, "+ idling");
    writing.send("b APPEND INBOX {10+}\r\nhello").await;
    let began = Instant::now();
    stage.stop.send(true).unwrap();
    for client in [&mut waiting, &mut writing] {
        let said = client.rest().await;
        assert!(said.starts_with("* BYE [UNAVAILABLE]"), "{said}");
    }
    assert!(began.elapsed() >= DRAIN && began.elapsed() < SOON, "{:?}", began.elapsed());
    tokio::time::timeout(SOON, stage.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_balancer_may_speak_version_2_and_for_itself() {
    let stub = Stub::start(Part::BehindProxy).await;
    let stage = Stage::start(&[&stub], |config| {
        config.announce_clients = true;
        config.balancers = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let mut header = BytesMut::new();
    put_proxy_v2(&mut header, "192.0.2.9:4242".parse().unwrap(), "192.0.2.1:143".parse().unwrap());
    // What follows the header in the same segment is the client's.
    header.extend_from_slice(b"a LOGIN alice secret\r\n");
    let mut client = stage.client().await;
    client.send_bytes(&header).await;
    assert!(client.line().await.starts_with("* OK"));
    assert!(client.line().await.starts_with("a OK"));
    assert_eq!(client.exchange("b NOOP").await, ["b OK Completed 192.0.2.9"]);
    // LOCAL: the balancer looks whether somebody is there.
    let mut itself = stage.client().await;
    itself.send_bytes(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await;
    assert!(itself.line().await.starts_with("* OK"));
    itself.exchange("a LOGIN alice secret").await;
    assert_eq!(itself.exchange("b NOOP").await, ["b OK Completed 127.0.0.1"]);
}
