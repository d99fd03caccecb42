//! The message behind DATA: dots doubled, ended by a line of one dot (RFC 5321 §4.5.2).
//!
//! A line ends with CRLF. A CR or LF alone ends nothing, neither a line before which a dot was doubled nor the
//! message; it is given on the way Cyrus stores it: a bare LF as CRLF, a bare CR not at all.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memchr2;

/// A piece of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DataEvent {
    /// Some bytes of it, dots no longer doubled, every line end CRLF. Never empty.
    Chunk(Bytes),
    /// There is no more. What follows in the buffer are commands.
    End,
}

/// Takes one message out of what a client sends after DATA.
#[derive(Debug)]
pub struct DataDecoder {
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Behind a CRLF, or at the start.
    LineStart,
    /// Anywhere else.
    Within,
    /// A bare LF was taken, and is still to be given out as CRLF.
    OwesLineEnd,
    /// Behind the end.
    Ended,
}

impl Default for DataDecoder {
    fn default() -> Self {
        Self { place: Place::LineStart }
    }
}

impl DataDecoder {
    /// Takes what it can from the front of `buf`; `None` until more has arrived. What stays behind is not more than
    /// three bytes: it is not clear yet what they mean.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Option<DataEvent> {
        if self.place == Place::OwesLineEnd {
            self.place = Place::Within;
            return Some(DataEvent::Chunk(Bytes::from_static(b"\r\n")));
        }
        if self.place == Place::Ended {
            return Some(DataEvent::End);
        }
        // Up to here it is part of the message as it is.
        let mut clean = 0;
        loop {
            let rest = buf.get(clean..).unwrap_or_default();
            if self.place == Place::LineStart {
                match rest {
                    [b'.', b'\r', b'\n', ..] if clean == 0 => {
                        buf.advance(3);
                        self.place = Place::Ended;
                        return Some(DataEvent::End);
                    }
                    [] | [b'.'] | [b'.', b'\r'] | [b'.', b'\r', b'\n', ..] => return chunk(buf, clean),
                    // A dot that was doubled.
                    [b'.', ..] if clean == 0 => {
                        buf.advance(1);
                        self.place = Place::Within;
                        continue;
                    }
                    [b'.', ..] => return chunk(buf, clean),
                    _ => self.place = Place::Within,
                }
            }
            let Some(at) = memchr2(b'\r', b'\n', rest) else { return chunk(buf, buf.len()) };
            match rest.get(at..).unwrap_or_default() {
                [b'\r', b'\n', ..] => {
                    clean += at + 2;
                    self.place = Place::LineStart;
                }
                [b'\r'] => return chunk(buf, clean + at),
                [b'\r', ..] if clean + at == 0 => buf.advance(1),
                [b'\n', ..] if clean + at == 0 => {
                    buf.advance(1);
                    return Some(DataEvent::Chunk(Bytes::from_static(b"\r\n")));
                }
                [b'\r', ..] => {
                    let piece = chunk(buf, clean + at);
                    buf.advance(1);
                    return piece;
                }
                _ => {
                    let piece = chunk(buf, clean + at);
                    buf.advance(1);
                    self.place = Place::OwesLineEnd;
                    return piece;
                }
            }
        }
    }
}

fn chunk(buf: &mut BytesMut, length: usize) -> Option<DataEvent> {
    (length > 0).then(|| DataEvent::Chunk(buf.split_to(length).freeze()))
}

/// Writes one message so that any server finds its end where it is: dots doubled, every line end CRLF.
#[derive(Debug)]
pub struct Stuffer {
    /// What was written last is a line end, or nothing was written yet.
    line_start: bool,
    /// What was given last is a CR. It is written when its LF comes, and else never.
    cr: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Self { line_start: true, cr: false }
    }
}

impl Stuffer {
    /// Writes a piece of the message. A bare LF becomes CRLF, a bare CR is left out.
    pub fn stuff(&mut self, piece: &[u8], out: &mut BytesMut) {
        out.reserve(piece.len() + piece.len() / 32 + 4);
        let mut rest = piece;
        while !rest.is_empty() {
            // A stretch up to a line end, taken as a whole.
            let at = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            let (stretch, behind) = rest.split_at(at);
            if let Some(first) = stretch.first() {
                if self.line_start && *first == b'.' {
                    out.extend_from_slice(b".");
                }
                out.extend_from_slice(stretch);
                self.line_start = false;
                self.cr = false;
            }
            rest = match behind {
                [] => behind,
                [b'\r', b'\n', behind @ ..] | [b'\n', behind @ ..] => {
                    out.extend_from_slice(b"\r\n");
                    self.line_start = true;
                    self.cr = false;
                    behind
                }
                [_, behind @ ..] => {
                    self.cr = true;
                    behind
                }
            };
        }
    }

    /// Ends the message.
    pub fn finish(&mut self, out: &mut BytesMut) {
        if !self.line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        *self = Self::default();
    }
}
