//! Clients that mean no good, or do not know better.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::frontend::Script;
use super::stage::{Client, List, TEXT, stage, stage_with};
use crate::lmtp::Listener;
use crate::net::address::Listen;

/// What any of two servers has been known to take for an end of data.
const FALSE_ENDS: [&[u8]; 12] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r.\n",
    b"\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\0.\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_second_message_is_smuggled_in_a_first() {
    let stage = stage(vec![Script::default()]).await;
    for (at, end) in FALSE_ENDS.into_iter().enumerate() {
        for whole in [true, false] {
            let mut client = stage.client().await;
            client.send("MAIL FROM:<a@b>\r\nRCPT TO:<alice>\r\nDATA\r\n").await;
            for code in [250, 250, 354] {
                assert_eq!(client.reply().await.0, code);
            }
            let smuggled = b"MAIL FROM:<evil@b>\r\nRCPT TO:<bob>\r\nDATA\r\nSubject: evil\r\n\r\nx";
            let text = [b"Subject: x\r\n\r\nbefore", end, smuggled, b"\r\n.\r\n"].concat();
            if whole {
                client.send_bytes(&text).await;
            } else {
                for byte in text {
                    client.send_bytes(&[byte]).await;
                    client.stream.flush().await.unwrap();
                }
            }
            // One message, one recipient, one reply.
            assert_eq!(client.reply().await.0, 250, "{end:?}");
            assert_eq!(client.ask("NOOP").await, (250, "2.0.0 ok\r\n".into()), "{end:?}");
        }
        let received = stage.frontends[0].received();
        assert_eq!(received.len(), 2 * (at + 1), "{end:?}");
        assert!(received.iter().all(|message| message.to == ["alice"] && message.mail == "<a@b>"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_come_in_one_segment_with_the_sending_side_closed() {
    let stage = stage(vec![Script::default()]).await;
    let mut client = stage.client().await;
    client
        .send(&format!("MAIL FROM:<>\r\nRCPT TO:<alice>\r\nRCPT TO:<bob>\r\nDATA\r\n{TEXT}.\r\nNOOP\r\n"))
        .await;
    client.stream.shutdown().await.unwrap();
    let rest = client.rest().await;
    let codes: Vec<&str> = rest.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "354", "250", "250", "250"], "{rest}");
    assert_eq!(stage.delivered(), ["alice", "bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_out_of_place_are_refused_and_too_many_end_the_connection() {
    let stage = stage(vec![Script::default()]).await;
    let mut client = Client::new(tokio::net::TcpStream::connect(stage.address).await.unwrap());
    client.reply().await;
    for (line, code) in [
        ("MAIL FROM:<>", 503),
        ("HELO x", 500),
        ("LHLO x", 250),
        ("RCPT TO:<alice>", 503),
        ("DATA", 503),
        ("STARTTLS", 502),
        ("AUTH PLAIN", 502),
        ("MAIL FROM:<> X=1", 555),
        ("MAIL FROM:<> BODY=BINARYMIME", 501),
        ("MAIL FROM:<> SIZE=x", 501),
        ("MAIL FROM:<> SIZE=99999999999999999999999", 501),
        ("MAIL FROM:<>", 250),
        ("MAIL FROM:<>", 503),
        ("DATA", 503),
        ("RCPT TO:<alice> NOTIFY=NEVER", 555),
        ("RCPT TO:<alice>", 250),
        ("AUTH PLAIN", 502),
        ("RSET", 250),
        ("DATA", 503),
        ("VRFY alice", 252),
    ] {
        assert_eq!(client.ask(line).await.0, code, "{line}");
    }
    client.send(&"garbage\r\n".repeat(200)).await;
    let rest = client.rest().await;
    assert!(rest.lines().count() < 60 && rest.lines().last().unwrap().starts_with("421"), "{rest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_recipients_are_taken_and_one_more_is_not() {
    let stage = stage(vec![Script::default()]).await;
    let client = stage.client().await;
    let rcpt: String = (0..10_001).map(|n| format!("RCPT TO:<u{n}>\r\n")).collect();
    let (reading, mut writing) = tokio::io::split(client.stream.into_inner());
    let sending = tokio::spawn(async move {
        writing.write_all(format!("MAIL FROM:<>\r\n{rcpt}DATA\r\n").as_bytes()).await.unwrap();
        writing
    });
    let mut replies = Client::new(tokio::io::join(reading, tokio::io::sink()));
    assert_eq!(replies.reply().await.0, 250);
    for n in 0..10_001 {
        assert_eq!(replies.reply().await.0, if n < 10_000 { 250 } else { 452 }, "{n}");
    }
    assert_eq!(replies.reply().await.0, 354);
    let mut writing = sending.await.unwrap();
    writing.write_all(format!("{TEXT}.\r\n").as_bytes()).await.unwrap();
    for n in 0..10_000 {
        assert_eq!(replies.reply().await.0, 250, "{n}");
    }
    assert_eq!(stage.delivered().len() + stage.queued().len(), 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_client_is_let_go_in_every_state() {
    let list = List::of(&["user.alice"], true);
    let stage = stage_with(vec![Script::default()], list, |config| {
        config.command_timeout = Duration::from_millis(300);
        config.data_timeout = Duration::from_millis(300);
    })
    .await;
    for said in [
        "",
        "LHL",
        "LHLO x\r\n",
        "LHLO x\r\nMAIL FROM:<>\r\n",
        "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDA",
        "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n",
        "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: x\r\n.",
    ] {
        let mut client = Client::new(tokio::net::TcpStream::connect(stage.address).await.unwrap());
        client.send(said).await;
        let rest = client.rest().await;
        assert!(rest.ends_with("421 4.4.2 Timeout, closing the connection\r\n"), "{said:?}: {rest}");
    }
    // Bytes that come one by one are no reason to wait for ever, outside of messages.
    let mut client = Client::new(tokio::net::TcpStream::connect(stage.address).await.unwrap());
    let started = tokio::time::Instant::now();
    for _ in 0..100 {
        if client.stream.write_all(b"X").await.is_err() || started.elapsed() > Duration::from_secs(3) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(client.rest().await.contains("421") || started.elapsed() < Duration::from_secs(3));
    assert!(stage.delivered().is_empty() && stage.queued().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_connections_are_told_so() {
    let list = List::of(&[], true);
    let stage = stage_with(Vec::new(), list, |config| config.max_connections = 2).await;
    let (_first, second) = (stage.client().await, stage.client().await);
    let mut third = Client::new(tokio::net::TcpStream::connect(stage.address).await.unwrap());
    assert_eq!(third.reply().await.0, 421);
    drop(second);
    while Client::new(tokio::net::TcpStream::connect(stage.address).await.unwrap()).reply().await.0 != 220 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_lets_a_message_end_and_sends_the_idle_away() {
    let stage = stage(vec![Script::default()]).await;
    let (mut idle, mut busy) = (stage.client().await, stage.client().await);
    busy.send("MAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n").await;
    for code in [250, 250, 354] {
        assert_eq!(busy.reply().await.0, code);
    }
    stage.stop.send(true).unwrap();
    assert_eq!(idle.reply().await.0, 421);
    busy.send(&format!("{TEXT}.\r\n")).await;
    assert_eq!(busy.reply().await.0, 250);
    assert_eq!(busy.reply().await.0, 421);
    assert_eq!(stage.delivered(), ["alice"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_of_this_host_is_trusted_and_outlives_a_crash() {
    let list = List::of(&["user.alice"], true);
    let stage = stage_with(vec![Script::default()], list, |config| config.trusted.clear()).await;
    let path = stage.dir.path().join("lmtp");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::bind(&Listen::Unix(path.clone())).await.unwrap();
    assert!(Listener::bind(&Listen::Unix(path.clone())).await.is_err(), "one that answers is not replaced");
    let (face, stopped) = (stage.face.clone(), stage.stop.subscribe());
    tokio::spawn(async move { face.serve(listener, stopped).await });
    let mut client = Client::new(UnixStream::connect(&path).await.unwrap());
    client.reply().await;
    client.ask("LHLO x").await;
    assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    assert_eq!(stage.client().await.ask("MAIL FROM:<>").await.0, 430);
}
