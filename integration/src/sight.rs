//! When a change shows at the frontends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::clients::Mupdate;
use crate::murder::{Entry, Murder};

/// How often a frontend is asked: short, since what is measured is short.
const POLL: Duration = Duration::from_millis(5);

/// A look at every frontend's list, through its own mupdate slave. Unlike IMAP and LMTP that kicks nothing: what
/// shows came over the stream by itself.
#[derive(Debug)]
pub struct Sight {
    frontends: Vec<(&'static str, Mupdate)>,
}

impl Sight {
    /// Opens a session at each frontend. It ends when the frontend takes a fresh list.
    pub async fn open(murder: &Murder) -> Result<Self> {
        let mut frontends = Vec::new();
        for node in murder.frontends() {
            frontends.push((node.name(), node.mupdate().await.with_context(|| node.name())?));
        }
        Ok(Self { frontends })
    }

    /// Waits until each frontend's entry of a mailbox, by its internal name, is as it should be. Returns how
    /// long after this call the slowest had it.
    pub async fn of(
        &mut self,
        name: &str,
        limit: Duration,
        is: impl Fn(Option<&Entry>) -> bool,
    ) -> Result<Duration> {
        let start = Instant::now();
        for (frontend, session) in &mut self.frontends {
            loop {
                let entry = session.find(name).await?.and_then(|record| record.entry);
                if is(entry.as_ref()) {
                    break;
                }
                if start.elapsed() > limit {
                    bail!("after {limit:?} {frontend} has {entry:?} for {name}");
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(start.elapsed())
    }

    /// [`Sight::of`] a mailbox that may be used.
    pub async fn active(&mut self, name: &str, limit: Duration) -> Result<Duration> {
        self.of(name, limit, |entry| entry.is_some_and(Entry::is_active)).await
    }

    /// [`Sight::of`] a mailbox that is gone.
    pub async fn gone(&mut self, name: &str, limit: Duration) -> Result<Duration> {
        self.of(name, limit, |entry| entry.is_none()).await
    }
}
