//! What a command looks like, and which of Cyrus's words answers each way of getting it wrong.

use nom::IResult;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::streaming::tag;
use nom::combinator::{cut, opt, peek};
use nom::sequence::{preceded, terminated};

use super::command::{Command, CommandBody};
use super::lex::{Flaw, LexFault, Lexer, Span, end_of_line, space};

const NEED_COMMAND: &str = "Need command";
const NULL_COMMAND: &str = "Null command";
const UNRECOGNIZED: &str = "Unrecognized command";
const MISSING: &str = "Missing arguments";
const EXTRA: &str = "Extra arguments";
const MALFORMED: &str = "Badly formed arguments";

/// Why there is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Answer `BAD`, and skip the line that the frame's last `rest` bytes begin with.
    Bad { tag: Option<Span>, text: &'static str, rest: usize },
    /// As [`Flaw::Fatal`].
    Fatal(LexFault),
    /// As [`Flaw::Announced`].
    Announced(usize),
    /// As [`Flaw::Within`].
    Within(usize),
}

type Parsed<'a, T> = IResult<&'a [u8], T, Refusal>;

/// One command, its line end included.
pub(super) fn command<'a>(lexer: &Lexer<'a>) -> Parsed<'a, Command<Span>> {
    let need_command = answer(None, NEED_COMMAND);
    let (input, tag) = lexer.tag(lexer.frame).map_err(&need_command)?;
    let (input, _) = space(input).map_err(&need_command)?;
    let (rest, word) = lexer.word(input).map_err(&need_command)?;
    let arguments = Arguments { lexer, tag };
    if word.is_empty() {
        return arguments.bad(NULL_COMMAND, input);
    }
    let (rest, body) = match word.of(lexer.frame).to_ascii_uppercase().as_slice() {
        b"AUTHENTICATE" => arguments.authenticate(rest)?,
        b"ACTIVATE" => {
            let (rest, [mailbox, location, acl]) = arguments.exactly(rest)?;
            (rest, CommandBody::Activate { mailbox, location, acl })
        }
        b"RESERVE" => {
            let (rest, [mailbox, location]) = arguments.exactly(rest)?;
            (rest, CommandBody::Reserve { mailbox, location })
        }
        b"DEACTIVATE" => {
            let (rest, [mailbox, location]) = arguments.exactly(rest)?;
            (rest, CommandBody::Deactivate { mailbox, location })
        }
        b"DELETE" => {
            let (rest, [mailbox]) = arguments.exactly(rest)?;
            (rest, CommandBody::Delete { mailbox })
        }
        b"FIND" => {
            let (rest, [mailbox]) = arguments.exactly(rest)?;
            (rest, CommandBody::Find { mailbox })
        }
        b"LIST" => {
            let (rest, prefix) = arguments.optional(rest, |at| lexer.string(at), EXTRA)?;
            (rest, CommandBody::List { prefix })
        }
        b"UPDATE" => arguments.update(rest)?,
        b"NOOP" => (rest, CommandBody::Noop),
        b"LOGOUT" => (rest, CommandBody::Logout),
        b"STARTTLS" => (rest, CommandBody::StartTls),
        b"COMPRESS" => {
            let (rest, [algorithm]) = arguments.exactly(rest)?;
            (rest, CommandBody::Compress { algorithm })
        }
        _ => return arguments.bad(UNRECOGNIZED, rest),
    };
    let (rest, ()) = end_of_line(rest).map_err(answer(Some(tag), EXTRA))?;
    Ok((rest, Command { tag, body }))
}

/// The arguments of the command that has `tag`.
struct Arguments<'l, 'a> {
    lexer: &'l Lexer<'a>,
    tag: Span,
}

impl<'a> Arguments<'_, 'a> {
    /// Cyrus looks at what follows an argument before it looks at the argument: one that is no string is
    /// "missing" where another should follow, and "extra" in the last place.
    fn exactly<const N: usize>(&self, mut input: &'a [u8]) -> Parsed<'a, [Span; N]> {
        let mut strings = [Span::default(); N];
        for (nth, string) in strings.iter_mut().enumerate() {
            let wrong = if nth + 1 < N { MISSING } else { EXTRA };
            (input, _) = space(input).map_err(self.answer(MISSING))?;
            (input, *string) = self.lexer.string(input).map_err(self.answer(wrong))?;
        }
        Ok((input, strings))
    }

    /// A further argument, if there is one; one that `argument` does not take is answered with `wrong`.
    fn optional(
        &self,
        input: &'a [u8],
        argument: impl Parser<&'a [u8], Output = Span, Error = Flaw>,
        wrong: &'static str,
    ) -> Parsed<'a, Option<Span>> {
        opt(preceded(space, cut(argument))).parse(input).map_err(self.answer(wrong))
    }

    /// Cyrus's client writes an initial response of zero bytes as a bare `=`, though its server takes that
    /// for extra arguments; RFC 3656 leaves the case open.
    fn authenticate(&self, input: &'a [u8]) -> Parsed<'a, CommandBody<Span>> {
        let (input, [mechanism]) = self.exactly(input)?;
        let bare = |at| {
            let (rest, _) = terminated(tag("="), peek(end_of_line)).parse(at)?;
            Ok((rest, self.lexer.span(at, rest)))
        };
        let string = |at| self.lexer.string(at);
        let (rest, initial) = self.optional(input, alt((bare, string)), EXTRA)?;
        Ok((rest, CommandBody::Authenticate { mechanism, initial }))
    }

    fn update(&self, mut input: &'a [u8]) -> Parsed<'a, CommandBody<Span>> {
        let mut hosts = Vec::new();
        while let (rest, Some(host)) = self.optional(input, |at| self.lexer.string(at), MALFORMED)? {
            if host.is_empty() {
                return self.bad(MALFORMED, rest);
            }
            if hosts.len() == CommandBody::MAX_HOSTS {
                return self.bad(EXTRA, rest);
            }
            hosts.push(host);
            input = rest;
        }
        Ok((input, CommandBody::Update { hosts }))
    }

    fn bad<T>(&self, text: &'static str, at: &[u8]) -> Parsed<'a, T> {
        Err(nom::Err::Failure(Refusal::Bad { tag: Some(self.tag), text, rest: at.len() }))
    }

    fn answer(&self, text: &'static str) -> impl Fn(nom::Err<Flaw>) -> nom::Err<Refusal> {
        answer(Some(self.tag), text)
    }
}

/// Answers a syntax error with `text`.
fn answer(tag: Option<Span>, text: &'static str) -> impl Fn(nom::Err<Flaw>) -> nom::Err<Refusal> {
    move |err| {
        err.map(|flaw| match flaw {
            Flaw::Syntax { rest } => Refusal::Bad { tag, text, rest },
            Flaw::Fatal(fault) => Refusal::Fatal(fault),
            Flaw::Announced(offset) => Refusal::Announced(offset),
            Flaw::Within(end) => Refusal::Within(end),
        })
    }
}
