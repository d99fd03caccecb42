//! Whether a connection carries an operation of a Cyrus backend, and how that ended.
//!
//! A backend does one operation on one connection, numbers its commands `X0`, `X1` … and says LOGOUT at the end,
//! whatever the end is. Without the LOGOUT, or after a NO, it has undone its own side. Other clients number as
//! they like and hang up as they like: theirs stands as soon as it was answered OK (RFC 3656 §4).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::authority::write::SessionId;

/// A backend that hears nothing gives up after 10 s. A connection that falls silent after a write and is found
/// dead much later says nothing about the operation.
const MEMORY: Duration = Duration::from_secs(30);

/// One connection, as far as it is known.
#[derive(Debug)]
pub(crate) struct Operation {
    session: SessionId,
    commands: u64,
    numbered: bool,
    /// When the last write was answered, and whether with OK.
    answered: Option<(Instant, bool)>,
}

impl Operation {
    pub(crate) fn begin() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self::of(SessionId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A connection with this number.
    pub(crate) fn of(session: SessionId) -> Self {
        Self { session, commands: 0, numbered: true, answered: None }
    }

    /// A command other than LOGOUT came.
    pub(crate) fn heard(&mut self, tag: &[u8]) {
        self.numbered &= tag == format!("X{}", self.commands).as_bytes();
        self.commands += 1;
    }

    /// Under what the next write is remembered; `None` when this is no backend.
    pub(crate) fn session(&self) -> Option<SessionId> {
        self.numbered.then_some(self.session)
    }

    /// A write was answered.
    pub(crate) fn answered(&mut self, done: bool) {
        self.answered = Some((Instant::now(), done));
    }

    /// The connection ends, with or without a farewell: the operation, if there was one, and whether it is
    /// complete. Only told once.
    pub(crate) fn end(&mut self, farewell: bool) -> Option<(SessionId, bool)> {
        let (at, done) = self.answered.take()?;
        let undone = self.numbered && at.elapsed() < MEMORY && !(farewell && done);
        Some((self.session, !undone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(tags: &[&str], done: bool, farewell: bool) -> bool {
        let mut operation = Operation::begin();
        for tag in tags {
            operation.heard(tag.as_bytes());
        }
        operation.answered(done);
        operation.end(farewell).unwrap().1
    }

    #[test]
    fn a_backend_s_operation_is_complete_with_its_farewell_after_ok() {
        assert!(after(&["X0", "X1"], true, true));
        assert!(!after(&["X0", "X1"], true, false), "cut");
        assert!(!after(&["X0", "X1"], false, true), "refused");
    }

    #[test]
    fn other_clients_are_taken_at_their_word() {
        assert!(after(&["X1", "X2"], true, false));
        assert!(after(&["A1"], false, false));
        let mut reader = Operation::begin();
        reader.heard(b"X0");
        assert_eq!(reader.end(false), None, "nothing was written");
    }
}
