//! What a reply looks like.

use nom::Parser;
use nom::branch::alt;
use nom::character::streaming::one_of;
use nom::combinator::{cut, opt, peek};
use nom::multi::many_m_n;
use nom::sequence::{preceded, terminated};

use super::lex::{Lexed, Lexer, Span, end_of_line, space, syntax};
use super::reply::{ServerLine, Status};

/// More mechanisms than there are.
const MAX_NAMES: usize = 64;

/// One reply, its line end included.
pub(super) fn reply<'a>(lexer: &Lexer<'a>) -> Lexed<'a, ServerLine<Span>> {
    let (rest, tag) = lexer.tag(lexer.frame)?;
    if tag.of(lexer.frame) == b"+" {
        let (rest, _) = lexer.bare_text(rest)?;
        return Ok((rest, ServerLine::Continue));
    }
    let (keyword, _) = space(rest)?;
    let (rest, word) = lexer.word(keyword)?;
    let is = |known: &str| word.of(lexer.frame).eq_ignore_ascii_case(known.as_bytes());
    // The first three are nearly all there is: a list has a line for each of millions of mailboxes.
    if is("MAILBOX") {
        let (rest, [mailbox, location, acl]) = arguments(lexer, rest)?;
        Ok((rest, ServerLine::Mailbox { tag, mailbox, location, acl }))
    } else if is("RESERVE") {
        let (rest, [mailbox, location]) = arguments(lexer, rest)?;
        Ok((rest, ServerLine::Reserve { tag, mailbox, location }))
    } else if is("DELETE") {
        let (rest, [mailbox]) = arguments(lexer, rest)?;
        Ok((rest, ServerLine::Delete { tag, mailbox }))
    } else {
        let untagged = tag.of(lexer.frame) == b"*";
        match Status::of_word(word.of(lexer.frame)) {
            Some(Status::Ok) if untagged => {
                alt((|i| banner(lexer, i), |i| ended(lexer, None, Status::Ok, i))).parse(rest)
            }
            Some(status) => ended(lexer, (!untagged).then_some(tag), status, rest),
            None if untagged => capability(lexer, keyword),
            None => syntax(keyword),
        }
    }
}

/// The strings of a data line, and its end.
fn arguments<'a, const N: usize>(lexer: &Lexer<'a>, mut input: &'a [u8]) -> Lexed<'a, [Span; N]> {
    let mut strings = [Span::default(); N];
    for string in &mut strings {
        (input, _) = space(input)?;
        (input, *string) = lexer.string(input)?;
    }
    let (rest, ()) = end_of_line(input)?;
    Ok((rest, strings))
}

/// ` MUPDATE "…" "…" "…" "…"` behind `* OK`. What begins with one string must go on like that: taken for a bare
/// text, a literal in it would be read as lines.
fn banner<'a>(lexer: &Lexer<'a>, input: &'a [u8]) -> Lexed<'a, ServerLine<Span>> {
    let (rest, word) = preceded(space, |at| lexer.word(at)).parse(input)?;
    if word.of(lexer.frame) != b"MUPDATE" {
        return syntax(input);
    }
    peek(preceded(space, one_of("\"{"))).parse(rest)?;
    let (rest, [servername, product, version, role]) = cut(|at| arguments(lexer, at)).parse(rest)?;
    Ok((rest, ServerLine::Banner { servername, product, version, role }))
}

/// The text of a status. Cyrus quotes most, but not those around STARTTLS, COMPRESS and a cancelled login.
fn ended<'a>(
    lexer: &Lexer<'a>,
    tag: Option<Span>,
    status: Status,
    input: &'a [u8],
) -> Lexed<'a, ServerLine<Span>> {
    let string = preceded(space, terminated(|i| lexer.string(i), end_of_line));
    let (rest, text) = alt((string, |i| lexer.bare_text(i))).parse(input)?;
    Ok((rest, ServerLine::Status { tag, status, text }))
}

/// A line of the banner but its last, from its keyword on. Cyrus quotes the names of mechanisms, RFC 3656
/// does not.
fn capability<'a>(lexer: &Lexer<'a>, input: &'a [u8]) -> Lexed<'a, ServerLine<Span>> {
    let (rest, word) = lexer.word(input)?;
    let is = |span: Span, known: &str| span.of(lexer.frame).eq_ignore_ascii_case(known.as_bytes());
    let mut names =
        terminated(many_m_n(0, MAX_NAMES, preceded(space, |at| lexer.name(at))), (opt(space), end_of_line));
    if is(word, "AUTH") {
        return names.map(ServerLine::Mechanisms).parse(rest);
    }
    let (end, line) = lexer.bare_text(input)?;
    let known = if is(word, "STARTTLS") {
        ServerLine::StartTls
    } else if is(word, "PARTIAL-UPDATE") {
        ServerLine::PartialUpdate
    } else if is(word, "COMPRESS")
        && names.parse(rest).is_ok_and(|(_, names)| names.iter().any(|name| is(*name, "DEFLATE")))
    {
        ServerLine::Compress
    } else {
        ServerLine::OtherCapability(line)
    };
    Ok((end, known))
}
