//! Where one protocol line ends: at its newline, unless a literal follows.
//!
//! The same reader serves the clients and the relay. It knows bytes, not protocols: only `{n}` and `{n+}` at the
//! end of a line mean anything to it, which IMAP and MUPDATE have in common.

use bytes::{Bytes, BytesMut};

/// Collects bytes and gives out whole lines, literals included.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
}

impl Frames {
    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next complete line, with its newline and its literals.
    pub fn next_frame(&mut self) -> Option<Bytes> {
        let end = frame_end(&self.buffer)?;
        Some(self.buffer.split_to(end).freeze())
    }

    /// Takes up to the next newline, whatever it means.
    pub fn next_line(&mut self) -> Option<Bytes> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        Some(self.buffer.split_to(end + 1).freeze())
    }

    /// Takes what is left, complete or not.
    pub fn rest(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }
}

/// The length of the first complete frame.
fn frame_end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    loop {
        let rest = bytes.get(start..)?;
        let end = start + rest.iter().position(|byte| *byte == b'\n')? + 1;
        match literal_length(bytes.get(start..end)?) {
            None => return Some(end),
            Some(length) => start = end.checked_add(length)?,
        }
    }
}

/// The length of the literal that a line announces.
fn literal_length(line: &[u8]) -> Option<usize> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let line = line.strip_suffix(b"+").unwrap_or(line);
    let open = line.iter().rposition(|byte| *byte == b'{')?;
    std::str::from_utf8(line.get(open + 1..)?).ok()?.parse().ok()
}

/// Splits a frame into its words: atoms, quoted strings without their quotes, literals without their heads.
pub fn words(frame: &[u8]) -> Vec<Bytes> {
    let mut words = Vec::new();
    let mut rest = frame;
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.first() else { return words };
        let (word, after) = match first {
            b'"' => quoted(rest),
            b'{' => literal(rest),
            _ => atom(rest),
        };
        words.push(word);
        rest = after;
    }
}

fn atom(bytes: &[u8]) -> (Bytes, &[u8]) {
    let end = bytes.iter().position(u8::is_ascii_whitespace).unwrap_or(bytes.len());
    let (word, rest) = bytes.split_at(end);
    (Bytes::copy_from_slice(word), rest)
}

fn quoted(bytes: &[u8]) -> (Bytes, &[u8]) {
    let mut word = Vec::new();
    let mut rest = bytes.iter().enumerate().skip(1);
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'"' => return (word.into(), bytes.get(at + 1..).unwrap_or_default()),
            b'\\' => word.extend(rest.next().map(|(_, escaped)| *escaped)),
            other => word.push(*other),
        }
    }
    (word.into(), &[])
}

fn literal(bytes: &[u8]) -> (Bytes, &[u8]) {
    let head = bytes.iter().position(|byte| *byte == b'\n').map(|end| bytes.split_at(end + 1));
    match head.and_then(|(head, body)| Some((literal_length(head)?, body))) {
        Some((length, body)) if length <= body.len() => {
            let (word, rest) = body.split_at(length);
            (Bytes::copy_from_slice(word), rest)
        }
        _ => atom(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_belongs_to_its_line() {
        let mut frames = Frames::default();
        frames.feed(b"A MAILBOX {4+}\r\nab\nc {3}\r\nx!y \"r\"\r\nB OK");
        let first = frames.next_frame().unwrap();
        assert_eq!(words(&first), ["A", "MAILBOX", "ab\nc", "x!y", "r"]);
        assert_eq!(frames.next_frame(), None);
        frames.feed(b" \"a \\\"b\\\\\"\r\n");
        assert_eq!(words(&frames.next_frame().unwrap()), ["B", "OK", "a \"b\\"]);
    }

    #[test]
    fn an_unfinished_literal_waits() {
        let mut frames = Frames::default();
        frames.feed(b"A X {4}\r\nab");
        assert_eq!(frames.next_frame(), None);
        frames.feed(b"cd\r\n");
        assert!(frames.next_frame().is_some());
    }
}
