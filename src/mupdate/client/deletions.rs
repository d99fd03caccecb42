//! Which names are being deleted at the master.
//!
//! Two deletions of one name must never be at the master together, guarded as they are (rule 5): both find the
//! name, and the second one then deletes what is not there any more, which kills the master.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::list::MailboxName;

type UnderWay = HashMap<MailboxName, Arc<Notify>>;

/// At most one deletion of a name at a time; clones are the same book.
#[derive(Clone, Default, Debug)]
pub(super) struct Deletions {
    under_way: Arc<Mutex<UnderWay>>,
}

/// The only deletion of its name, until dropped.
#[derive(Debug)]
pub(super) struct Alone {
    name: MailboxName,
    book: Deletions,
}

impl Deletions {
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

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(ended) = self.book.lock().remove(&self.name) {
            ended.notify_waiters();
        }
    }
}
