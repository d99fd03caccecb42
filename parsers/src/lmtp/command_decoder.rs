//! Bytes from a client into [`CommandEvent`]s.

use bytes::BytesMut;

use super::command::{CommandEvent, Refusal, SaslLine};
use super::command_grammar::command;
use super::line::{Line, LineReader};

/// The longest line accepted, in bytes, without its CRLF: what RFC 4954 §4 asks for a SASL response.
pub const MAX_LINE: usize = 12_288;

/// Reads what a client says outside of messages. It holds no more than [`MAX_LINE`] and two bytes back, and finds
/// its way after any line: lines of any length are refused one by one.
#[derive(Debug, Default)]
pub struct CommandDecoder {
    lines: LineReader,
}

impl CommandDecoder {
    /// Takes one event from the front of `buf`; `None` until more has arrived.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Option<CommandEvent> {
        Some(match self.lines.take(buf, MAX_LINE)? {
            Line::TooLong => CommandEvent::Refused(Refusal::TooLong),
            Line::Whole(line) => match command(&line) {
                Ok(command) => CommandEvent::Command(command),
                Err(refusal) => CommandEvent::Refused(refusal),
            },
        })
    }

    /// Takes one line of a login from the front of `buf`; to be called in place of [`decode`](Self::decode) while
    /// AUTH waits for the client.
    pub fn decode_sasl(&mut self, buf: &mut BytesMut) -> Option<SaslLine> {
        Some(match self.lines.take(buf, MAX_LINE)? {
            Line::Whole(line) if line == "*" => SaslLine::Cancelled,
            Line::Whole(line) if line.iter().all(u8::is_ascii_graphic) => SaslLine::Response(line),
            _ => SaslLine::Garbled,
        })
    }
}
