//! Which names are being deleted at the master.
//!
//! Two deletions of one name must never be at the master together, guarded as they are (rule 5): both find the
//! name, and the second one then deletes what is not there any more, which kills the master.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::list::MailboxName;

/// How long the master must have been followed again before a deletion that was given up counts as over. What held it
/// back, a master that hung or a proxy before it, held back other connections too, and lets go of all of them in
/// one moment: the deletion is carried out then, and a replay begins in the same milliseconds.
const FOLLOWED: Duration = Duration::from_secs(1);

type UnderWay = HashMap<MailboxName, Arc<Notify>>;

/// Since when the master is followed, its list complete; `None` while it is not.
pub(super) type Followed = watch::Receiver<Option<Instant>>;

/// At most one deletion of a name at a time; clones are the same book.
#[derive(Clone, Debug)]
pub(super) struct Deletions {
    under_way: Arc<Mutex<UnderWay>>,
    followed: Followed,
}

/// The only deletion of its name, until dropped.
#[derive(Debug)]
pub(super) struct Alone {
    name: MailboxName,
    book: Deletions,
}

impl Deletions {
    pub(super) fn new(followed: Followed) -> Self {
        Self { under_way: Arc::default(), followed }
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no other deletion of the name is under way.
    pub(super) async fn begin(&self, name: &MailboxName) -> Alone {
        loop {
            let ended = {
                let mut under_way = self.lock();
                match under_way.get(name) {
                    // Made before the lock is let go, so that the end cannot be missed.
                    Some(other) => other.clone().notified_owned(),
                    None => {
                        under_way.insert(name.clone(), Arc::default());
                        return Alone { name: name.clone(), book: self.clone() };
                    }
                }
            };
            ended.await;
        }
    }
}

impl Alone {
    /// Waits until what became of the deletion must have shown, when nobody can hear of it any more.
    pub(super) async fn over(mut self) {
        // Its sender goes with the link: then nobody deletes any more.
        while let Ok(followed) = self.book.followed.wait_for(Option::is_some).await.map(|since| *since) {
            let Some(until) = followed.map(|since| since + FOLLOWED) else { continue };
            if timeout_at(until, self.book.followed.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(ended) = self.book.lock().remove(&self.name) {
            ended.notify_waiters();
        }
    }
}
