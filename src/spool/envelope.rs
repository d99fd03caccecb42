//! What surrounds a message: from whom, to whom, whence.

use std::fmt;

use bytes::Bytes;

use crate::list::MailboxName;

/// What stands between `<` and `>` in MAIL and RCPT, byte for byte; empty for the null sender.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Address(Bytes);

/// Why bytes are not an address or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Longer than [`Address::MAX`] bytes.
    #[error("it has {0} bytes, more than {max}", max = Address::MAX)]
    TooLong(usize),
    /// Holds a byte below 0x20, or DEL; in a parameter also a space.
    #[error("it holds the byte {0:#04x}")]
    Control(u8),
}

impl Address {
    /// The longest address or parameter kept, in bytes. RFC 5321 §4.5.3.1.3 asks for 256.
    pub const MAX: usize = 1024;

    /// Checks bytes from the network or the disk.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, AddressError> {
        let bytes = bytes.into();
        printable(&bytes, 0x20)?;
        Ok(Self(bytes))
    }

    /// The sender of what must not be answered (RFC 5321 §4.5.5).
    pub const fn null() -> Self {
        Self(Bytes::new())
    }

    /// Whether this is the null sender.
    pub fn is_null(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes between the brackets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", String::from_utf8_lossy(&self.0))
    }
}

/// One `KEYWORD` or `KEYWORD=value` after an address, as it was sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameter(Bytes);

impl Parameter {
    /// Checks bytes from the network or the disk.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, AddressError> {
        let bytes = bytes.into();
        printable(&bytes, 0x21)?;
        Ok(Self(bytes))
    }

    /// The bytes as they were sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value, if this is the parameter of that keyword; empty if it has none.
    pub fn value_of(&self, keyword: &str) -> Option<&[u8]> {
        let mut parts = self.0.splitn(2, |b| *b == b'=');
        let found = parts.next().unwrap_or_default();
        found.eq_ignore_ascii_case(keyword.as_bytes()).then(|| parts.next().unwrap_or_default())
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

fn printable(bytes: &[u8], least: u8) -> Result<(), AddressError> {
    if bytes.len() > Address::MAX {
        return Err(AddressError::TooLong(bytes.len()));
    }
    match bytes.iter().find(|b| **b < least || **b == 0x7f) {
        Some(control) => Err(AddressError::Control(*control)),
        None => Ok(()),
    }
}

/// One recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recipient {
    /// The address of RCPT.
    pub address: Address,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// The mailbox that the address means; `None` where that is not known, and any frontend is asked.
    pub mailbox: Option<MailboxName>,
}

/// How a message came (the words of RFC 3848 where there are any).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// LMTP in clear, from a trusted network.
    Lmtp,
    /// With STARTTLS.
    Lmtps,
    /// With AUTH.
    Lmtpa,
    /// With both.
    Lmtpsa,
    /// A report that Ravenry itself wrote.
    Report,
    /// `ravenry queue import`.
    Import,
}

impl Protocol {
    /// The word in `Received` and in listings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Lmtp => "LMTP",
            Self::Lmtps => "LMTPS",
            Self::Lmtpa => "LMTPA",
            Self::Lmtpsa => "LMTPSA",
            Self::Report => "report",
            Self::Import => "import",
        }
    }
}

/// Everything about a message but its text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// The address of MAIL.
    pub sender: Address,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// At least one; at most [`Envelope::MAX_RECIPIENTS`].
    pub recipients: Vec<Recipient>,
    /// When the message came, in milliseconds since 1970.
    pub arrival_unix_ms: u64,
    /// Who brought it, for people: an address, or the name of a socket. At most 1 KiB.
    pub peer: String,
    /// How it came.
    pub protocol: Protocol,
}

impl Envelope {
    /// The most recipients of one queued message.
    pub const MAX_RECIPIENTS: usize = 50_000;
}
