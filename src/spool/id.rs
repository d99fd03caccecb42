//! What a queued message is called.

use std::fmt;
use std::str::FromStr;

/// Crockford's alphabet: no letter that reads like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// A message's number. Grows from message to message, also across restarts; shown in eleven characters or so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub(super) u64);

impl QueueId {
    /// When the message was queued, in milliseconds since 1970: a number is made of that time.
    pub fn queued_unix_ms(self) -> u64 {
        self.0 / 1000
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = (64 - self.0.leading_zeros()).div_ceil(5).max(1);
        let text: String = (0..digits)
            .rev()
            .filter_map(|digit| ALPHABET.get((self.0 >> (5 * digit)) as usize & 31))
            .map(|letter| char::from(*letter))
            .collect();
        f.pad(&text)
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The text names no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no queue id")]
pub struct NoQueueId(String);

impl FromStr for QueueId {
    type Err = NoQueueId;

    fn from_str(text: &str) -> Result<Self, NoQueueId> {
        let wrong = || NoQueueId(text.chars().take(40).collect());
        if text.is_empty() {
            return Err(wrong());
        }
        let mut id: u64 = 0;
        for letter in text.bytes().map(|b| b.to_ascii_uppercase()) {
            let digit = ALPHABET.iter().position(|known| *known == letter).ok_or_else(wrong)?;
            id = id.checked_mul(32).ok_or_else(wrong)? | digit as u64;
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_reads_back(id: u64) {
            prop_assert_eq!(QueueId(id).to_string().parse(), Ok(QueueId(id)));
        }

        #[test]
        fn no_text_leads_to_a_panic(text in ".{0,20}") {
            let _ = text.parse::<QueueId>();
        }
    }
}
