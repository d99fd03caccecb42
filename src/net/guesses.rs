//! Slowing down whoever guesses passwords.
//!
//! A wrong password is answered late. That alone does not slow down somebody who guesses over many connections
//! at once; so a source that was wrong several times lately is only let in few at a time, and each who is wrong
//! keeps its place until its late answer. Other sources, and sources that are never wrong, notice nothing.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::live::Live;

/// So many wrong passwords are a mistake; more are guesses.
const MISTAKES: u32 = 3;
/// How many of a guessing source are heard at once. More than one, so that one client with a wrong password does
/// not keep the others of its host waiting.
const AT_ONCE: usize = 4;
/// How long after its last wrong password a source is believed again.
const FORGIVEN: Duration = Duration::from_secs(60);
/// How many sources are remembered; those that were wrong longest ago are forgotten first.
const SOURCES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// Who guessed lately; clones are the same memory.
#[derive(Clone, Debug)]
pub struct Guesses {
    delay: Live<Duration>,
    sources: Arc<Mutex<LruCache<IpAddr, Source>>>,
}

#[derive(Debug)]
struct Source {
    wrong: u32,
    last: Instant,
    turns: Arc<Semaphore>,
}

/// One login of one source.
#[derive(Debug)]
pub struct Attempt {
    guesses: Guesses,
    source: IpAddr,
    turn: Option<OwnedSemaphorePermit>,
}

impl Guesses {
    /// Nobody guessed yet; a wrong password will be answered after `delay`.
    pub fn new(delay: Duration) -> Self {
        Self { delay: Live::new(delay), sources: Arc::new(Mutex::new(LruCache::new(SOURCES))) }
    }

    /// From now on a wrong password is answered after `delay`.
    pub fn answer_after(&self, delay: Duration) {
        self.delay.set(delay);
    }

    /// A login begins.
    pub fn attempt(&self, address: IpAddr) -> Attempt {
        Attempt { guesses: self.clone(), source: source(address), turn: None }
    }

    /// The queue of a source that guesses.
    fn suspect(&self, source: IpAddr) -> Option<Arc<Semaphore>> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sources.peek(&source)?;
        if known.last.elapsed() > FORGIVEN {
            sources.pop(&source);
            return None;
        }
        (known.wrong >= MISTAKES).then(|| known.turns.clone())
    }

    fn wrong(&self, source: IpAddr) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Source { wrong: 0, last: Instant::now(), turns: Arc::new(Semaphore::new(AT_ONCE)) };
        let known = sources.get_or_insert_mut(source, fresh);
        known.wrong = known.wrong.saturating_add(1);
        known.last = Instant::now();
    }
}

impl Attempt {
    /// Waits until the source may have a password checked. The caller bounds the wait.
    pub async fn turn(&mut self) {
        if self.turn.is_none()
            && let Some(turns) = self.guesses.suspect(self.source)
        {
            self.turn = turns.acquire_owned().await.ok();
        }
    }

    /// It was wrong: returns when that may be said.
    pub async fn wrong(self) {
        self.guesses.wrong(self.source);
        tokio::time::sleep(*self.guesses.delay.get()).await;
    }
}

/// Whoever has one IPv6 address has the whole /64.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(3);

    async fn guess(guesses: Guesses, address: &str) {
        let mut attempt = guesses.attempt(address.parse().unwrap());
        attempt.turn().await;
        attempt.wrong().await;
    }

    #[tokio::test(start_paused = true)]
    async fn guessing_over_many_connections_is_as_slow_as_over_a_few() {
        let guesses = Guesses::new(DELAY);
        for _ in 0..MISTAKES {
            guess(guesses.clone(), "192.0.2.1").await;
        }
        let start = Instant::now();
        let all: Vec<_> = (0..40).map(|_| tokio::spawn(guess(guesses.clone(), "192.0.2.1"))).collect();
        // Meanwhile others are not kept waiting.
        guesses.attempt("192.0.2.2".parse().unwrap()).turn().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(start.elapsed(), DELAY * 40 / AT_ONCE as u32);
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_is_forgiven_and_a_network_is_one_source() {
        let guesses = Guesses::new(DELAY);
        for host in 1..=MISTAKES {
            guess(guesses.clone(), &format!("2001:db8::{host}")).await;
        }
        let network = source("2001:db8::ffff".parse().unwrap());
        assert!(guesses.suspect(network).is_some());
        tokio::time::advance(FORGIVEN * 2).await;
        assert!(guesses.suspect(network).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let guesses = Guesses::new(Duration::ZERO);
        for n in 0..100_000_u32 {
            guesses.wrong(IpAddr::V4(n.into()));
        }
        assert_eq!(guesses.sources.lock().unwrap().len(), SOURCES.get());
    }
}
