//! Which frontend gets a message.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::frontend::{Fault, Moment, Script};
use super::stage::{PATIENCE, Stage, stage};
use crate::lmtp::FaceConfig;

fn fault(moment: Moment, fault: Fault) -> Script {
    Script { fault: Some((moment, fault)), ..Script::default() }
}

async fn wait_until(what: &str, is: impl Fn() -> bool) {
    let until = tokio::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn is_down(stage: &Stage, at: usize) -> bool {
    stage.face.frontends().status()[at].down.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_at_fault_before_a_recipient_was_answered_is_passed_over() {
    for (moment, how) in [
        (Moment::Greeting, Fault::Close),
        (Moment::Greeting, Fault::Hang),
        (Moment::Lhlo, Fault::Say("500 what?")),
        (Moment::Mail, Fault::Say("530 Authentication required")),
        (Moment::Mail, Fault::Say("430 Authentication required")),
        (Moment::Mail, Fault::Say("550 5.7.1 go away")),
        (Moment::Mail, Fault::Hang),
        (Moment::Rcpt(1), Fault::Close),
    ] {
        let stage = stage(vec![fault(moment, how), Script::default()]).await;
        for _ in 0..4 {
            assert_eq!(
                stage.client().await.deliver(&["alice", "bob"]).await.1,
                [250, 250],
                "{moment:?} {how:?}"
            );
        }
        assert_eq!(stage.frontends[1].received().len(), 4, "{moment:?} {how:?}");
        assert!(stage.queued().is_empty());
        if moment != Moment::Rcpt(1) {
            wait_until("the one at fault is known", || is_down(&stage, 0)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_back_gets_mail_again() {
    let stage = stage(vec![fault(Moment::Mail, Fault::Say("530 Authentication required"))]).await;
    let mut client = stage.client().await;
    assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    stage.queue_holds(&["alice"]).await;
    assert!(is_down(&stage, 0));
    stage.frontends[0].script.lock().unwrap().fault = None;
    wait_until("it is up", || !is_down(&stage, 0)).await;
    assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    assert_eq!(stage.delivered(), ["alice"]);
}

/// A sender that a frontend refuses takes it out of service only until it is tried with another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisonous_sender_stops_nobody_else() {
    let script = Script { spares_tries: true, ..fault(Moment::Mail, Fault::Say("501 5.5.4 Syntax error")) };
    let stage = stage(vec![script]).await;
    let mut client = stage.client().await;
    assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    stage.queue_holds(&["alice"]).await;
    wait_until("it is up again", || !is_down(&stage, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_drained_gets_no_mail() {
    let stage = stage(vec![Script::default(), Script::default()]).await;
    let addresses: Vec<String> = stage.frontends.iter().map(|f| f.address.to_string()).collect();
    assert!(stage.face.frontends().drain("elsewhere:24", true).is_err());
    for (drained, other) in [(0, 1), (1, 0)] {
        stage.face.frontends().drain(&addresses[drained], true).unwrap();
        let before = stage.frontends[other].received().len();
        for _ in 0..3 {
            assert_eq!(stage.client().await.deliver(&["alice"]).await.1, [250]);
        }
        assert_eq!(stage.frontends[other].received().len(), before + 3);
        stage.face.frontends().drain(&addresses[drained], false).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_closed_while_idle_is_no_fault() {
    let stage = stage(vec![fault(Moment::Last(1), Fault::Close)]).await;
    let mut client = stage.client().await;
    // The second reply never comes: the connection is closed, and the next message takes another.
    assert_eq!(client.deliver(&["alice", "bob"]).await.1, [250, 250]);
    assert_eq!(client.deliver(&["carol"]).await.1, [250]);
    assert_eq!(stage.delivered(), ["alice", "carol"]);
    assert!(stage.frontends[0].connections.load(Ordering::Relaxed) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_share_the_connections() {
    let stage = std::sync::Arc::new(stage(vec![Script::default(), Script::default()]).await);
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let stage = stage.clone();
        all.spawn(async move {
            let mut client = stage.client().await;
            for _ in 0..5 {
                assert_eq!(client.deliver(&["alice", "bob"]).await.1, [250, 250]);
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert_eq!(stage.delivered().len(), 64 * 5 * 2);
    for frontend in &stage.frontends {
        assert!(frontend.connections.load(Ordering::Relaxed) <= 30, "connections are kept");
        assert!(frontend.received().len() > 64, "both are used");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_to_those_that_are_named_now_and_who_is_connected_stays() {
    let broken = fault(Moment::Greeting, Fault::Close);
    let stage = stage(vec![Script::default(), Script::default(), broken]).await;
    let addresses: Vec<String> =
        stage.frontends.iter().map(|frontend| frontend.address.to_string()).collect();
    let frontends = stage.face.frontends();
    frontends.replace(&addresses[..1]);
    let mut client = stage.client().await;
    for _ in 0..3 {
        assert_eq!(client.deliver(&["alice"]).await.1, [250]);
    }
    assert_eq!(stage.frontends[0].received().len(), 3);
    // The settings are for who comes now; the other ones go on with theirs.
    stage.face.change(|config| FaceConfig { max_recipients: 1, ..config });
    frontends.replace(&addresses[1..]);
    assert_eq!(client.deliver(&["alice", "bob"]).await.1, [250, 250]);
    assert_eq!(stage.frontends[1].received().len(), 1);
    assert_eq!(stage.client().await.deliver(&["alice", "bob"]).await.0[1] / 100, 4);
    // One that is new is tried out like the others.
    wait_until("the broken one is known", || is_down(&stage, 1)).await;
    frontends.replace(&addresses);
    assert!(is_down(&stage, 2), "what was known of it is kept");
}
