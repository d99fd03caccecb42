//! Bytes from a server into [`ServerLine`]s.

use bytes::BytesMut;
use memchr::memchr2;

use super::lex::{Flaw, LexFault, Lexer, Synchronizing};
use super::limits::ReplyLimits;
use super::reply::{SaslServerLine, ServerLine};
use super::reply_grammar::reply;
use super::wait::{Wait, with_line_end};

/// The server's fault, and the end of its connection: nothing that follows can be believed. In particular
/// the end of a list must not be read out of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplyFault {
    /// No reply of MUPDATE, or one where it cannot be.
    #[error("the server sent something that is no MUPDATE reply")]
    Malformed,
    /// More than [`ReplyLimits::max_line`] bytes.
    #[error("the server sent a reply longer than is allowed")]
    LineTooLong,
    /// A literal of more than [`ReplyLimits::max_argument`] bytes was announced. None of it was waited for.
    #[error("the server announced a literal larger than is allowed")]
    LiteralTooLarge,
    /// The size of a literal is written with a leading zero.
    #[error("the server announced a literal with a malformed size")]
    LiteralSize,
    /// A quoted string or challenge of more than [`ReplyLimits::max_argument`] bytes.
    #[error("the server sent an argument longer than is allowed")]
    ArgumentTooLong,
    /// A tag longer than any that we send.
    #[error("the server sent a tag longer than is allowed")]
    TagTooLong,
    /// A challenge that is not base64.
    #[error("the server sent a SASL challenge that is not base64")]
    Challenge,
}

impl From<LexFault> for ReplyFault {
    fn from(fault: LexFault) -> Self {
        match fault {
            LexFault::FrameTooLong => Self::LineTooLong,
            LexFault::LiteralTooLarge => Self::LiteralTooLarge,
            LexFault::LiteralSize => Self::LiteralSize,
            LexFault::ArgumentTooLong => Self::ArgumentTooLong,
            LexFault::TagTooLong => Self::TagTooLong,
        }
    }
}

/// Reads what a MUPDATE server sends to its clients.
#[derive(Debug)]
pub struct ReplyDecoder {
    limits: ReplyLimits,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Reading(Wait),
    /// Nothing that follows can be believed.
    Poisoned(ReplyFault),
}

impl ReplyDecoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: ReplyLimits) -> Self {
        Self { limits, state: State::Reading(Wait::Nothing) }
    }

    /// Takes one reply from the front of `buf`; `None` until more has arrived.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<ServerLine>, ReplyFault> {
        self.step(buf).inspect_err(|fault| self.state = State::Poisoned(*fault))
    }

    /// Takes one challenge or the end of the exchange from the front of `buf`; `None` until more has
    /// arrived. To be called in place of [`decode`](Self::decode) between sending AUTHENTICATE and its end.
    pub fn decode_sasl(&mut self, buf: &mut BytesMut) -> Result<Option<SaslServerLine>, ReplyFault> {
        self.step_sasl(buf).inspect_err(|fault| self.state = State::Poisoned(*fault))
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Option<ServerLine>, ReplyFault> {
        let ReplyLimits { max_argument, max_line } = self.limits;
        let wait = self.reading()?;
        let Some(frame) = wait.frame(buf, max_line) else {
            return Ok(None);
        };
        let lexer = Lexer { frame, max_frame: max_line, max_argument, synchronizing: Synchronizing::Never };
        match reply(&lexer) {
            Ok((rest, line)) => {
                let length = lexer.offset(rest);
                let frame = buf.split_to(length).freeze();
                *wait = Wait::Nothing;
                Ok(Some(line.map(|span| span.cut(&frame))))
            }
            Err(nom::Err::Incomplete(_)) if frame.len() == max_line => Err(ReplyFault::LineTooLong),
            Err(nom::Err::Incomplete(_)) => {
                *wait = Wait::LineEnd(frame.len());
                Ok(None)
            }
            Err(nom::Err::Error(flaw) | nom::Err::Failure(flaw)) => match flaw {
                Flaw::Within(end) => {
                    *wait = Wait::Literal(end);
                    Ok(None)
                }
                Flaw::Fatal(fault) => Err(fault.into()),
                Flaw::Syntax { .. } | Flaw::Announced(_) => Err(ReplyFault::Malformed),
            },
        }
    }

    /// A challenge is a line without a space, and every status has one.
    fn step_sasl(&mut self, buf: &mut BytesMut) -> Result<Option<SaslServerLine>, ReplyFault> {
        let limit = self.limits.max_argument;
        let wait = self.reading()?;
        let Some(frame) = wait.frame(buf, with_line_end(limit)) else {
            return Ok(None);
        };
        let first = memchr2(b' ', b'\n', frame).and_then(|at| frame.get(at));
        if first == Some(&b' ') {
            return match self.step(buf)? {
                None => Ok(None),
                Some(ServerLine::Status { tag, status, text }) => {
                    Ok(Some(SaslServerLine::Done { tag, status, text }))
                }
                Some(_) => Err(ReplyFault::Malformed),
            };
        }
        match wait.line(buf, limit)? {
            None => Ok(None),
            Some(challenge) if challenge.iter().all(is_base64) => {
                Ok(Some(SaslServerLine::Challenge(challenge)))
            }
            Some(_) => Err(ReplyFault::Challenge),
        }
    }

    fn reading(&mut self) -> Result<&mut Wait, ReplyFault> {
        match &mut self.state {
            State::Reading(wait) => Ok(wait),
            State::Poisoned(fault) => Err(*fault),
        }
    }
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}
