//! What an MTA may say.

use std::fmt;

use bytes::Bytes;

use super::path::Path;

/// One command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// `LHLO domain`
    Lhlo {
        /// What the client calls itself.
        domain: Bytes,
    },
    /// `MAIL FROM:<path> parameters`
    Mail {
        /// The sender; null for what must not be answered.
        from: Path,
        /// SIZE, BODY, AUTH.
        parameters: Parameters,
    },
    /// `RCPT TO:<path> parameters`
    Rcpt {
        /// The recipient.
        to: Path,
        /// IGNOREQUOTA.
        parameters: Parameters,
    },
    /// `DATA`
    Data,
    /// `RSET`
    Rset,
    /// `NOOP`, with anything behind it.
    Noop,
    /// `QUIT`
    Quit,
    /// `VRFY`, with anything behind it.
    Vrfy,
    /// `STARTTLS`
    StartTls,
    /// `AUTH mechanism [initial]`
    Auth {
        /// As it was written.
        mechanism: Bytes,
        /// Base64, or `=` for an empty one.
        initial: Option<Bytes>,
    },
}

/// What came off the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandEvent {
    /// A command.
    Command(Command),
    /// A line to be answered with a refusal; what follows it is understood again.
    Refused(Refusal),
}

/// Why a line is not a command. Each has the reply that it deserves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Longer than [`MAX_LINE`](super::MAX_LINE).
    #[error("500 5.5.2 Line too long")]
    TooLong,
    /// A CR or LF that is not part of a line end, or NUL.
    #[error("500 5.5.2 Bare CR, LF or NUL in a command")]
    Stray,
    /// No command of this protocol.
    #[error("500 5.5.1 Command unrecognized")]
    Unknown,
    /// HELO or EHLO: RFC 2033 §4.1 wants 500, so that no SMTP client takes this for its server.
    #[error("500 5.5.1 This is LMTP: say LHLO")]
    NotLmtp,
    /// The command is known, what follows it is not understood.
    #[error("501 5.5.4 Syntax error in parameters")]
    Syntax,
}

/// What may come instead of a command while AUTH waits for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SaslLine {
    /// A response, base64.
    Response(Bytes),
    /// `*`: the client gives up.
    Cancelled,
    /// A line that is none: too long, or with stray bytes.
    Garbled,
}

/// ESMTP parameters as they came, without the space before the first; checked to be well formed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Parameters(Bytes);

/// One parameter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameter<'a> {
    /// `SIZE`; case is without meaning.
    pub keyword: &'a str,
    /// What is behind the `=`, if there is one.
    pub value: Option<&'a str>,
}

impl Parameter<'_> {
    /// Whether it has this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }
}

impl Parameters {
    /// Checks their form: `keyword[=value]`, each pair of them one or more spaces apart.
    pub fn new(text: impl Into<Bytes>) -> Option<Self> {
        let text = text.into();
        let well_formed = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).all(|word| {
            let (keyword, value) = split(word);
            keyword.first().is_some_and(u8::is_ascii_alphanumeric)
                && keyword.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
                && value.is_none_or(|value| {
                    // RFC 5321 §4.1.2, `esmtp-value`.
                    !value.is_empty() && value.iter().all(|byte| matches!(byte, 33..=60 | 62..=126))
                })
        });
        well_formed.then_some(Self(text))
    }

    /// As they came.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = Parameter<'_>> {
        self.0.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).map(|word| {
            let (keyword, value) = split(word);
            // They are ASCII: `new` saw to it.
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            Parameter { keyword: text(keyword), value: value.map(text) }
        })
    }
}

fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    match word.iter().position(|byte| *byte == b'=') {
        Some(at) => (word.get(..at).unwrap_or_default(), Some(word.get(at + 1..).unwrap_or_default())),
        None => (word, None),
    }
}

impl fmt::Debug for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}
