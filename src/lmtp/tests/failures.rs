//! One reply for each recipient, in order, whatever the frontend does and whenever it does it; and every 250 is in a
//! mailbox or in the queue.

use super::frontend::{Fault, Moment, Script};
use super::stage::{List, stage, stage_with};
use crate::lmtp::decide::Defer;

const TO: [&str; 3] = ["alice", "bob", "carol"];

const MOMENTS: [Moment; 11] = [
    Moment::Greeting,
    Moment::Lhlo,
    Moment::Mail,
    Moment::Rcpt(0),
    Moment::Rcpt(1),
    Moment::Rcpt(2),
    Moment::Data,
    Moment::Text,
    Moment::Last(0),
    Moment::Last(1),
    Moment::Last(2),
];

const FAULTS: [Fault; 8] = [
    Fault::Close,
    Fault::Hang,
    Fault::Say("421 4.3.2 shutting down"),
    Fault::Say("430 Authentication required"),
    Fault::Say("451 4.3.0 Retry operation"),
    Fault::Say("530 Authentication required"),
    Fault::Say("garbage"),
    Fault::Say("250-never\r\n251 ending"),
];

async fn goes_wrong(moment: Moment, fault: Fault) {
    let script = Script { fault: Some((moment, fault)), ..Script::default() };
    let stage = stage(vec![script]).await;
    let mut client = stage.client().await;
    for _ in 0..2 {
        let before = (stage.delivered().len(), stage.queued().len());
        let (first, last) = client.deliver(&TO).await;
        assert_eq!(first, [250; 3], "{moment:?} {fault:?}");
        assert_eq!(last, [250; 3], "{moment:?} {fault:?}");
        let until = tokio::time::Instant::now() + super::stage::PATIENCE;
        loop {
            // Those cut off in the middle of the last replies may be delivered, and queued as well: never neither.
            let mut there: Vec<String> = stage.delivered().split_off(before.0);
            there.extend(stage.queued().split_off(before.1));
            there.sort();
            there.dedup();
            if there == TO {
                break;
            }
            assert!(tokio::time::Instant::now() < until, "{moment:?} {fault:?}: {there:?}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_goes_wrong_whenever_every_recipient_has_its_answer_and_the_mail() {
    let mut all = tokio::task::JoinSet::new();
    for moment in MOMENTS {
        for fault in FAULTS {
            all.spawn(goes_wrong(moment, fault));
        }
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_goes_wrong_becomes_a_bounce_when_the_list_knows_nobody_either() {
    let mut all = tokio::task::JoinSet::new();
    for moment in MOMENTS {
        for fault in FAULTS {
            all.spawn(async move {
                let script = Script { fault: Some((moment, fault)), ..Script::default() };
                let stage = stage_with(vec![script], List::of(&[], true), |_| {}).await;
                let (first, last) = stage.client().await.deliver(&TO).await;
                let codes = [first, last].concat();
                assert!(
                    codes.iter().all(|code| matches!(code, 250 | 400..=499)),
                    "{moment:?} {fault:?}: {codes:?}"
                );
            });
        }
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_queues_nothing() {
    for (moment, fault, code) in [
        (Moment::Mail, Fault::Close, 451),
        (Moment::Last(0), Fault::Close, 451),
        (Moment::Last(0), Fault::Say("452 4.2.2 Over quota"), 452),
    ] {
        let script = Script { fault: Some((moment, fault)), ..Script::default() };
        let list = List::of(&["user.alice"], true);
        let stage = stage_with(vec![script], list, |config| config.defer = Defer::Relay).await;
        let (first, last) = stage.client().await.deliver(&["alice"]).await;
        assert_eq!(last.last().or(first.last()), Some(&code), "{moment:?} {fault:?}");
        assert!(stage.queued().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_within_a_message_has_sent_nothing() {
    let stage = stage(vec![Script::default()]).await;
    let mut client = stage.client().await;
    client.send("MAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n").await;
    for code in [250, 250, 354] {
        assert_eq!(client.reply().await.0, code);
    }
    client.send("Subject: x\r\n\r\nHalf a mess").await;
    drop(client);
    // A second one is served meanwhile; when it is through, the first would be.
    assert_eq!(stage.client().await.deliver(&["bob"]).await.1, [250]);
    assert_eq!((stage.delivered(), stage.queued().len()), (vec!["bob".to_owned()], 0));
}
