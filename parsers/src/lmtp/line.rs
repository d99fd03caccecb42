//! Lines that end with CRLF and nothing else.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

/// Takes a line off the front of a buffer, and remembers how far it has looked.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// Bytes in which no CRLF begins.
    seen: usize,
    /// The line is too long: everything up to its end is thrown away.
    skipping: bool,
}

/// What was at the front.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its CRLF. There may be a bare CR or LF in it.
    Whole(Bytes),
    /// The end of a line that was longer than allowed.
    TooLong,
}

impl LineReader {
    /// Whether the line that is arriving is already too long.
    pub(super) fn is_skipping(&self) -> bool {
        self.skipping
    }

    pub(super) fn take(&mut self, buf: &mut BytesMut, max: usize) -> Option<Line> {
        let from = self.seen.min(buf.len());
        let found = buf.get(from..).and_then(|rest| memmem::find(rest, b"\r\n")).map(|at| from + at);
        let Some(end) = found else {
            // The last byte may be the CR of the end.
            self.seen = buf.len().saturating_sub(1);
            if self.skipping || buf.len() > max + 1 {
                self.skipping = true;
                buf.advance(self.seen);
                self.seen = 0;
            }
            return None;
        };
        self.seen = 0;
        let line = buf.split_to(end);
        buf.advance(2);
        if std::mem::take(&mut self.skipping) || line.len() > max {
            return Some(Line::TooLong);
        }
        Some(Line::Whole(line.freeze()))
    }
}
