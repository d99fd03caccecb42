//! What a MUPDATE server says.

use std::fmt;

use bytes::Bytes;

/// One complete reply.
///
/// `T` is [`Bytes`] everywhere outside this crate's decoder. Strings are unquoted and of any bytes but NUL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerLine<T = Bytes> {
    /// `* AUTH "PLAIN" …`: the SASL mechanisms, none if the server has none that may be used now.
    Mechanisms(Vec<T>),
    /// `* STARTTLS`
    StartTls,
    /// `* COMPRESS "DEFLATE"`
    Compress,
    /// `* PARTIAL-UPDATE`: `UPDATE` takes hosts.
    PartialUpdate,
    /// Another line of the banner, without the `* ` and the line end.
    OtherCapability(T),
    /// `* OK MUPDATE "mm.example.org" "Cyrus IMAP" "3.6.1" "(master)"`, the banner's last line.
    Banner {
        /// The server's name.
        servername: T,
        /// The product's name.
        product: T,
        /// The product's version.
        version: T,
        /// `(master)`, or from a slave `mupdate://its-master`.
        role: T,
    },
    /// The end of a command, or with no tag something the server says of itself.
    Status {
        /// The command's tag.
        tag: Option<T>,
        /// How it ended.
        status: Status,
        /// For people. Quoted, literal and bare texts are all met, and told apart no more.
        text: T,
    },
    /// `+ go ahead`: the announced literal may be sent.
    Continue,
    /// A mailbox that can be used.
    Mailbox {
        /// The tag of the FIND, LIST or UPDATE that asked.
        tag: T,
        /// The mailbox's internal name.
        mailbox: T,
        /// `server!partition`
        location: T,
        /// `id TAB rights TAB …`
        acl: T,
    },
    /// A name that is taken.
    Reserve {
        /// The tag of the FIND, LIST or UPDATE that asked.
        tag: T,
        /// The mailbox's internal name.
        mailbox: T,
        /// `server!partition`
        location: T,
    },
    /// A name that is gone. On a stream only.
    Delete {
        /// The tag of the UPDATE.
        tag: T,
        /// The mailbox's internal name.
        mailbox: T,
    },
}

impl<T> ServerLine<T> {
    /// The same line with every string replaced.
    pub(super) fn map<U>(self, mut each: impl FnMut(T) -> U) -> ServerLine<U> {
        match self {
            Self::Mechanisms(names) => ServerLine::Mechanisms(names.into_iter().map(each).collect()),
            Self::StartTls => ServerLine::StartTls,
            Self::Compress => ServerLine::Compress,
            Self::PartialUpdate => ServerLine::PartialUpdate,
            Self::OtherCapability(line) => ServerLine::OtherCapability(each(line)),
            Self::Banner { servername, product, version, role } => ServerLine::Banner {
                servername: each(servername),
                product: each(product),
                version: each(version),
                role: each(role),
            },
            Self::Status { tag, status, text } => {
                ServerLine::Status { tag: tag.map(&mut each), status, text: each(text) }
            }
            Self::Continue => ServerLine::Continue,
            Self::Mailbox { tag, mailbox, location, acl } => ServerLine::Mailbox {
                tag: each(tag),
                mailbox: each(mailbox),
                location: each(location),
                acl: each(acl),
            },
            Self::Reserve { tag, mailbox, location } => {
                ServerLine::Reserve { tag: each(tag), mailbox: each(mailbox), location: each(location) }
            }
            Self::Delete { tag, mailbox } => ServerLine::Delete { tag: each(tag), mailbox: each(mailbox) },
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Status {
    /// It was done.
    Ok,
    /// It was refused.
    No,
    /// It was not understood, or is not allowed now.
    Bad,
    /// The server ends the connection.
    Bye,
}

impl Status {
    /// The word on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
        }
    }

    pub(super) fn of_word(word: &[u8]) -> Option<Self> {
        [Self::Ok, Self::No, Self::Bad, Self::Bye]
            .into_iter()
            .find(|status| word.eq_ignore_ascii_case(status.word().as_bytes()))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a server says in the middle of AUTHENTICATE.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslServerLine {
    /// A challenge, still base64; may be empty.
    Challenge(Bytes),
    /// The exchange has ended; the fields are those of [`ServerLine::Status`].
    Done {
        /// The command's tag; none when the server speaks of itself, as in `* BYE "Server Unable"`.
        tag: Option<Bytes>,
        /// How it ended.
        status: Status,
        /// For people.
        text: Bytes,
    },
}

/// Never shows the challenge.
impl fmt::Debug for SaslServerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Challenge(_) => f.write_str("Challenge(…)"),
            Self::Done { tag, status, text } => {
                f.debug_struct("Done").field("tag", tag).field("status", status).field("text", text).finish()
            }
        }
    }
}
