//! Deliveries out of the queue.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use super::frontend::{Fault, Moment, Script};
use super::stage::{List, stage_with};
use crate::lmtp::Replay;
use crate::lmtp::mailbox::Naming;
use crate::spool::{Address, Attempt, Body, Deliver, Destination, Envelope, Protocol, Recipient, Verdict};

const TEXT: &[u8] = b"Subject: x\r\n\r\n.\r\n..dots\r\n";

/// What becomes of these, all but the first, who has it already.
async fn replay(script: Script, list: Arc<List>, to: &[&str]) -> (Vec<Verdict>, Vec<Vec<u8>>) {
    let stage = stage_with(vec![script], list.clone(), |_| {}).await;
    let replay = Replay::new(stage.face.frontends().clone(), list, Naming::default());
    let address = |text: &str| Address::new(Bytes::from(text.to_owned())).unwrap();
    let recipient = |to: &&str| Recipient { address: address(to), parameters: Vec::new(), mailbox: None };
    let envelope = Envelope {
        sender: address("sender@example.org"),
        parameters: Vec::new(),
        recipients: [&["first"], to].concat().iter().map(recipient).collect(),
        arrival_unix_ms: 0,
        peer: "test".into(),
        protocol: Protocol::Lmtp,
    };
    let body = Body::in_memory(TEXT);
    let attempt = Attempt {
        id: "1".parse().unwrap(),
        envelope: Arc::new(envelope),
        recipients: (1..=to.len()).collect(),
        destination: Destination::Unlisted,
        body: body.reader(),
    };
    let verdicts = replay.deliver(attempt).await;
    (verdicts, stage.frontends[0].received().into_iter().map(|received| received.text).collect())
}

fn words(verdicts: &[Verdict]) -> Vec<&'static str> {
    let word = |verdict: &Verdict| match verdict {
        Verdict::Delivered(_) => "delivered",
        Verdict::Deferred(_) => "deferred",
        Verdict::Refused(_) => "refused",
    };
    verdicts.iter().map(word).collect()
}

const UNKNOWN: &str = "550-Mailbox unknown.\r\n550 5.1.1 User unknown";

#[tokio::test(flavor = "multi_thread")]
async fn each_recipient_has_its_verdict_in_order() {
    let script = Script {
        rcpt: HashMap::from([
            ("gone", UNKNOWN),
            ("new", UNKNOWN),
            ("reserved", "451 4.2.1 Mailbox is currently reserved"),
        ]),
        last: HashMap::from([("full", "552 5.2.2 Over quota"), ("down", "451 4.4.3 Server(s) unavailable")]),
        ..Script::default()
    };
    let list = List::of(&["user.new"], true);
    let to = ["alice", "gone", "new", "full", "reserved", "down", "bob"];
    let (verdicts, texts) = replay(script, list, &to).await;
    let expected = ["delivered", "refused", "deferred", "refused", "deferred", "deferred", "delivered"];
    assert_eq!(words(&verdicts), expected, "{verdicts:?}");
    assert_eq!(texts, [TEXT]);
    assert!(verdicts[5].reply().is_about_the_destination());
    assert_eq!(verdicts[1].reply().to_string(), "550 5.1.1 Mailbox unknown. User unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_denied_while_the_list_is_not_current() {
    let script = Script { rcpt: HashMap::from([("gone", UNKNOWN)]), ..Script::default() };
    let (verdicts, _) = replay(script, List::of(&[], false), &["gone"]).await;
    assert_eq!(words(&verdicts), ["deferred"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_about_the_destination() {
    for moment in
        [Moment::Greeting, Moment::Mail, Moment::Rcpt(0), Moment::Data, Moment::Text, Moment::Last(1)]
    {
        let script = Script { fault: Some((moment, Fault::Close)), ..Script::default() };
        let (verdicts, _) = replay(script, List::of(&["user.alice"], true), &["alice", "bob"]).await;
        assert_eq!(verdicts.len(), 2);
        let last = verdicts.last().unwrap();
        assert!(
            matches!(last, Verdict::Deferred(reply) if reply.is_about_the_destination()),
            "{moment:?} {last:?}"
        );
    }
}
