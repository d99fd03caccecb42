//! What the service manager is told, and what it passes on: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
//!
//! Without a manager (`NOTIFY_SOCKET`) nothing is told, and nothing else is different.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use super::{Failure, exit};
use crate::admin::server::Operator;
use crate::admin::status::Status;
use crate::admin::web::View;
use crate::net::activated::Activated;

/// How often the manager hears of us; more often where its watchdog is less patient than twice this.
const TICK: Duration = Duration::from_secs(1);
/// What may wait for a manager that does not read. More is left out.
const WAITING: usize = 64;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The longest line that is told as a status.
const MAX_STATUS: usize = 500;

/// The faces that the service manager may listen for. Not the murder's: its port must be closed while there is no list
/// that may be served (rule 2), and the manager would keep it open.
pub(super) mod socket {
    pub(in crate::cli) const LMTP: &str = "lmtp";
    pub(in crate::cli) const IMAP: &str = "imap";
    pub(in crate::cli) const IMAPS: &str = "imaps";
    pub(super) const ALL: &[&str] = &[LMTP, IMAP, IMAPS];
}

/// The sockets that the service manager passes.
pub(super) fn sockets() -> Result<Activated, Failure> {
    Activated::from_environment(socket::ALL).map_err(|error| Failure::new(exit::CONFIG, error))
}

enum Say {
    Ready,
    Reloading,
    Status(String),
    Alive,
    Stopping,
}

/// The way to the service manager; clones are the same one. What is said here goes out from a thread of its own: a manager
/// that does not read must not hold up anything.
#[derive(Clone)]
pub(super) struct Manager {
    say: Option<SyncSender<Say>>,
    ended: Arc<Mutex<Option<Receiver<()>>>>,
    ready: Arc<AtomicBool>,
}

impl Manager {
    pub(super) fn from_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self::deaf();
        }
        let (say, said) = sync_channel(WAITING);
        let (end, ended) = sync_channel(1);
        let speaking = std::thread::Builder::new().name("service".into()).spawn(move || {
            while let Ok(next) = said.recv() {
                let last = matches!(next, Say::Stopping);
                if let Err(error) = tell(&next) {
                    tracing::warn!(%error, "the service manager cannot be told");
                }
                if last {
                    break;
                }
            }
            let _ = end.send(());
        });
        match speaking {
            Ok(_) => Self { say: Some(say), ended: Arc::new(Mutex::new(Some(ended))), ..Self::deaf() },
            Err(error) => {
                tracing::error!(%error, "no thread that speaks with the service manager");
                Self::deaf()
            }
        }
    }

    /// There is none.
    fn deaf() -> Self {
        Self { say: None, ended: Arc::default(), ready: Arc::default() }
    }

    fn say(&self, what: Say) {
        if let Some(say) = &self.say
            && say.try_send(what).is_err()
        {
            tracing::warn!("the service manager does not read");
        }
    }

    /// There is a list that may be served, and every face listens.
    pub(super) fn ready(&self) {
        if !self.ready.swap(true, Ordering::Relaxed) {
            self.say(Say::Ready);
        }
    }

    /// The configuration is read again. Before we are ready the manager is not told: its word for the end of this is that
    /// we are ready.
    pub(super) fn reloading(&self) {
        if self.ready.load(Ordering::Relaxed) {
            self.say(Say::Reloading);
        }
    }

    /// It was read, whatever came of it.
    pub(super) fn reloaded(&self) {
        if self.ready.load(Ordering::Relaxed) {
            self.say(Say::Ready);
        }
    }

    /// We end. Returns when the manager knows, or soon.
    pub(super) fn stopping(&self) {
        self.say(Say::Stopping);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(RecvTimeoutError::Timeout)) = ended.map(|ended| ended.recv_timeout(LAST_WORDS)) {
            tracing::warn!("the service manager does not read");
        }
    }

    /// Tells how things stand, and shows that there is progress, as long as there is.
    pub(super) async fn attend(self, operator: Arc<dyn Operator>, view: Arc<dyn View>) {
        if self.say.is_some() {
            self.attend_within(sd_notify::watchdog_enabled(), operator, view).await;
        }
    }

    async fn attend_within(
        self,
        watchdog: Option<Duration>,
        operator: Arc<dyn Operator>,
        view: Arc<dyn View>,
    ) {
        let every = watchdog.map_or(TICK, |limit| TICK.min(limit / 2)).max(Duration::from_millis(10));
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = String::new();
        loop {
            tick.tick().await;
            let alive = view.alive();
            let words = in_words(&operator.status(), alive.as_ref().err());
            if words != told {
                self.say(Say::Status(words.clone()));
                told = words;
            }
            if watchdog.is_some() && alive.is_ok() {
                self.say(Say::Alive);
            }
        }
    }
}

fn tell(what: &Say) -> std::io::Result<()> {
    match what {
        Say::Ready => sd_notify::notify(&[NotifyState::Ready]),
        Say::Reloading => sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]),
        Say::Status(words) => sd_notify::notify(&[NotifyState::Status(words)]),
        Say::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        Say::Stopping => sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]),
    }
}

/// How things stand, in a line for `systemctl status`.
fn in_words(status: &Status, stuck: Option<&String>) -> String {
    let master = &status.master.address;
    let mut words = match status.state.as_str() {
        "following" => format!("following the master at {master}"),
        "replaying" => format!("replaying: {} names to compare with the master's", status.replaying),
        state => format!("{state}: {}", status.reason),
    };
    let mut add = |count: u64, what: &str| {
        if count > 0 {
            words.push_str(&format!("; {count} {what}"));
        }
    };
    add(status.journal, "names wait for the master");
    add(status.conflicts, "conflicts");
    add(status.queue.as_ref().map_or(0, |queue| queue.messages), "messages queued");
    for (what, why) in [("the store failed", status.store.poisoned.as_ref()), ("STUCK", stuck)] {
        if let Some(why) = why {
            words.push_str(&format!("; {what}: {why}"));
        }
    }
    if let Some(news) = status.configuration.in_words() {
        words.push_str(&format!("; {news}"));
    }
    // Not a second assignment: sd_notify(3) ends one at a line end.
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.chars().take(MAX_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Ask;
    use crate::admin::server::Session;
    use crate::authority::master::BoxFuture;

    struct Process {
        alive: AtomicBool,
    }

    impl View for Process {
        fn metrics(&self) -> String {
            String::new()
        }
        fn status(&self) -> Vec<u8> {
            Vec::new()
        }
        fn alive(&self) -> Result<(), String> {
            if self.alive.load(Ordering::Relaxed) { Ok(()) } else { Err("no progress".into()) }
        }
        fn ready(&self) -> Result<String, String> {
            Ok(String::new())
        }
    }

    impl Operator for Process {
        fn status(&self) -> Status {
            status("following", "")
        }
        fn answer(&self, _: Ask, _: Session) -> BoxFuture<Result<serde_json::Value, String>> {
            Box::pin(async { Err("nobody asks here".into()) })
        }
    }

    fn status(state: &str, reason: &str) -> Status {
        let json = serde_json::json!({
            "state": state, "since": 0, "reason": reason, "held_by_operator": false, "entries": 3, "journal": 0,
            "conflicts": 0, "streams": 0, "unconfirmed": 0, "doubts": 0, "replaying": 0, "last_barrier": null,
            "master": { "address": "mm:3905", "connected": true, "servername": null, "version": null, "last_error": null },
            "journal_detail": { "records": 0, "oldest": null }, "conflict_detail": [], "stream_detail": [],
            "store": { "seq": 1, "complete": true, "poisoned": null }, "imap": null, "history": [],
            "version": "0", "started": 0, "now": 0,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_line_says_how_things_stand_and_is_one_line() {
        let mut now = status("standing-in", "the link\nended");
        (now.journal, now.conflicts) = (2, 1);
        now.configuration.failed = Some("ravenry.toml:3:1: no".into());
        now.configuration.restart_needed = vec!["lmtp.listen".into()];
        let words = in_words(&now, None);
        assert_eq!(
            words,
            "standing-in: the link ended; 2 names wait for the master; 1 conflicts; \
             the last reload failed: ravenry.toml:3:1: no; in force after a restart: lmtp.listen"
        );
        now.reason = "x".repeat(2 * MAX_STATUS);
        assert_eq!(in_words(&now, None).chars().count(), MAX_STATUS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_is_fed_only_while_there_is_progress() {
        let (say, said) = sync_channel(WAITING);
        let manager = Manager { say: Some(say), ..Manager::deaf() };
        let process = Arc::new(Process { alive: AtomicBool::new(true) });
        let limit = Some(Duration::from_secs(30));
        tokio::spawn(manager.attend_within(limit, process.clone(), process.clone()));
        let heard = async |seconds| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            said.try_iter().collect::<Vec<_>>()
        };
        let fed = |said: &[Say]| said.iter().filter(|say| matches!(say, Say::Alive)).count();
        assert!(fed(&heard(10).await) >= 9);
        process.alive.store(false, Ordering::Relaxed);
        heard(2).await;
        let silent = heard(40).await;
        assert!(silent.is_empty(), "neither fed nor told anything new");
        process.alive.store(true, Ordering::Relaxed);
        assert!(fed(&heard(10).await) >= 9);
    }
}
