//! The small units of which values on disk are made: a byte, a number, a text.
//!
//! - *byte*
//! - *varint*: 7 bits per byte, the least significant first, the top bit set on all bytes but the last
//! - *text*: its length as a varint, then its bytes

/// Bytes on disk are not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They end too early.
    #[error("a value on disk is cut short")]
    Cut,
    /// A varint of more than 64 bits.
    #[error("a number on disk has no end")]
    Endless,
    /// A code that this release does not know.
    #[error("a value on disk holds an unknown {what}, {code}")]
    Unknown {
        /// What the code stands for.
        what: &'static str,
        /// The code.
        code: u8,
    },
    /// They go on behind their end, or break a rule of what they stand for.
    #[error("a value on disk holds a malformed {0}")]
    Invalid(&'static str),
}

/// A value being written.
#[derive(Debug, Default)]
pub(crate) struct Out(pub(crate) Vec<u8>);

impl Out {
    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(crate) fn varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
        self
    }

    pub(crate) fn text(self, bytes: &[u8]) -> Self {
        self.varint(bytes.len() as u64).bytes(bytes)
    }

    /// Bytes of a length that needs no telling.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A value being read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct In<'a>(pub(crate) &'a [u8]);

impl<'a> In<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Endless)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(self.varint()?).map_err(|_| Malformed::Cut)?;
        let (text, rest) = self.0.split_at_checked(len).ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(text)
    }

    pub(crate) fn string(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.text()?).into_owned())
    }

    /// A count of things that take at least a byte each, so that no number alone claims memory.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.varint()?).map_err(|_| Malformed::Cut)?;
        if count > self.0.len() { Err(Malformed::Cut) } else { Ok(count) }
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Invalid("end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64) {
            let bytes = Out::default().varint(value).done();
            prop_assert_eq!(In(&bytes).varint(), Ok(value));
        }
    }
}
