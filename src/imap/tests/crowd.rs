//! Two thousand sessions at four frontends, and something that happens to three of them, one after the other.

use std::time::Duration;

use super::stub::{Part, Stub};
use super::{Client, Stage};
use crate::imap::Health;

/// At each frontend.
const SESSIONS: usize = 500;

/// How long a frontend may keep somebody waiting here: longer than two thousand answers take on a busy machine.
const SILENCE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

struct Crowd {
    stage: Stage,
    clients: Vec<Client>,
}

impl Crowd {
    async fn gather(stubs: &[&Stub]) -> Self {
        let stage = Stage::start(stubs, |config| {
            config.max_per_client = usize::MAX;
            config.connect_deadline = SILENCE;
            config.frontend_silence = SILENCE;
        })
        .await;
        let mut clients = Vec::new();
        for _ in 0..stubs.len() * SESSIONS {
            clients.push(stage.logged_in().await);
        }
        Self { stage, clients }
    }

    /// Asks in every session: those that get their answer stay, others have a clean end. Answers how many ended.
    async fn ask(&mut self) -> usize {
        for client in &mut self.clients {
            client.send("b NOOP\r\n").await;
        }
        let before = self.clients.len();
        let mut alive = Vec::new();
        for mut client in std::mem::take(&mut self.clients) {
            match client.line().await.as_str() {
                "b OK Completed " => alive.push(client),
                bye if bye.starts_with("* BYE [UNAVAILABLE]") => assert_eq!(client.rest().await, ""),
                other => panic!("{other:?}"),
            }
        }
        self.clients = alive;
        before - self.clients.len()
    }

    /// Every frontend was asked since, and answered.
    async fn every_frontend_is_up(&self) {
        let up = async {
            while !self
                .stage
                .proxy
                .frontends()
                .iter()
                .all(|frontend| matches!(frontend.health, Health::Up(_)))
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("frontends that are up");
    }

    /// New sessions come to frontends that are well.
    async fn newcomers_are_served(&self) {
        for _ in 0..20 {
            assert_eq!(self.stage.logged_in().await.exchange("c NOOP").await, ["c OK Completed "]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_to_a_frontend_ends_its_sessions_in_order_and_no_others() {
    let [hanging, killed, drained, spared] =
        [Stub::start(Part::Good), Stub::start(Part::Good), Stub::start(Part::Good), Stub::start(Part::Good)];
    let (hanging, killed) = (hanging.await, killed.await);
    let (drained, spared) = (drained.await, spared.await);
    let mut crowd = Crowd::gather(&[&hanging, &killed, &drained, &spared]).await;

    // One that takes no new sessions may well serve those that it has: nobody waits, nobody is let go.
    hanging.pause(true);
    crowd.newcomers_are_served().await;
    tokio::time::sleep(3 * SILENCE).await;
    hanging.pause(false);
    crowd.every_frontend_is_up().await;
    assert_eq!(crowd.ask().await, 0);

    hanging.pause(true);
    assert_eq!(crowd.ask().await, SESSIONS, "who waits is let go");
    crowd.newcomers_are_served().await;

    drop(killed);
    crowd.newcomers_are_served().await;
    assert_eq!(crowd.ask().await, SESSIONS);

    assert!(crowd.stage.proxy.drain(&drained.address.to_string(), true));
    crowd.newcomers_are_served().await;
    let ended = crowd.ask().await + crowd.ask().await;
    assert_eq!(ended, SESSIONS, "at once, or with the next command");
    assert_eq!(crowd.clients.len(), SESSIONS);
}
