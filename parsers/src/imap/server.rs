//! What a server sends: where its replies begin and end.

use memchr::{memchr, memchr2};

use super::client::split_off;
use super::line::Tail;

/// The longest beginning of a reply that is looked at.
const MAX_HEAD: usize = 512;

/// The condition that a status reply tells (RFC 9051 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Done, or for information.
    Ok,
    /// Failed, or a warning.
    No,
    /// Not understood.
    Bad,
    /// The server is about to hang up.
    Bye,
    /// A greeting: logged in already.
    PreAuth,
}

/// What a reply is, as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyHead<'a> {
    /// `+`: the client is to go on.
    Continue,
    /// `OK`, `NO`, `BAD`, `BYE` or `PREAUTH`. What follows is text and announces no literal.
    Status {
        /// The command that it ends; `None` for `*`.
        tag: Option<&'a [u8]>,
        /// What it tells.
        condition: Condition,
        /// The first word of its response code, without the bracket.
        code: Option<&'a [u8]>,
    },
    /// Data; the word that tells what it is, such as `CAPABILITY` or `FETCH`.
    Data(&'a [u8]),
}

/// What the next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent<'a> {
    /// Too few bytes to tell what they begin; they are to be kept and shown again with what follows them.
    Partial,
    /// A reply begins here. Its bytes come as [`ServerEvent::Part`]s.
    Begin(ReplyHead<'a>),
    /// The next bytes of the reply that has begun.
    Part {
        /// They are done with.
        bytes: &'a [u8],
        /// They are its last.
        end: bool,
    },
}

/// What cannot be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerFault {
    /// The server announced a literal whose size is no number.
    #[error("the server announced a literal of impossible size")]
    LiteralSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum State {
    #[default]
    Start,
    /// Text; it ends with its line.
    Text,
    /// Data, which may hold literals.
    Line(Tail),
    Literal(u64),
}

/// Follows what a server sends. A few dozen bytes; holds nothing of what passes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFramer {
    state: State,
}

impl ServerFramer {
    /// Whether the next byte begins a reply, so that one could be put in between.
    pub fn at_boundary(&self) -> bool {
        self.state == State::Start
    }

    /// Says what the first bytes of `input` are; `None` when there are none. Bytes of a part are taken off
    /// `input`.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<ServerEvent<'a>>, ServerFault> {
        if input.is_empty() {
            return Ok(None);
        }
        Ok(Some(match self.state {
            State::Start => self.begin(input),
            State::Text => self.text(input),
            State::Line(tail) => self.line(tail, input)?,
            State::Literal(left) => self.literal(left, input),
        }))
    }

    fn begin<'a>(&mut self, input: &'a [u8]) -> ServerEvent<'a> {
        // Whatever has come already: the same bytes are judged in whatever pieces they come.
        let input = input.get(..MAX_HEAD).unwrap_or(input);
        let end = memchr2(b'\r', b'\n', input);
        let seen = input.get(..end.unwrap_or(input.len())).unwrap_or_default();
        let whole = end.is_some() || seen.len() >= MAX_HEAD;
        let Some(head) = head(seen, whole) else { return ServerEvent::Partial };
        self.state = match head {
            ReplyHead::Data(_) => State::Line(Tail::default()),
            ReplyHead::Continue | ReplyHead::Status { .. } => State::Text,
        };
        ServerEvent::Begin(head)
    }

    fn text<'a>(&mut self, input: &mut &'a [u8]) -> ServerEvent<'a> {
        match memchr(b'\n', input) {
            None => ServerEvent::Part { bytes: std::mem::take(input), end: false },
            Some(at) => {
                self.state = State::Start;
                ServerEvent::Part { bytes: split_off(input, at + 1), end: true }
            }
        }
    }

    fn line<'a>(&mut self, mut tail: Tail, input: &mut &'a [u8]) -> Result<ServerEvent<'a>, ServerFault> {
        let end = tail.scan(input).map_err(|_| ServerFault::LiteralSize)?;
        Ok(match end {
            None => {
                self.state = State::Line(tail);
                ServerEvent::Part { bytes: std::mem::take(input), end: false }
            }
            Some((length, literal)) => {
                self.state = literal.map_or(State::Start, |literal| State::Literal(literal.size));
                ServerEvent::Part { bytes: split_off(input, length), end: literal.is_none() }
            }
        })
    }

    fn literal<'a>(&mut self, left: u64, input: &mut &'a [u8]) -> ServerEvent<'a> {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let left = left - length as u64;
        self.state = if left == 0 { State::Line(Tail::default()) } else { State::Literal(left) };
        ServerEvent::Part { bytes: split_off(input, length), end: false }
    }
}

/// Reads a reply's beginning; `None` while more of the line could tell more. `whole`: there is no more.
fn head(line: &[u8], whole: bool) -> Option<ReplyHead<'_>> {
    let (first, rest) = word(line, whole)?;
    if first == b"+" {
        return Some(ReplyHead::Continue);
    }
    let (mut what, mut rest) = word(rest, whole)?;
    if first == b"*" && !what.is_empty() && what.iter().all(u8::is_ascii_digit) {
        (what, rest) = word(rest, whole)?;
    }
    let Some(condition) = condition(what) else { return Some(ReplyHead::Data(what)) };
    let code = match rest.split_first() {
        None if !whole => return None,
        Some((b'[', code)) => {
            let end = code.iter().position(|byte| matches!(byte, b' ' | b']'));
            match end {
                None if !whole => return None,
                None => None,
                Some(end) => code.get(..end),
            }
        }
        _ => None,
    };
    Some(ReplyHead::Status { tag: (first != b"*").then_some(first), condition, code })
}

/// The bytes up to a space, and what is behind it; `None` while the word may go on.
fn word(bytes: &[u8], whole: bool) -> Option<(&[u8], &[u8])> {
    match memchr(b' ', bytes).and_then(|at| bytes.split_at_checked(at)) {
        Some((word, rest)) => Some((word, rest.get(1..).unwrap_or_default())),
        None => whole.then_some((bytes, &[])),
    }
}

fn condition(word: &[u8]) -> Option<Condition> {
    let all: [(&[u8], Condition); 5] = [
        (b"OK", Condition::Ok),
        (b"NO", Condition::No),
        (b"BAD", Condition::Bad),
        (b"BYE", Condition::Bye),
        (b"PREAUTH", Condition::PreAuth),
    ];
    all.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, condition)| condition)
}
