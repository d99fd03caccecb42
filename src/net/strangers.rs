//! Connections that have not logged in yet.
//!
//! Their number is bounded, but nobody is turned away for it: whoever comes takes the place of the oldest
//! stranger of the source that has the most. A client that logs in at once keeps its place even while somebody
//! opens connections by the thousand.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The strangers that are connected; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Strangers {
    all: Arc<Mutex<All>>,
}

#[derive(Debug, Default)]
struct All {
    most: usize,
    next: u64,
    /// By age.
    places: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    of_source: HashMap<IpAddr, usize>,
}

/// A stranger's place, until it is dropped or taken away.
#[derive(Debug)]
pub struct Place {
    strangers: Strangers,
    id: u64,
    /// Ends when the place is taken away.
    taken: oneshot::Receiver<()>,
}

impl Strangers {
    /// Places for so many.
    pub fn new(most: usize) -> Self {
        let strangers = Self { all: Arc::default() };
        strangers.allow(most);
        strangers
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Nothing in here can be left half done.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on there are places for so many.
    pub fn allow(&self, most: usize) {
        self.lock().most = most.max(1);
    }

    /// Gives a place to somebody who has just connected.
    pub fn enter(&self, address: IpAddr) -> Place {
        let (keep, taken) = oneshot::channel();
        let mut all = self.lock();
        while all.places.len() >= all.most {
            all.evict();
        }
        all.next += 1;
        let id = all.next;
        all.places.insert(id, (address, keep));
        *all.of_source.entry(address).or_default() += 1;
        Place { strangers: self.clone(), id, taken }
    }

    /// Takes a place away, when there are no more descriptors for connections.
    pub fn evict(&self) {
        self.lock().evict();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl All {
    fn evict(&mut self) {
        let heaviest = self.of_source.iter().max_by_key(|(_, count)| **count).map(|(source, _)| *source);
        let oldest = self.places.iter().find(|(_, (source, _))| Some(*source) == heaviest);
        if let Some(id) = oldest.map(|(id, _)| *id) {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: u64) {
        if let Some((source, _)) = self.places.remove(&id)
            && let Some(count) = self.of_source.get_mut(&source)
        {
            *count -= 1;
            if *count == 0 {
                self.of_source.remove(&source);
            }
        }
    }
}

impl Place {
    /// Returns when the place was taken away.
    pub async fn taken(&mut self) {
        let _ = (&mut self.taken).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.lock().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test]
    async fn whoever_comes_takes_the_place_of_the_oldest_of_the_greediest() {
        let strangers = Strangers::new(4);
        let mut modest = strangers.enter(address(1));
        let mut greedy: Vec<Place> = (0..3).map(|_| strangers.enter(address(2))).collect();
        let _new = strangers.enter(address(3));
        greedy[0].taken().await;
        assert!(modest.taken.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        assert!(greedy[1].taken.try_recv().is_err_and(|e| e == oneshot::error::TryRecvError::Empty));
        greedy.clear();
        assert_eq!(strangers.len(), 2);
        strangers.evict();
        strangers.evict();
        strangers.evict();
        assert!(strangers.is_empty());
        modest.taken().await;
    }
}
