//! What went over a connection, byte by byte, in a form that people and tests can read.
//!
//! One text line for each line on the wire, `C: ` or `S: ` in front, its end spelled out as `\r\n`. A line
//! without that end was followed by the other side or by the end of the connection. `\t`, `\\` and `\xNN` stand
//! for what cannot be seen. Lines that start with `#` are remarks.

use std::fmt::{self, Write as _};

use bytes::{Bytes, BytesMut};

/// Who sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Whoever connected.
    Client,
    /// Whoever was connected to.
    Server,
}

#[derive(Clone, Debug)]
enum Item {
    Said(Side, BytesMut),
    Remark(String),
}

/// A recording of one connection, or of several with remarks between.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    items: Vec<Item>,
}

impl Transcript {
    /// Adds what a side said; pieces from the same side are joined.
    pub fn say(&mut self, side: Side, bytes: &[u8]) {
        match self.items.last_mut() {
            Some(Item::Said(last, said)) if *last == side => said.extend_from_slice(bytes),
            _ => self.items.push(Item::Said(side, BytesMut::from(bytes))),
        }
    }

    /// Adds a remark for the reader.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.items.push(Item::Remark(text.into()));
    }

    /// Adds all of another transcript.
    pub fn append(&mut self, other: &Self) {
        self.items.extend_from_slice(&other.items);
    }

    /// Everything that one side said.
    pub fn bytes(&self, side: Side) -> Bytes {
        let mut all = BytesMut::new();
        for item in &self.items {
            if let Item::Said(who, bytes) = item
                && *who == side
            {
                all.extend_from_slice(bytes);
            }
        }
        all.freeze()
    }

    /// Whether nobody said anything.
    pub fn is_empty(&self) -> bool {
        !self.items.iter().any(|item| matches!(item, Item::Said(..)))
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            match item {
                Item::Remark(text) => writeln!(f, "# {text}")?,
                Item::Said(side, bytes) => {
                    let mark = if *side == Side::Client { 'C' } else { 'S' };
                    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
                        writeln!(f, "{mark}: {}", escape(line))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn escape(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len() + 4);
    for byte in line {
        match byte {
            b'\r' => text.push_str("\\r"),
            b'\n' => text.push_str("\\n"),
            b'\t' => text.push_str("\\t"),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            other => drop(write!(text, "\\x{other:02x}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_seen() {
        let mut transcript = Transcript::default();
        transcript.remark("the limit");
        transcript.say(Side::Client, b"A ");
        transcript.say(Side::Client, b"X\r\n");
        transcript.say(Side::Server, b"* BYE \"a\\\tb\"\r\n\0");
        assert_eq!(
            transcript.to_string(),
            "# the limit\nC: A X\\r\\n\nS: * BYE \"a\\\\\\tb\"\\r\\n\nS: \\x00\n"
        );
    }
}
