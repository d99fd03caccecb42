//! How far a message has come.

use super::{Envelope, Reply};
use crate::packed::{In, Malformed, Out};

/// Longer texts of replies are cut off.
const MAX_REPLY: usize = 512;

/// What has become of one recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// To be tried, again if there is a reply.
    Waiting(Option<Reply>),
    /// In the mailbox.
    Delivered,
    /// Refused or expired, and the sender has been told (or asked not to be).
    Returned,
    /// Refused or expired, and there is nobody who can be told: kept for a person.
    Failed(Reply),
}

impl Fate {
    /// Whether the message still has to be kept for this recipient.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Failed(_))
    }
}

/// Everything about a queued message that changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// An operator holds it: nothing is tried, and it does not expire.
    pub held: bool,
    /// Attempts that left somebody waiting.
    pub attempts: u32,
    /// The last of them, in milliseconds since 1970; 0 if there was none.
    pub last_attempt_unix_ms: u64,
    /// One per recipient.
    pub fates: Vec<Fate>,
}

impl Progress {
    /// Of a new message.
    pub fn new(recipients: usize) -> Self {
        Self {
            held: false,
            attempts: 0,
            last_attempt_unix_ms: 0,
            fates: vec![Fate::Waiting(None); recipients],
        }
    }

    /// Recipients to be tried.
    pub fn waiting(&self) -> usize {
        self.fates.iter().filter(|fate| matches!(fate, Fate::Waiting(_))).count()
    }

    /// Recipients that a person has to decide about.
    pub fn failed(&self) -> usize {
        self.fates.iter().filter(|fate| matches!(fate, Fate::Failed(_))).count()
    }

    /// Whether the message can be forgotten.
    pub fn is_over(&self) -> bool {
        !self.fates.iter().any(Fate::is_open)
    }

    /// The newest reply that left somebody waiting or failed.
    pub fn last_error(&self) -> Option<&Reply> {
        self.fates.iter().rev().find_map(|fate| match fate {
            Fate::Waiting(reply) => reply.as_ref(),
            Fate::Failed(reply) => Some(reply),
            _ => None,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Out::default()
            .byte(u8::from(self.held))
            .varint(u64::from(self.attempts))
            .varint(self.last_attempt_unix_ms)
            .varint(self.fates.len() as u64);
        for fate in &self.fates {
            out = match fate {
                Fate::Waiting(None) => out.byte(0),
                Fate::Waiting(Some(reply)) => reply.encode(out.byte(1)),
                Fate::Delivered => out.byte(2),
                Fate::Returned => out.byte(3),
                Fate::Failed(reply) => reply.encode(out.byte(4)),
            };
        }
        out.done()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut bytes = In(bytes);
        let held = match bytes.byte()? {
            0 => false,
            1 => true,
            code => return Err(Malformed::Unknown { what: "hold", code }),
        };
        let attempts = u32::try_from(bytes.varint()?).map_err(|_| Malformed::Invalid("count"))?;
        let last_attempt_unix_ms = bytes.varint()?;
        let count = bytes.count()?;
        let mut fates = Vec::with_capacity(count.min(Envelope::MAX_RECIPIENTS));
        for _ in 0..count {
            fates.push(match bytes.byte()? {
                0 => Fate::Waiting(None),
                1 => Fate::Waiting(Some(Reply::decode(&mut bytes)?)),
                2 => Fate::Delivered,
                3 => Fate::Returned,
                4 => Fate::Failed(Reply::decode(&mut bytes)?),
                code => return Err(Malformed::Unknown { what: "fate", code }),
            });
        }
        bytes.end()?;
        Ok(Self { held, attempts, last_attempt_unix_ms, fates })
    }
}

impl Reply {
    fn encode(&self, out: Out) -> Out {
        let [class, subject, detail] = self.enhanced.unwrap_or_default();
        let mut end = self.text.len().min(MAX_REPLY);
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        out.varint(self.code.into())
            .varint(class.into())
            .varint(subject.into())
            .varint(detail.into())
            .text(self.text.get(..end).unwrap_or_default().as_bytes())
    }

    fn decode(bytes: &mut In<'_>) -> Result<Self, Malformed> {
        let mut number = || u16::try_from(bytes.varint()?).map_err(|_| Malformed::Invalid("code"));
        let (code, enhanced) = (number()?, [number()?, number()?, number()?]);
        let enhanced = (enhanced != [0; 3]).then_some(enhanced);
        Ok(Self { code, enhanced, text: bytes.string()? })
    }
}
