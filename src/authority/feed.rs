//! From the list to the streams: every durable change, at once, in the order of the commits.
//!
//! A subscriber that falls too far behind is cut off rather than waited for or remembered without bound; it
//! closes its connection bare and its slave takes a fresh list.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::list::{Entry, MailboxName};
use crate::telemetry::metric::Metric;

/// How many changes may wait for one subscriber: what a murder under heavy load changes while a slave takes
/// its first list of a million names.
const BACKLOG: usize = 262_144;

/// With no more changes than this waiting for it, a stream keeps up: they are written within a millisecond.
const CAUGHT_UP: usize = 256;

/// One change of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// The store's sequence number of the change.
    pub seq: u64,
    /// The mailbox.
    pub name: MailboxName,
    /// What the list holds now; `None`: the name is gone.
    pub entry: Option<Entry>,
}

/// Why a subscription ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FeedError {
    /// The subscriber did not keep up.
    #[error("too far behind the list")]
    Lagged,
    /// The list is being replaced, or the process stops.
    #[error("the list is not served any more")]
    Closed,
}

/// The publishing side; clones are the same feed.
#[derive(Clone, Default, Debug)]
pub struct Feed {
    subscribers: Arc<Mutex<Subscribers>>,
}

#[derive(Default, Debug)]
struct Subscribers {
    next: u64,
    all: HashMap<u64, Subscriber>,
}

#[derive(Debug)]
struct Subscriber {
    sender: mpsc::UnboundedSender<Arc<Published>>,
    shared: Arc<Shared>,
    written: watch::Receiver<u64>,
    bound: Option<Duration>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    /// Taken, and not known to be written.
    in_hand: AtomicUsize,
    lagged: AtomicBool,
    /// Has sent its whole dump and did not miss the last bound: writers wait for it.
    live: AtomicBool,
}

/// What a subscriber still has to write, seen from elsewhere: also while it is stuck in writing.
#[derive(Clone, Debug)]
pub struct Backlog(Arc<Shared>);

impl Backlog {
    /// How many changes that is.
    pub fn changes(&self) -> usize {
        self.0.waiting.load(Ordering::Acquire) + self.0.in_hand.load(Ordering::Acquire)
    }
}

/// The receiving side. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    receiver: mpsc::UnboundedReceiver<Arc<Published>>,
    shared: Arc<Shared>,
    written: watch::Sender<u64>,
    feed: Feed,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        // Nothing in here can be left half done.
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a change to every subscriber; never waits.
    pub fn publish(&self, change: Published) {
        let change = Arc::new(change);
        self.lock().all.retain(|_, subscriber| {
            if subscriber.shared.waiting.fetch_add(1, Ordering::AcqRel) >= BACKLOG {
                subscriber.shared.lagged.store(true, Ordering::Release);
                return false;
            }
            subscriber.sender.send(change.clone()).is_ok()
        });
    }

    /// Ends every subscription.
    pub fn close_all(&self) {
        self.lock().all.clear();
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.lock().all.len()
    }

    /// Begins a subscription.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_for(None)
    }

    /// Begins a subscription that writers wait for as long as this, whatever they wait for others.
    pub fn subscribe_within(&self, bound: Duration) -> Subscription {
        self.subscribe_for(Some(bound))
    }

    fn subscribe_for(&self, bound: Option<Duration>) -> Subscription {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (written, written_rx) = watch::channel(0);
        let shared = Arc::new(Shared::default());
        let mut subscribers = self.lock();
        subscribers.next += 1;
        let id = subscribers.next;
        subscribers.all.insert(id, Subscriber { sender, shared: shared.clone(), written: written_rx, bound });
        Subscription { id, receiver, shared, written, feed: self.clone() }
    }

    /// Waits until every live subscriber has written what was published up to `seq`, but no longer than
    /// `bound`, or its own; who misses it is not waited for again until it has caught up.
    pub async fn written(&self, seq: u64, bound: Duration) {
        let behind: Vec<_> = self
            .lock()
            .all
            .values()
            .filter(|s| s.shared.live.load(Ordering::Acquire) && *s.written.borrow() < seq)
            .map(|s| (s.written.clone(), s.shared.clone(), s.bound.unwrap_or(bound)))
            .collect();
        let now = tokio::time::Instant::now();
        for (mut written, shared, bound) in behind {
            if tokio::time::timeout_at(now + bound, written.wait_for(|at| *at >= seq)).await.is_err() {
                shared.live.store(false, Ordering::Release);
                Metric::StreamMisses.count(1);
            }
        }
    }

    /// Whether [`Self::written`] would return at once.
    pub fn is_written(&self, seq: u64) -> bool {
        self.lock().all.values().all(|s| !s.shared.live.load(Ordering::Acquire) || *s.written.borrow() >= seq)
    }
}

impl Subscription {
    /// The next changes, at least one, at most `limit`, oldest first.
    pub async fn recv(&mut self, into: &mut Vec<Arc<Published>>, limit: usize) -> Result<(), FeedError> {
        let got = self.receiver.recv_many(into, limit).await;
        self.took(got);
        match got {
            0 if self.shared.lagged.load(Ordering::Acquire) => Err(FeedError::Lagged),
            0 => Err(FeedError::Closed),
            _ => Ok(()),
        }
    }

    /// The changes that are there already; may be none.
    pub fn drain(&mut self, into: &mut Vec<Arc<Published>>) -> Result<(), FeedError> {
        loop {
            match self.receiver.try_recv() {
                Ok(change) => {
                    self.took(1);
                    into.push(change);
                }
                Err(mpsc::error::TryRecvError::Empty) => return Ok(()),
                Err(mpsc::error::TryRecvError::Disconnected) if !into.is_empty() => return Ok(()),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    let lagged = self.shared.lagged.load(Ordering::Acquire);
                    return Err(if lagged { FeedError::Lagged } else { FeedError::Closed });
                }
            }
        }
    }

    fn took(&self, changes: usize) {
        // In this order, so that none is missing from a backlog meanwhile.
        self.shared.in_hand.fetch_add(changes, Ordering::AcqRel);
        self.shared.waiting.fetch_sub(changes, Ordering::AcqRel);
    }

    /// Everything that was taken, and published up to `seq`, was written to the socket. The first call says that the dump is
    /// through: once it has caught up with what changed meanwhile, writers wait for this stream, as long as it
    /// keeps up.
    pub fn written(&self, seq: u64) {
        self.written.send_if_modified(|at| {
            let newer = seq > *at;
            *at = seq.max(*at);
            newer
        });
        self.shared.in_hand.store(0, Ordering::Release);
        if self.receiver.len() <= CAUGHT_UP {
            self.shared.live.store(true, Ordering::Release);
        }
    }

    /// What is still to be written, for others to look at.
    pub fn backlog(&self) -> Backlog {
        Backlog(self.shared.clone())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.lock().all.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(seq: u64) -> Published {
        Published { seq, name: MailboxName::new(b"user.a").unwrap(), entry: None }
    }

    #[tokio::test]
    async fn changes_arrive_in_order_and_writers_wait_for_the_stream() {
        let feed = Feed::default();
        let mut subscription = feed.subscribe();
        feed.publish(change(1));
        assert!(feed.is_written(1), "nobody waits for a stream that is still sending its dump");
        subscription.written(1);
        feed.publish(change(2));
        assert!(!feed.is_written(2));
        let waiting = tokio::spawn({
            let feed = feed.clone();
            async move { feed.written(2, Duration::from_secs(60)).await }
        });
        let mut got = Vec::new();
        while got.len() < 2 {
            subscription.recv(&mut got, 16).await.unwrap();
        }
        assert_eq!(got.iter().map(|c| c.seq).collect::<Vec<_>>(), [1, 2]);
        subscription.written(2);
        waiting.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_stream_holds_up_one_writer_once() {
        let feed = Feed::default();
        let subscription = feed.subscribe();
        subscription.written(1);
        feed.publish(change(2));
        feed.written(2, Duration::from_millis(20)).await;
        assert!(feed.is_written(2), "not waited for again");
        subscription.written(2);
        feed.publish(change(3));
        assert!(!feed.is_written(3), "waited for again once it has caught up");
    }

    #[tokio::test]
    async fn what_is_taken_and_not_written_still_counts() {
        let feed = Feed::default();
        let mut subscription = feed.subscribe();
        let backlog = subscription.backlog();
        for seq in 1..=3 {
            feed.publish(change(seq));
        }
        assert_eq!(backlog.changes(), 3);
        subscription.recv(&mut Vec::new(), 2).await.unwrap();
        feed.publish(change(4));
        assert_eq!(backlog.changes(), 4, "whoever is stuck in writing does not look as if it kept up");
        subscription.written(2);
        assert_eq!(backlog.changes(), 2);
        subscription.drain(&mut Vec::new()).unwrap();
        subscription.written(4);
        assert_eq!(backlog.changes(), 0);
    }

    #[tokio::test]
    async fn who_falls_behind_is_cut_off() {
        let feed = Feed::default();
        let mut subscription = feed.subscribe();
        for seq in 0..=BACKLOG as u64 {
            feed.publish(change(seq));
        }
        assert_eq!(feed.subscribers(), 0);
        let mut got = Vec::new();
        let end = loop {
            if let Err(end) = subscription.recv(&mut got, usize::MAX).await {
                break end;
            }
        };
        assert_eq!((end, got.len()), (FeedError::Lagged, BACKLOG));
    }
}
