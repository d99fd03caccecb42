//! Throwing away the rest of a command that was answered `BAD`.
//!
//! As Cyrus's `eatline` does it: up to the line end, and where the line ends with `{n+}`, also the n bytes
//! that follow and the line after them, since the client sends those without waiting. A `{n}` is none: the
//! client waits for `+` and gets `BAD` instead.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use super::lex::{self, LexFault};

/// How far the skipping has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Skip {
    /// Bytes of a literal still to come.
    literal: usize,
    /// No line end before this offset.
    scanned: usize,
    /// How many bytes the command may still have.
    budget: usize,
    max_argument: usize,
}

impl Skip {
    pub(super) fn new(budget: usize, max_argument: usize) -> Self {
        Self { literal: 0, scanned: 0, budget, max_argument }
    }

    /// Drops what can be dropped. Whether the end of the command was reached.
    pub(super) fn run(&mut self, buf: &mut BytesMut) -> Result<bool, LexFault> {
        loop {
            let dropped = self.literal.min(buf.len());
            buf.advance(dropped);
            self.literal -= dropped;
            if self.literal > 0 {
                return Ok(false);
            }
            let within = buf.get(..self.budget).unwrap_or(buf.as_ref());
            let Some(end) =
                within.get(self.scanned..).and_then(|fresh| memchr(b'\n', fresh)).map(|at| self.scanned + at)
            else {
                if buf.len() >= self.budget {
                    return Err(LexFault::FrameTooLong);
                }
                self.scanned = buf.len();
                return Ok(false);
            };
            let literal = lex::trailing_literal(within.get(..end).unwrap_or_default(), self.max_argument)?;
            buf.advance(end + 1);
            self.budget -= end + 1;
            self.scanned = 0;
            let Some(size) = literal else {
                return Ok(true);
            };
            self.budget = self.budget.checked_sub(size).ok_or(LexFault::FrameTooLong)?;
            self.literal = size;
        }
    }
}
