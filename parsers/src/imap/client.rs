//! What a client sends: where its commands begin and end.

use memchr::{memchr, memchr2};

use super::line::Tail;
use super::verb::Verb;

/// The longest beginning of a command, tag and verb, that is looked at. Clients use a dozen bytes.
const MAX_HEAD: usize = 256;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// Too few bytes to tell what they begin; they are to be kept and shown again with what follows them.
    Partial,
    /// A command begins here. Its bytes come as [`ClientEvent::Part`]s.
    Begin {
        /// Its tag; empty when there is none.
        tag: &'a [u8],
        /// Its name.
        verb: Verb,
    },
    /// The next bytes of the command that has begun.
    Part {
        /// They are done with.
        bytes: &'a [u8],
        /// Why they end here.
        stop: Stop,
    },
}

/// Why a part of a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// No more has arrived, or a literal ends.
    More,
    /// A literal of so many bytes follows, whether or not the server says anything.
    Literal(u64),
    /// A literal of so many bytes follows once the server said `+`; if it answers the command instead, the next
    /// command follows.
    Announced(u64),
    /// The client waits for the server: this was the line of IDLE or AUTHENTICATE, or an answer to a challenge.
    Exchange,
    /// The command is complete.
    Command,
}

/// What cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientFault {
    /// No tag and verb within a reasonable length.
    #[error("Invalid tag")]
    NoTag,
    /// A literal's size that is no number.
    #[error("Literal size is invalid")]
    LiteralSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    Line(Tail),
    Literal(u64),
    Announced(u64),
    /// Lines that are no commands.
    Exchange(Tail),
}

/// Follows what a client sends. A few dozen bytes; holds nothing of what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFramer {
    state: State,
    verb: Option<Verb>,
}

impl ClientFramer {
    /// Whether the next byte begins a command, so that one could be put in between.
    pub fn at_boundary(&self) -> bool {
        self.state == State::Start && self.verb.is_none()
    }

    /// Says what the first bytes of `input` are; `None` when there are none. Bytes of a part are taken off
    /// `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ClientEvent<'a>>, ClientFault> {
        if input.is_empty() {
            return Ok(None);
        }
        match self.state {
            State::Start if self.verb.is_none() => self.begin(input).map(Some),
            State::Start => self.line(Tail::default(), input).map(Some),
            State::Line(tail) => self.line(tail, input).map(Some),
            // Whoever sends it without waiting for the `+` means it as the literal too.
            State::Literal(left) | State::Announced(left) => Ok(Some(self.literal(left, input))),
            State::Exchange(tail) => self.exchange(tail, input).map(Some),
        }
    }

    /// The server said `+`.
    pub fn go_ahead(&mut self) {
        if let State::Announced(left) = self.state {
            self.state = State::Literal(left);
        }
    }

    /// The server answered the command that waits for it (see [`Stop::Announced`] and [`Stop::Exchange`]):
    /// what comes next is a command.
    pub fn answered(&mut self) {
        if matches!(self.state, State::Announced(_) | State::Exchange(_)) {
            *self = Self::default();
        }
    }

    fn begin<'a>(&mut self, input: &mut &'a [u8]) -> Result<ClientEvent<'a>, ClientFault> {
        // Whatever has come already: the same bytes are judged in whatever pieces they come.
        let bytes: &'a [u8] = input.get(..MAX_HEAD).unwrap_or(input);
        let line_end = memchr2(b'\r', b'\n', bytes);
        let line = bytes.get(..line_end.unwrap_or(bytes.len())).unwrap_or_default();
        let (tag, rest) = word(line);
        let (verb, behind) = word(rest.unwrap_or_default());
        if line_end.is_none() && behind.is_none() {
            return if line.len() < MAX_HEAD { Ok(ClientEvent::Partial) } else { Err(ClientFault::NoTag) };
        }
        let verb = Verb::of(verb);
        self.verb = Some(verb);
        Ok(ClientEvent::Begin { tag, verb })
    }

    fn line<'a>(&mut self, mut tail: Tail, input: &mut &'a [u8]) -> Result<ClientEvent<'a>, ClientFault> {
        let end = tail.scan(input).map_err(|_| ClientFault::LiteralSize)?;
        let Some((length, announced)) = end else {
            self.state = State::Line(tail);
            return Ok(ClientEvent::Part { bytes: std::mem::take(input), stop: Stop::More });
        };
        let stop = match (announced, self.verb) {
            (Some(literal), _) if literal.waits => {
                self.state = State::Announced(literal.size);
                Stop::Announced(literal.size)
            }
            (Some(literal), _) => {
                self.state = State::Literal(literal.size);
                Stop::Literal(literal.size)
            }
            (None, Some(Verb::Idle | Verb::Authenticate)) => {
                self.state = State::Exchange(Tail::default());
                Stop::Exchange
            }
            (None, _) => {
                *self = Self::default();
                Stop::Command
            }
        };
        Ok(ClientEvent::Part { bytes: split_off(input, length), stop })
    }

    fn literal<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> ClientEvent<'a> {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - length as u64;
        self.state = if left == 0 { State::Line(Tail::default()) } else { State::Literal(left) };
        ClientEvent::Part { bytes: split_off(input, length), stop: Stop::More }
    }

    fn exchange<'a>(&mut self, mut tail: Tail, input: &mut &'a [u8]) -> Result<ClientEvent<'a>, ClientFault> {
        let end = tail.scan(input).map_err(|_| ClientFault::LiteralSize)?;
        let Some((length, _)) = end else {
            self.state = State::Exchange(tail);
            return Ok(ClientEvent::Part { bytes: std::mem::take(input), stop: Stop::More });
        };
        let stop = if self.verb == Some(Verb::Idle) {
            // DONE: the next command may follow at once.
            *self = Self::default();
            Stop::Command
        } else {
            self.state = State::Exchange(Tail::default());
            Stop::Exchange
        };
        Ok(ClientEvent::Part { bytes: split_off(input, length), stop })
    }
}

/// Takes so many bytes off the front.
pub(super) fn split_off<'a>(input: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at_checked(length).unwrap_or((*input, &[]));
    *input = rest;
    taken
}

/// The bytes up to a space, and what is behind it; `None` when no space has come yet.
fn word(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b' ', bytes).and_then(|at| bytes.split_at_checked(at)) {
        Some((word, rest)) => (word, rest.get(1..)),
        None => (bytes, None),
    }
}
