//! How many names a person lets a backend remove from the list (rule 10).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A permission that is not used is forgotten: what was counted an hour ago may be wrong by now.
pub(super) const VALID: Duration = Duration::from_secs(3600);

/// How many, and when it was said, by server.
type Given = HashMap<Vec<u8>, (u64, Instant)>;

/// The permissions that were given; clones are the same ones. Not kept over a restart.
#[derive(Clone, Default, Debug)]
pub(super) struct Removals {
    allowed: Arc<Mutex<Given>>,
}

impl Removals {
    fn lock(&self) -> MutexGuard<'_, Given> {
        self.allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server may remove so many names, once.
    pub(super) fn allow(&self, server: &[u8], count: u64) {
        let mut allowed = self.lock();
        allowed.retain(|_, (_, given)| given.elapsed() < VALID);
        allowed.insert(server.to_vec(), (count, Instant::now()));
    }

    /// How many names the server may remove; it is asked once.
    pub(super) fn take(&self, server: &[u8]) -> u64 {
        let permission = self.lock().remove(server);
        permission.filter(|(_, given)| given.elapsed() < VALID).map_or(0, |(count, _)| count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_is_for_one_server_and_used_once() {
        let removals = Removals::default();
        removals.allow(b"be1", 150);
        assert_eq!((removals.take(b"be2"), removals.take(b"be1"), removals.take(b"be1")), (0, 150, 0));
    }
}
