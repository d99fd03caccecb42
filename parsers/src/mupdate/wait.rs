//! What must arrive before it pays to look at a frame again.
//!
//! A frame that is not complete is parsed anew from its start, which is cheap, since literals are stepped
//! over. It must only not be done for every byte that arrives: that would make a long argument, sent byte
//! by byte, cost the square of its length. Nothing can be decided before either an announced literal is
//! there as a whole or, outside of literals, a line end; and there are no more of those in a frame than it
//! has arguments.

use bytes::{Bytes, BytesMut};
use memchr::memchr;

use super::lex::LexFault;

/// A limit on a line's content as one on the line.
pub(super) fn with_line_end(limit: usize) -> usize {
    limit.saturating_add(b"\r\n".len())
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Wait {
    /// Nothing is known: look.
    #[default]
    Nothing,
    /// Look when there is a line end at or behind this offset.
    LineEnd(usize),
    /// Look when a literal that ends at this offset is whole.
    Literal(usize),
}

impl Wait {
    /// What has arrived of the frame at the front of `buf`, up to `limit` bytes; `None` while it does not
    /// pay to look. At the limit it always does.
    pub(super) fn frame<'b>(&mut self, buf: &'b [u8], limit: usize) -> Option<&'b [u8]> {
        let frame = buf.get(..limit).unwrap_or(buf);
        let look = !buf.is_empty() && (frame.len() == limit || self.is_over(frame));
        look.then_some(frame)
    }

    /// Takes a line of up to `limit` bytes from the front of `buf`, without its end; for SASL.
    pub(super) fn line(&mut self, buf: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, LexFault> {
        let within = with_line_end(limit);
        let Some(frame) = self.frame(buf, within) else {
            return Ok(None);
        };
        let Some(end) = memchr(b'\n', frame) else {
            if frame.len() == within {
                return Err(LexFault::ArgumentTooLong);
            }
            *self = Self::LineEnd(frame.len());
            return Ok(None);
        };
        *self = Self::Nothing;
        let mut line = buf.split_to(end + 1).freeze();
        let ending = if line.ends_with(b"\r\n") { 2 } else { 1 };
        line.truncate(line.len() - ending);
        Ok(Some(line))
    }

    /// Whether to look at a frame of which `have` has arrived.
    fn is_over(&mut self, have: &[u8]) -> bool {
        match *self {
            Self::Nothing => true,
            Self::Literal(end) => have.len() >= end,
            Self::LineEnd(from) => {
                let found = have.get(from..).is_some_and(|fresh| memchr(b'\n', fresh).is_some());
                if !found {
                    *self = Self::LineEnd(have.len());
                }
                found
            }
        }
    }
}
