//! One line into a command.

use bytes::Bytes;
use nom::branch::alt;
use nom::bytes::complete::{tag_no_case, take_till1, take_while};
use nom::character::complete::{char, space0, space1};
use nom::combinator::{all_consuming, map_opt, opt, rest, value};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use super::command::{Command, Parameters, Refusal};
use super::path::Path;

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// What a line, given without its CRLF, asks for.
pub(super) fn command(line: &Bytes) -> Result<Command, Refusal> {
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(Refusal::Stray);
    }
    let (arguments, verb) = verb(line).map_err(|_| Refusal::Unknown)?;
    let parsed = match verb.to_ascii_uppercase().as_slice() {
        b"LHLO" => lhlo(line, arguments),
        b"MAIL" => path(line, "FROM:", arguments)
            .map(|(rest, (from, parameters))| (rest, Command::Mail { from, parameters })),
        b"RCPT" => path(line, "TO:", arguments)
            .map(|(rest, (to, parameters))| (rest, Command::Rcpt { to, parameters })),
        b"AUTH" => auth(line, arguments),
        b"DATA" => bare(Command::Data, arguments),
        b"RSET" => bare(Command::Rset, arguments),
        b"QUIT" => bare(Command::Quit, arguments),
        b"STARTTLS" => bare(Command::StartTls, arguments),
        b"NOOP" => value(Command::Noop, rest).parse(arguments),
        b"VRFY" => value(Command::Vrfy, rest).parse(arguments),
        b"HELO" | b"EHLO" => return Err(Refusal::NotLmtp),
        _ => return Err(Refusal::Unknown),
    };
    match parsed {
        Ok((b"", Command::Rcpt { to, .. })) if to.mailbox().is_empty() => Err(Refusal::Syntax),
        Ok((b"", command)) => Ok(command),
        _ => Err(Refusal::Syntax),
    }
}

fn verb(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_till1(|byte| byte == b' ')(input)
}

fn bare(command: Command, input: &[u8]) -> Parsed<'_, Command> {
    value(command, all_consuming(space0)).parse(input)
}

fn lhlo<'a>(line: &Bytes, input: &'a [u8]) -> Parsed<'a, Command> {
    let domain = take_till1(|byte: u8| byte == b' ' || byte.is_ascii_control());
    let mut lhlo = preceded(space1, terminated(domain, space0))
        .map(|domain: &[u8]| Command::Lhlo { domain: line.slice_ref(domain) });
    lhlo.parse(input)
}

fn auth<'a>(line: &Bytes, input: &'a [u8]) -> Parsed<'a, Command> {
    let word = || take_till1(|byte| byte == b' ');
    let mut auth = (preceded(space1, word()), opt(preceded(space1, word())), space0).map(
        |(mechanism, initial, _): (&[u8], Option<&[u8]>, _)| Command::Auth {
            mechanism: line.slice_ref(mechanism),
            initial: initial.map(|initial| line.slice_ref(initial)),
        },
    );
    auth.parse(input)
}

/// ` FROM:<path> parameters`. A space before the bracket is forgiven: some clients write one.
fn path<'a>(line: &Bytes, word: &'static str, input: &'a [u8]) -> Parsed<'a, (Path, Parameters)> {
    let (input, _) = (space1, tag_no_case(word), space0).parse(input)?;
    let (input, path) = map_opt(bracketed, |path: &[u8]| Path::new(line.slice_ref(path))).parse(input)?;
    let text = alt((preceded(space1, rest), take_while(|_| false)));
    let (input, parameters) =
        map_opt(text, |text: &[u8]| Parameters::new(line.slice_ref(text))).parse(input)?;
    Ok((input, (path, parameters)))
}

fn bracketed(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (input, _) = char('<').parse(input)?;
    let path = Path::end_of(input).and_then(|end| input.split_at_checked(end));
    let Some((path, behind)) = path else {
        return Err(nom::Err::Error(nom::error::Error::new(input, nom::error::ErrorKind::Verify)));
    };
    let (input, _) = char('>').parse(behind)?;
    Ok((input, path))
}
