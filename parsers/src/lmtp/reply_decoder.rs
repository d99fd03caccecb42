//! Bytes from a server into [`Reply`]s.

use bytes::{Bytes, BytesMut};

use super::line::{Line, LineReader};
use super::reply::Reply;

/// What a server may send at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyLimits {
    /// The longest line, in bytes, without its CRLF. A SASL challenge is one.
    pub max_line: usize,
    /// The most lines of one reply.
    pub max_lines: usize,
}

impl Default for ReplyLimits {
    fn default() -> Self {
        Self { max_line: 16 * 1024, max_lines: 128 }
    }
}

/// The server's fault, and the end of its connection: which reply belongs to which command cannot be told any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyFault {
    /// More than [`ReplyLimits::max_line`] bytes.
    #[error("the server sent a line longer than is allowed")]
    LineTooLong,
    /// More than [`ReplyLimits::max_lines`] lines.
    #[error("the server sent a reply of too many lines")]
    TooManyLines,
    /// Not `code text` or `code-text`.
    #[error("the server sent a line that is no reply")]
    NoReply,
    /// The lines of one reply have different codes.
    #[error("the server changed its mind within a reply")]
    MixedCodes,
}

/// Reads what a server answers.
#[derive(Debug, Default)]
pub struct ReplyDecoder {
    limits: ReplyLimits,
    lines: LineReader,
    begun: Option<Reply>,
    poisoned: Option<ReplyFault>,
}

impl ReplyDecoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: ReplyLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes one reply from the front of `buf`; `None` until more has arrived.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Reply>, ReplyFault> {
        match self.poisoned {
            Some(fault) => Err(fault),
            None => self.step(buf).inspect_err(|fault| self.poisoned = Some(*fault)),
        }
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Option<Reply>, ReplyFault> {
        while let Some(line) = self.lines.take(buf, self.limits.max_line) {
            let Line::Whole(line) = line else { return Err(ReplyFault::LineTooLong) };
            let (code, last, text) = parse(&line).ok_or(ReplyFault::NoReply)?;
            let reply = self.begun.get_or_insert_with(|| Reply { code, lines: Vec::new() });
            if reply.code != code {
                return Err(ReplyFault::MixedCodes);
            }
            if reply.lines.len() >= self.limits.max_lines {
                return Err(ReplyFault::TooManyLines);
            }
            reply.lines.push(text);
            if last {
                return Ok(self.begun.take());
            }
        }
        // An endless line is noticed before its end.
        if self.lines.is_skipping() { Err(ReplyFault::LineTooLong) } else { Ok(None) }
    }
}

/// `250-text`, `250 text` or `250`: the code, whether it is the last line, and the text.
fn parse(line: &Bytes) -> Option<(u16, bool, Bytes)> {
    let code = line.get(..3).filter(|code| code.iter().all(u8::is_ascii_digit))?;
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    let last = match line.get(3) {
        None | Some(b' ') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    let text = line.slice(4.min(line.len())..);
    let clean = !text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    ((200..600).contains(&code) && clean).then_some((code, last, text))
}
