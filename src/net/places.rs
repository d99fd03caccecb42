//! Places that are taken and given back, of a number that may change meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the places that are taken; clones count the same ones.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<AtomicUsize>);

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Taken(Places);

impl Places {
    /// A place, where fewer than `most` are taken. Nobody loses a place when there are to be fewer: who comes next
    /// finds none.
    pub fn take(&self, most: usize) -> Option<Taken> {
        let one_more = |taken| (taken < most).then_some(taken + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Taken(self.clone()))
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_number_may_change() {
        let places = Places::default();
        let first = places.take(2).unwrap();
        let _second = places.take(2).unwrap();
        assert!(places.take(2).is_none());
        let _third = places.take(3).unwrap();
        assert!(places.take(1).is_none(), "fewer from now on");
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(2).is_none());
        assert!(places.take(3).is_some());
    }
}
