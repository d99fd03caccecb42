//! The words and strings that both directions are made of.
//!
//! The parsers are nom's streaming ones over the bytes of one frame, and answer [`Span`]s instead of slices,
//! so that the frame can then be split off the input buffer and its arguments cut out of it uncopied.

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use nom::branch::alt;
use nom::bytes::streaming::{tag, take, take_till, take_while};
use nom::combinator::{opt, value, verify};
use nom::error::{ErrorKind, ParseError};
use nom::{IResult, Parser};

/// Longest tag accepted. A tag is repeated in front of every line of a stream, so its length multiplies;
/// Cyrus's clients use three bytes.
const MAX_TAG: usize = 64;

/// An `Incomplete` here means that the line has not ended, nothing else.
pub(super) type Lexed<'a, T> = IResult<&'a [u8], T, Flaw>;

/// Why bytes are not what was looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// Not of this form. The frame's last `rest` bytes have not been understood.
    Syntax { rest: usize },
    /// So wrong that nothing behind it can be trusted to begin where it seems to.
    Fatal(LexFault),
    /// The literal whose announcement ends at this offset will be sent only after a `+`.
    Announced(usize),
    /// In the middle of a literal that ends at this offset.
    Within(usize),
}

/// What ends a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LexFault {
    FrameTooLong,
    LiteralTooLarge,
    LiteralSize,
    ArgumentTooLong,
    TagTooLong,
}

impl<'a> ParseError<&'a [u8]> for Flaw {
    fn from_error_kind(input: &'a [u8], _: ErrorKind) -> Self {
        Self::Syntax { rest: input.len() }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

pub(super) fn syntax<T>(at: &[u8]) -> Lexed<'_, T> {
    Err(nom::Err::Error(Flaw::Syntax { rest: at.len() }))
}

fn fatal<T>(fault: LexFault) -> Result<T, nom::Err<Flaw>> {
    Err(nom::Err::Failure(Flaw::Fatal(fault)))
}

/// Where in a frame a string is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Span {
    start: usize,
    end: usize,
    /// Holds `\x` escapes that are to be resolved.
    escaped: bool,
}

impl Span {
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(super) fn of<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.start..self.end).unwrap_or_default()
    }

    /// Cuts the string out of its frame; copied only if there are escapes in it.
    pub(super) fn cut(self, frame: &Bytes) -> Bytes {
        if !self.escaped {
            return frame.slice(self.start..self.end);
        }
        let raw = self.of(frame);
        let mut plain = BytesMut::with_capacity(raw.len());
        let mut bytes = raw.iter();
        while let Some(byte) = bytes.next() {
            let kept = if *byte == b'\\' { bytes.next() } else { Some(byte) };
            plain.extend(kept);
        }
        plain.freeze()
    }
}

/// Whether a literal announced with `{n}` is sent only after `+ go ahead`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Synchronizing {
    /// A client's is. The offset is the end of the last announcement that was answered.
    Answered(usize),
    /// A server's is not, RFC 3656 notwithstanding: Cyrus's client never answers one.
    Never,
}

/// One frame and the rules for reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexer<'a> {
    /// The frame from its first byte to the last that has arrived, or to the limit.
    pub(super) frame: &'a [u8],
    pub(super) max_frame: usize,
    pub(super) max_argument: usize,
    pub(super) synchronizing: Synchronizing,
}

impl<'a> Lexer<'a> {
    /// How many of the frame's bytes are before `rest`.
    pub(super) fn offset(&self, rest: &[u8]) -> usize {
        self.frame.len() - rest.len()
    }

    /// The span from one place of the frame to a later one.
    pub(super) fn span(&self, from: &[u8], to: &[u8]) -> Span {
        Span { start: self.offset(from), end: self.offset(to), escaped: false }
    }

    /// Bytes up to white space, a parenthesis or a quote (Cyrus's `getword`); may be none.
    pub(super) fn word(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        let (rest, _) = take_till(ends_word)(input)?;
        Ok((rest, self.span(input, rest)))
    }

    /// A [`word`](Self::word) that can be a tag: printable, not empty, of reasonable length.
    pub(super) fn tag(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        let (rest, word) = self.word(input)?;
        let bytes = word.of(self.frame);
        if bytes.len() > MAX_TAG {
            return fatal(LexFault::TagTooLong);
        }
        if bytes.is_empty() || bytes.iter().any(u8::is_ascii_control) {
            return syntax(rest);
        }
        Ok((rest, word))
    }

    /// A quoted string or a literal. NUL is in neither, whatever the RFC says of literals: Cyrus refuses it.
    pub(super) fn string(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        match take(1usize)(input)? {
            (rest, b"\"") => self.quoted(rest),
            (rest, b"{") => self.literal(rest),
            _ => syntax(input),
        }
    }

    /// A quoted string or an atom, as mechanisms are written. No literal, so that a line's end is its end
    /// however many there are.
    pub(super) fn name(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        match take(1usize)(input)? {
            (rest, b"\"") => self.quoted(rest),
            (_, b"{") => syntax(input),
            _ => verify(|at| self.word(at), |word: &Span| !word.is_empty()).parse(input),
        }
    }

    /// What is left of a line, its end included but not answered, and a space before it neither.
    pub(super) fn bare_text(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        let (start, _) = opt(space).parse(input)?;
        let (end, line) = take_till(|byte| byte == b'\n')(start)?;
        let (rest, _) = take(1usize)(end)?;
        let text = line.strip_suffix(b"\r").unwrap_or(line);
        if memchr(0, text).is_some() || text.starts_with(b"{") {
            return syntax(start);
        }
        let start = self.offset(start);
        let span = Span { start, end: start + text.len(), escaped: false };
        Ok((rest, span))
    }

    fn quoted(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        let mut escaped = false;
        let mut rest = input;
        loop {
            let (special, _) = take_while(|byte| !matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0))(rest)?;
            match take(1usize)(special)? {
                (behind, b"\"") => {
                    let span = Span { escaped, ..self.span(input, special) };
                    if span.end - span.start > self.max_argument {
                        return fatal(LexFault::ArgumentTooLong);
                    }
                    return Ok((behind, span));
                }
                (behind, b"\\") => match take(1usize)(behind)? {
                    (_, b"\r" | b"\n" | b"\0") => return syntax(behind),
                    (behind, _) => {
                        escaped = true;
                        rest = behind;
                    }
                },
                _ => return syntax(special),
            }
        }
    }

    fn literal(&self, input: &'a [u8]) -> Lexed<'a, Span> {
        let (rest, digits) = take_while(|byte: u8| byte.is_ascii_digit())(input)?;
        let (rest, immediate) = opt(tag("+")).parse(rest)?;
        let (rest, _) = tag("}")(rest)?;
        let (body, ()) = end_of_line(rest)?;
        if digits.is_empty() {
            return syntax(rest);
        }
        let size = literal_size(digits, self.max_argument).or_else(fatal)?;
        if size > self.max_frame.saturating_sub(self.offset(body)) {
            return fatal(LexFault::FrameTooLong);
        }
        if let (None, Synchronizing::Answered(answered)) = (immediate, self.synchronizing) {
            let announced = self.offset(body);
            if announced > answered {
                return Err(nom::Err::Failure(Flaw::Announced(announced)));
            }
        }
        let Some((content, rest)) = body.split_at_checked(size) else {
            return Err(nom::Err::Failure(Flaw::Within(self.offset(body) + size)));
        };
        if memchr(0, content).is_some() {
            return syntax(rest);
        }
        Ok((rest, self.span(body, rest)))
    }
}

pub(super) fn space(input: &[u8]) -> Lexed<'_, &[u8]> {
    tag(" ")(input)
}

/// CRLF; Cyrus takes a bare LF too.
pub(super) fn end_of_line(input: &[u8]) -> Lexed<'_, ()> {
    value((), alt((tag("\n"), tag("\r\n")))).parse(input)
}

/// The size announced by a `{n+}` at the end of a line given without its LF.
pub(super) fn trailing_literal(line: &[u8], max_argument: usize) -> Result<Option<usize>, LexFault> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(announced) = line.strip_suffix(b"+}") else {
        return Ok(None);
    };
    let digits = announced.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    match announced.split_at_checked(announced.len() - digits) {
        Some((before, number)) if digits > 0 && before.ends_with(b"{") => {
            literal_size(number, max_argument).map(Some)
        }
        _ => Ok(None),
    }
}

/// A leading zero is refused along with what is too large: no client writes one, so whoever does is testing
/// how we count.
fn literal_size(digits: &[u8], max: usize) -> Result<usize, LexFault> {
    if digits.len() > 1 && digits.starts_with(b"0") {
        return Err(LexFault::LiteralSize);
    }
    digits
        .iter()
        .try_fold(0usize, |size, digit| size.checked_mul(10)?.checked_add(usize::from(digit - b'0')))
        .filter(|size| *size <= max)
        .ok_or(LexFault::LiteralTooLarge)
}

fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | b'(' | b')' | b'"')
}
