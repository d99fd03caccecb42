//! Bytes from a client into [`CommandEvent`]s.

use bytes::{Bytes, BytesMut};

use super::command::{Command, CommandBody, CommandEvent, SaslLine};
use super::command_grammar::{Refusal, command};
use super::lex::{LexFault, Lexer, Synchronizing};
use super::limits::Limits;
use super::skip::Skip;
use super::wait::Wait;

/// The client's fault, and the end of its connection: what follows cannot be told apart from data. Answer
/// `* BAD` or `* BYE` with [`text`](Self::text) if at all, and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandFault {
    /// More than [`Limits::max_command`] bytes.
    #[error("the client sent a command longer than is allowed")]
    CommandTooLong,
    /// A literal of more than [`Limits::max_argument`] bytes was announced. None of it was waited for.
    #[error("the client announced a literal larger than is allowed")]
    LiteralTooLarge,
    /// The size of a literal is written with a leading zero.
    #[error("the client announced a literal with a malformed size")]
    LiteralSize,
    /// A quoted string or SASL line of more than [`Limits::max_argument`] bytes.
    #[error("the client sent an argument longer than is allowed")]
    ArgumentTooLong,
    /// A tag longer than anyone needs.
    #[error("the client sent a tag longer than is allowed")]
    TagTooLong,
}

impl CommandFault {
    /// What to tell the client.
    pub fn text(&self) -> &'static str {
        match self {
            Self::CommandTooLong => "Command too long",
            Self::LiteralTooLarge => "Literal too large",
            Self::LiteralSize => "Malformed literal size",
            Self::ArgumentTooLong => "Argument too long",
            Self::TagTooLong => "Tag too long",
        }
    }
}

impl From<LexFault> for CommandFault {
    fn from(fault: LexFault) -> Self {
        match fault {
            LexFault::FrameTooLong => Self::CommandTooLong,
            LexFault::LiteralTooLarge => Self::LiteralTooLarge,
            LexFault::LiteralSize => Self::LiteralSize,
            LexFault::ArgumentTooLong => Self::ArgumentTooLong,
            LexFault::TagTooLong => Self::TagTooLong,
        }
    }
}

/// Reads what a client sends to a MUPDATE server.
#[derive(Debug)]
pub struct CommandDecoder {
    limits: Limits,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At or in a command. `answered` is the end of the last `{n}` that [`CommandEvent::Continue`] was
    /// returned for.
    Reading { wait: Wait, answered: usize },
    /// Behind a command that was answered `BAD`.
    Skipping(Skip),
    /// Nothing that follows can be trusted.
    Poisoned(CommandFault),
}

impl State {
    const START: Self = Self::Reading { wait: Wait::Nothing, answered: 0 };
}

impl CommandDecoder {
    /// A decoder at the start of a connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::START }
    }

    /// Other limits from the next command on; for when the client has logged in.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Takes one event from the front of `buf`; `None` until more has arrived.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<CommandEvent>, CommandFault> {
        self.step(buf).inspect_err(|fault| self.state = State::Poisoned(*fault))
    }

    /// Takes one SASL line from the front of `buf`; `None` until more has arrived. To be called in place of
    /// [`decode`](Self::decode) while an AUTHENTICATE waits for the client.
    pub fn decode_sasl(&mut self, buf: &mut BytesMut) -> Result<Option<SaslLine>, CommandFault> {
        self.step_sasl(buf).inspect_err(|fault| self.state = State::Poisoned(*fault))
    }

    fn step(&mut self, buf: &mut BytesMut) -> Result<Option<CommandEvent>, CommandFault> {
        let Limits { max_argument, max_command: limit } = self.limits;
        let Some((wait, answered)) = self.reading(buf)? else {
            return Ok(None);
        };
        let Some(frame) = wait.frame(buf, limit) else {
            return Ok(None);
        };
        let lexer = Lexer {
            frame,
            max_frame: limit,
            max_argument,
            synchronizing: Synchronizing::Answered(*answered),
        };
        match command(&lexer) {
            Ok((rest, Command { tag, body })) => {
                let length = lexer.offset(rest);
                let frame = buf.split_to(length).freeze();
                self.state = State::START;
                Ok(Some(CommandEvent::Command(Command {
                    tag: tag.cut(&frame),
                    body: written_empty(body.map(|span| span.cut(&frame))),
                })))
            }
            Err(nom::Err::Incomplete(_)) if frame.len() == limit => Err(CommandFault::CommandTooLong),
            Err(nom::Err::Incomplete(_)) => {
                *wait = Wait::LineEnd(frame.len());
                Ok(None)
            }
            Err(nom::Err::Error(refusal) | nom::Err::Failure(refusal)) => match refusal {
                Refusal::Fatal(fault) => Err(fault.into()),
                Refusal::Within(end) => {
                    *wait = Wait::Literal(end);
                    Ok(None)
                }
                Refusal::Announced(offset) => {
                    *wait = Wait::Nothing;
                    *answered = offset;
                    Ok(Some(CommandEvent::Continue))
                }
                Refusal::Bad { tag, text, rest } => {
                    let length = frame.len() - rest;
                    let understood = buf.split_to(length).freeze();
                    self.state = State::Skipping(Skip::new(limit - length, max_argument));
                    Ok(Some(CommandEvent::Bad { tag: tag.map(|tag| tag.cut(&understood)), text }))
                }
            },
        }
    }

    fn step_sasl(&mut self, buf: &mut BytesMut) -> Result<Option<SaslLine>, CommandFault> {
        let limit = self.limits.max_argument;
        let Some((wait, _)) = self.reading(buf)? else {
            return Ok(None);
        };
        let line = wait.line(buf, limit).map_err(|_| CommandFault::ArgumentTooLong)?;
        Ok(line.map(|line| match line.as_ref() {
            b"*" => SaslLine::Cancel,
            _ => SaslLine::Response(line),
        }))
    }

    /// Where reading stands; `None` while there is something to be skipped first.
    fn reading(&mut self, buf: &mut BytesMut) -> Result<Option<(&mut Wait, &mut usize)>, CommandFault> {
        if let State::Skipping(skip) = &mut self.state
            && skip.run(buf)?
        {
            self.state = State::START;
        }
        match &mut self.state {
            State::Reading { wait, answered } => Ok(Some((wait, answered))),
            State::Skipping(_) => Ok(None),
            State::Poisoned(fault) => Err(*fault),
        }
    }
}

/// An initial response of zero bytes becomes `=`, in whatever way it was written.
fn written_empty(body: CommandBody) -> CommandBody {
    match body {
        CommandBody::Authenticate { mechanism, initial: Some(initial) } if initial.is_empty() => {
            CommandBody::Authenticate { mechanism, initial: Some(Bytes::from_static(b"=")) }
        }
        other => other,
    }
}
