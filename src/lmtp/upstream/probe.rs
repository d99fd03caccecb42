//! Trying frontends out: one that is down until it is back, one that is up now and then, so that a hung one is
//! known before a message finds it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};

use super::pool::{Frontend, Frontends};

/// How often a frontend that is down is tried, at first; then ever more seldom, up to the usual pace.
const IMPATIENT: Duration = Duration::from_millis(250);

impl Frontends {
    /// Tries the frontends out for ever; calls `back` whenever one is up again.
    pub async fn watch(&self, back: impl Fn() + Send + Sync + Clone + 'static) {
        let mut changes = self.all.subscribe();
        let mut watched: Vec<(Arc<Frontend>, AbortHandle)> = Vec::new();
        let mut watching = JoinSet::new();
        loop {
            let all = changes.borrow_and_update().clone();
            watched.retain(|(known, watch)| {
                let stays = all.iter().any(|frontend| Arc::ptr_eq(frontend, known));
                if !stays {
                    watch.abort();
                }
                stays
            });
            for frontend in all.iter() {
                if watched.iter().any(|(known, _)| Arc::ptr_eq(frontend, known)) {
                    continue;
                }
                let (frontends, new, back) = (self.clone(), frontend.clone(), back.clone());
                let watch = watching.spawn(async move { frontends.watch_one(&new, back).await });
                watched.push((frontend.clone(), watch));
            }
            // Never an error: the sender is ours.
            let _ = changes.changed().await;
            while watching.try_join_next().is_some() {}
        }
    }

    async fn watch_one(&self, frontend: &Arc<Frontend>, back: impl Fn()) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = frontend.suspected.notified() => {}
            }
            for old in frontend.stale(self.config.get().idle) {
                old.quit().await;
            }
            let was_up = frontend.is_up();
            match self.try_out(frontend).await {
                Ok(()) => {
                    if frontend.mark_up() {
                        back();
                    }
                    pause = self.config.get().probe;
                }
                Err(trouble) => {
                    frontend.mark_down(&trouble.to_string());
                    pause = if was_up {
                        IMPATIENT
                    } else {
                        (pause * 2).clamp(IMPATIENT, self.config.get().probe)
                    };
                }
            }
        }
    }
}
