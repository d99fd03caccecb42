//! The commands that a proxy acts on, read whole.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{tag, take, take_while1};
use nom::character::complete::{digit1, line_ending};
use nom::combinator::{map, opt};
use nom::sequence::{preceded, terminated};
use nom::{IResult, Parser};

use super::verb::Verb;

/// A command with its arguments, as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// What its answer will begin with.
    pub tag: &'a [u8],
    /// What it asks for.
    pub body: CommandBody<'a>,
}

/// What a command asks for. Names of mailboxes are as the client wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandBody<'a> {
    /// `LOGIN user password`
    Login {
        /// Who.
        user: Cow<'a, [u8]>,
        /// The secret.
        password: Cow<'a, [u8]>,
    },
    /// `AUTHENTICATE mechanism [initial-response]`
    Authenticate {
        /// The SASL mechanism.
        mechanism: &'a [u8],
        /// The initial response (RFC 4959), in base64.
        initial: Option<&'a [u8]>,
    },
    /// `CREATE mailbox …`
    Create(Cow<'a, [u8]>),
    /// `DELETE mailbox`
    Delete(Cow<'a, [u8]>),
    /// `RENAME from to …`
    Rename {
        /// The old name.
        from: Cow<'a, [u8]>,
        /// The new name.
        to: Cow<'a, [u8]>,
    },
    /// `SETACL mailbox …` and `DELETEACL mailbox …`
    Acl(Cow<'a, [u8]>),
    /// `ENABLE …`
    Enable(Vec<&'a [u8]>),
    /// A command without arguments, or one whose arguments are no concern of a proxy.
    Plain(Verb),
}

impl<'a> Command<'a> {
    /// Reads a command that has arrived whole, its literals in place. `None` when it is not of the form that
    /// the RFC gives it: the server will say what it thinks of that.
    pub fn parse(whole: &'a [u8]) -> Option<Self> {
        let (rest, tag) = terminated(word, tag(" ")).parse(whole).ok()?;
        let (rest, name) = word(rest).ok()?;
        let verb = Verb::of(name);
        let body = match verb {
            Verb::Login => {
                let (_, (user, password)) = terminated((argument, argument), line_ending).parse(rest).ok()?;
                CommandBody::Login { user, password }
            }
            Verb::Authenticate => {
                let bare = |input| preceded(nom::bytes::complete::tag(" "), word).parse(input);
                let (_, (mechanism, initial)) =
                    terminated((bare, opt(bare)), line_ending).parse(rest).ok()?;
                CommandBody::Authenticate { mechanism, initial }
            }
            Verb::Create => CommandBody::Create(argument(rest).ok()?.1),
            Verb::Delete => CommandBody::Delete(terminated(argument, line_ending).parse(rest).ok()?.1),
            Verb::Rename => {
                let (_, (from, to)) = (argument, argument).parse(rest).ok()?;
                CommandBody::Rename { from, to }
            }
            Verb::SetAcl | Verb::DeleteAcl => CommandBody::Acl(argument(rest).ok()?.1),
            Verb::Enable => {
                let line = rest.trim_ascii();
                CommandBody::Enable(
                    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect(),
                )
            }
            other => CommandBody::Plain(other),
        };
        Some(Self { tag, body })
    }
}

fn word(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|byte: u8| byte > b' ' && byte != 0x7f).parse(input)
}

/// A space and an `astring` (RFC 9051 §9), with escapes resolved.
pub(super) fn argument(input: &[u8]) -> IResult<&[u8], Cow<'_, [u8]>> {
    preceded(tag(" "), alt((quoted, literal, map(atom, Cow::Borrowed)))).parse(input)
}

/// `ASTRING-CHAR`s, and `*` and `%`, which a server refuses in its own words; UTF-8 for `UTF8=ACCEPT`.
fn atom(input: &[u8]) -> IResult<&[u8], &[u8]> {
    take_while1(|byte: u8| byte > b' ' && byte != 0x7f && !b"(){\"\\".contains(&byte)).parse(input)
}

fn quoted(input: &[u8]) -> IResult<&[u8], Cow<'_, [u8]>> {
    let (inside, _) = tag("\"").parse(input)?;
    let mut plain = Vec::new();
    let mut rest = inside;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | b'\r' | b'\n' | 0));
        let (part, at) = end.and_then(|end| rest.split_at_checked(end)).unwrap_or((rest, &[]));
        match at {
            [b'"', behind @ ..] if plain.is_empty() => return Ok((behind, Cow::Borrowed(part))),
            [b'"', behind @ ..] => {
                plain.extend_from_slice(part);
                return Ok((behind, Cow::Owned(plain)));
            }
            [b'\\', escaped @ (b'"' | b'\\'), behind @ ..] => {
                plain.extend_from_slice(part);
                plain.push(*escaped);
                rest = behind;
            }
            _ => return Err(nom::Err::Error(nom::error::Error::new(at, nom::error::ErrorKind::Char))),
        }
    }
}

fn literal(input: &[u8]) -> IResult<&[u8], Cow<'_, [u8]>> {
    let announced = (tag("{"), digit1, opt(alt((tag("+"), tag("-")))), tag("}"), line_ending);
    let (rest, size) =
        preceded(opt(tag("~")), map(announced, |(_, size, ..): (_, &[u8], _, _, _)| size)).parse(input)?;
    let size = std::str::from_utf8(size).ok().and_then(|size| size.parse::<usize>().ok());
    let (rest, bytes) = take(size.unwrap_or(usize::MAX)).parse(rest)?;
    Ok((rest, Cow::Borrowed(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Option<CommandBody<'_>> {
        Command::parse(text.as_bytes()).map(|command| command.body)
    }

    fn name(text: &str) -> Cow<'_, [u8]> {
        Cow::Borrowed(text.as_bytes())
    }

    #[test]
    fn arguments_in_every_form() {
        for text in [
            "a1 DELETE INBOX.x\r\n",
            "a1 delete \"INBOX.x\"\r\n",
            "a1 DELETE {7}\r\nINBOX.x\r\n",
            "a1 DELETE {7+}\r\nINBOX.x\r\n",
            "a1 DELETE \"INBOX.x\"\n",
        ] {
            let command = Command::parse(text.as_bytes()).unwrap();
            assert_eq!(command, Command { tag: b"a1", body: CommandBody::Delete(name("INBOX.x")) }, "{text}");
        }
        assert_eq!(
            body("a RENAME \"a \\\"b\\\\\" {2}\r\nxy\r\n"),
            Some(CommandBody::Rename { from: Cow::Owned(b"a \"b\\".to_vec()), to: name("xy") })
        );
        assert_eq!(
            body("a LOGIN alice {6}\r\nsecret\r\n"),
            Some(CommandBody::Login { user: name("alice"), password: name("secret") })
        );
        assert_eq!(
            body("a AUTHENTICATE PLAIN =\r\n"),
            Some(CommandBody::Authenticate { mechanism: b"PLAIN", initial: Some(b"=") })
        );
        assert_eq!(body("a CREATE INBOX.x (USE (\\Sent))\r\n"), Some(CommandBody::Create(name("INBOX.x"))));
        for text in [
            "a SETACL INBOX.x bob lrs\r\n",
            "a setacl {7+}\r\nINBOX.x bob +i\r\n",
            "a DELETEACL \"INBOX.x\" bob\r\n",
        ] {
            assert_eq!(body(text), Some(CommandBody::Acl(name("INBOX.x"))), "{text}");
        }
        for verb in [
            Verb::Capability,
            Verb::List,
            Verb::Lsub,
            Verb::Namespace,
            Verb::Id,
            Verb::StartTls,
            Verb::Logout,
        ] {
            let word = format!("{verb:?}").to_uppercase();
            assert_eq!(body(&format!("a {word}\r\n")), Some(CommandBody::Plain(verb)), "{word}");
        }
        assert_eq!(
            body("a ENABLE CONDSTORE UTF8=ACCEPT\r\n"),
            Some(CommandBody::Enable(vec![b"CONDSTORE", b"UTF8=ACCEPT"]))
        );
    }

    #[test]
    fn what_is_not_of_the_form_is_not_guessed() {
        for text in [
            "a DELETE\r\n",
            "a DELETE \r\n",
            "a DELETE x y\r\n",
            "a DELETE \"x\r\n",
            "a DELETE {9}\r\nINBOX.x\r\n",
            "a DELETE {99999999999999999999}\r\nx\r\n",
            "a DELETE x{5}\r\n",
            "a DELETE \"x\\y\"\r\n",
            "a RENAME x\r\n",
            "\r\n",
        ] {
            assert_eq!(body(text), None, "{text:?}");
        }
    }
}
