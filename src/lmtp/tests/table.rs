//! The table of [`super::super::decide`] over the wire.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use super::frontend::Script;
use super::stage::{List, TEXT, stage, stage_with};

const UNKNOWN: &str = "550-Mailbox unknown.\r\n550 5.1.1 User unknown";

#[tokio::test(flavor = "multi_thread")]
async fn in_peace_the_frontend_answers() {
    let stage = stage(vec![Script::default()]).await;
    let mut client = stage.client().await;
    assert_eq!(client.deliver(&["alice", "bob"]).await, (vec![250, 250], vec![250, 250]));
    assert_eq!(client.deliver(&["carol"]).await, (vec![250], vec![250]));
    assert_eq!(stage.delivered(), ["alice", "bob", "carol"]);
    let received = &stage.frontends[0].received()[0];
    let text = String::from_utf8(received.text.clone()).unwrap();
    assert!(text.starts_with("Received: from mta.test (127.0.0.1)\r\n"), "{text}");
    assert!(text.contains("\r\nMessage-ID: <") && text.contains("\r\nDate: "), "{text}");
    assert!(text.ends_with("\r\n\r\nHello.\r\n"), "{text}");
    assert!(stage.queued().is_empty());
    // The connection was kept, and one more came from trying the frontend out.
    assert!(stage.frontends[0].connections.load(Ordering::Relaxed) <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_has_its_own_answer_in_order() {
    let script = Script {
        rcpt: HashMap::from([("nobody", UNKNOWN), ("closed", "550 5.7.1 Not authorized"), ("bob", UNKNOWN)]),
        last: HashMap::from([("full", "552 5.2.2 Over quota"), ("carol", "451 4.4.3 Server(s) unavailable")]),
        ..Script::default()
    };
    let stage = stage(vec![script]).await;
    let mut client = stage.client().await;
    let (first, last) =
        client.deliver(&["nobody", "alice", "closed", "full", "bob", "carol", "alice+x"]).await;
    // The list does not know nobody, but bob: he is only new.
    assert_eq!(first, [550, 250, 550, 250, 250, 250, 250]);
    assert_eq!(last, [250, 552, 250, 250, 250]);
    assert_eq!(stage.delivered(), ["alice", "alice+x"]);
    stage.queue_holds(&["bob", "carol"]).await;
    let answered = stage.face.answered();
    let counts = (answered.delivered, answered.queued, answered.deferred, answered.refused);
    assert_eq!(counts, (2, 2, 0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_is_what_the_frontend_was_given() {
    let script = Script { last: HashMap::from([("bob", "451 4.3.0 later")]), ..Script::default() };
    let stage = stage(vec![script]).await;
    assert_eq!(stage.client().await.deliver(&["alice", "bob"]).await.1, [250, 250]);
    stage.queue_holds(&["bob"]).await;
    let queued = stage.outbox.0.lock().unwrap()[0].1.clone();
    assert_eq!(queued, stage.frontends[0].received()[0].text);
    assert!(queued.ends_with(TEXT.split_once("\r\n\r\n").unwrap().1.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_denied_while_the_list_is_not_current() {
    let rcpt =
        HashMap::from([("nobody", UNKNOWN), ("alice", UNKNOWN), ("doubtful", UNKNOWN), ("\"q\"", UNKNOWN)]);
    let stage =
        stage_with(vec![Script { rcpt, ..Script::default() }], List::of(&["user.alice"], false), |_| {})
            .await;
    let mut client = stage.client().await;
    assert_eq!(client.deliver(&["nobody", "alice"]).await, (vec![451, 250], vec![250]));
    stage.list.current.store(true, Ordering::Relaxed);
    // What is in doubt, and what cannot be told, is unknown even now.
    assert_eq!(client.deliver(&["nobody", "doubtful", "\"q\""]).await.0, [550, 451, 451]);
    stage.queue_holds(&["alice"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_frontend_the_list_decides() {
    let stage = stage(Vec::new()).await;
    let (first, last) = stage.client().await.deliver(&["alice+folder", "nobody", "Bob@example.org"]).await;
    assert_eq!((first, last), (vec![250, 451, 250], vec![250, 250]));
    stage.queue_holds(&["Bob@example.org", "alice+folder"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_too_large_is_refused_at_each_step() {
    let script = Script { offers: vec!["PIPELINING", "SIZE 5000"], ..Script::default() };
    let list = List::of(&["user.alice"], true);
    let stage = stage_with(vec![script], list, |config| config.max_message = 10_000).await;
    assert_eq!(stage.client().await.deliver(&["alice"]).await.1, [250]);
    let mut client = stage.client().await;
    let (_, offers) = client.ask("LHLO x").await;
    assert!(offers.contains("SIZE 5000"), "{offers}");
    assert_eq!(client.ask("MAIL FROM:<> SIZE=5001").await.0, 552);
    // Nothing was announced, and then too much comes.
    client.send("MAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n").await;
    for code in [250, 250, 354] {
        assert_eq!(client.reply().await.0, code);
    }
    client.send(&format!("Subject: x\r\n\r\n{}\r\n.\r\n", "x".repeat(20_000))).await;
    assert_eq!(client.reply().await.0, 552);
    assert_eq!(client.ask("NOOP").await.0, 250);
    assert_eq!((stage.delivered().len(), stage.queued().len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_passed_on_where_they_are_offered() {
    let usual = stage(vec![Script::default()]).await;
    let modest = stage(vec![Script { offers: vec!["X"], ..Script::default() }]).await;
    for stage in [&usual, &modest] {
        let mut client = stage.client().await;
        client
            .send("MAIL FROM:<a@b> SIZE=100 BODY=8BITMIME AUTH=<>\r\nRCPT TO:<alice> IGNOREQUOTA\r\nRCPT TO:<bob>\r\nDATA\r\n")
            .await;
        for code in [250, 250, 250, 354] {
            assert_eq!(client.reply().await.0, code);
        }
        client.send(&format!("{TEXT}.\r\n")).await;
        assert_eq!((client.reply().await.0, client.reply().await.0), (250, 250));
    }
    assert_eq!(usual.frontends[0].received()[0].mail, "<a@b> SIZE=100 BODY=8BITMIME AUTH=<>");
    assert_eq!(*usual.frontends[0].lines.lock().unwrap(), ["<alice> IGNOREQUOTA", "<bob>", "DATA"]);
    assert_eq!(modest.frontends[0].received()[0].mail, "<a@b> AUTH=<>");
    assert_eq!(*modest.frontends[0].lines.lock().unwrap(), ["<alice>", "<bob>", "DATA"]);
}

/// What a client sends in one piece goes to the frontend in one piece. When nobody was accepted there, no text may
/// follow, and whatever the frontend makes of its DATA, the next message is served.
#[tokio::test(flavor = "multi_thread")]
async fn data_behind_recipients_of_whom_none_is_accepted_costs_nothing() {
    for wants_any_text in [false, true] {
        let rcpt = HashMap::from([("nobody", UNKNOWN), ("bob", UNKNOWN)]);
        let stage = stage(vec![Script { rcpt, wants_any_text, ..Script::default() }]).await;
        let mut client = stage.client().await;
        // Nobody at all: then somebody after all, in the same transaction.
        client.send("MAIL FROM:<a@b>\r\nRCPT TO:<nobody>\r\nDATA\r\n").await;
        for code in [250, 550, 503] {
            assert_eq!(client.reply().await.0, code);
        }
        client.send("RCPT TO:<alice>\r\nDATA\r\n").await;
        for code in [250, 354] {
            assert_eq!(client.reply().await.0, code);
        }
        client.send(&format!("{TEXT}.\r\n")).await;
        assert_eq!(client.reply().await.0, 250);
        // Known to the list alone: queued, with the text.
        client.send("MAIL FROM:<a@b>\r\nRCPT TO:<bob>\r\nDATA\r\n").await;
        for code in [250, 250, 354] {
            assert_eq!(client.reply().await.0, code);
        }
        client.send(&format!("{TEXT}.\r\n")).await;
        assert_eq!(client.reply().await.0, 250);
        // A frontend that waits for a text is left alone with it, and so alice's is queued, too.
        stage.queue_holds(if wants_any_text { &["alice", "bob"] } else { &["bob"] }).await;
        assert_eq!(client.deliver(&["carol"]).await.1, [250]);
        // In this order: what leaves the queue meanwhile is delivered by then.
        let mut there = stage.queued();
        there.extend(stage.delivered());
        there.sort();
        there.dedup();
        assert_eq!(there, ["alice", "bob", "carol"], "{wants_any_text}");
        if !wants_any_text {
            assert_eq!(stage.delivered(), ["alice", "carol"]);
            // The session stayed in order; one more came from trying the frontend out.
            assert!(stage.frontends[0].connections.load(Ordering::Relaxed) <= 2);
        }
    }
}
