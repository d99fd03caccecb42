//! What clients ask of a MUPDATE server.

use std::fmt;

use bytes::Bytes;

/// One complete command.
///
/// `T` is [`Bytes`] everywhere outside this crate's decoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command<T = Bytes> {
    /// The client's tag, to be repeated in every answer. Never empty; no space, quote, parenthesis or
    /// control byte in it.
    pub tag: T,
    /// What is asked.
    pub body: CommandBody<T>,
}

/// The command's word and arguments. Strings are unquoted, of any bytes but NUL, and not otherwise checked.
#[derive(Clone, PartialEq, Eq)]
pub enum CommandBody<T = Bytes> {
    /// `AUTHENTICATE mechanism [initial]`
    Authenticate {
        /// The SASL mechanism as it was written.
        mechanism: T,
        /// The initial response, still base64; `=` when it was sent but is zero bytes long. Cyrus's client
        /// sends that one form unquoted.
        initial: Option<T>,
    },
    /// `ACTIVATE mailbox location acl`
    Activate {
        /// The mailbox's internal name.
        mailbox: T,
        /// `server!partition`
        location: T,
        /// `id TAB rights TAB …`
        acl: T,
    },
    /// `RESERVE mailbox location`
    Reserve {
        /// The mailbox's internal name.
        mailbox: T,
        /// `server!partition`
        location: T,
    },
    /// `DEACTIVATE mailbox location`, which the ABNF of RFC 3656 forgets.
    Deactivate {
        /// The mailbox's internal name.
        mailbox: T,
        /// `server!partition`
        location: T,
    },
    /// `DELETE mailbox`
    Delete {
        /// The mailbox's internal name.
        mailbox: T,
    },
    /// `FIND mailbox`
    Find {
        /// The mailbox's internal name.
        mailbox: T,
    },
    /// `LIST [prefix]`
    List {
        /// What the location of every listed mailbox starts with.
        prefix: Option<T>,
    },
    /// `UPDATE [host …]`
    Update {
        /// The servers a partial stream is about (Cyrus's `PARTIAL-UPDATE`), none for the complete list,
        /// [`CommandBody::MAX_HOSTS`] at most; no name is empty.
        hosts: Vec<T>,
    },
    /// `NOOP`
    Noop,
    /// `LOGOUT`
    Logout,
    /// `STARTTLS`. What follows it in the same buffer was not protected and must be thrown away.
    StartTls,
    /// `COMPRESS algorithm`
    Compress {
        /// `DEFLATE` is the only one known.
        algorithm: T,
    },
}

impl CommandBody {
    /// How many hosts Cyrus takes in one UPDATE.
    pub const MAX_HOSTS: usize = 30;
}

impl<T> CommandBody<T> {
    /// The command's word as it is written on the wire.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Authenticate { .. } => "AUTHENTICATE",
            Self::Activate { .. } => "ACTIVATE",
            Self::Reserve { .. } => "RESERVE",
            Self::Deactivate { .. } => "DEACTIVATE",
            Self::Delete { .. } => "DELETE",
            Self::Find { .. } => "FIND",
            Self::List { .. } => "LIST",
            Self::Update { .. } => "UPDATE",
            Self::Noop => "NOOP",
            Self::Logout => "LOGOUT",
            Self::StartTls => "STARTTLS",
            Self::Compress { .. } => "COMPRESS",
        }
    }

    /// The arguments in wire order.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &T> {
        let (named, hosts): ([Option<&T>; 3], &[T]) = match self {
            Self::Authenticate { mechanism, initial } => ([Some(mechanism), initial.as_ref(), None], &[]),
            Self::Activate { mailbox, location, acl } => ([Some(mailbox), Some(location), Some(acl)], &[]),
            Self::Reserve { mailbox, location } | Self::Deactivate { mailbox, location } => {
                ([Some(mailbox), Some(location), None], &[])
            }
            Self::Delete { mailbox } | Self::Find { mailbox } => ([Some(mailbox), None, None], &[]),
            Self::List { prefix } => ([prefix.as_ref(), None, None], &[]),
            Self::Compress { algorithm } => ([Some(algorithm), None, None], &[]),
            Self::Update { hosts } => ([None; 3], hosts),
            Self::Noop | Self::Logout | Self::StartTls => ([None; 3], &[]),
        };
        named.into_iter().flatten().chain(hosts)
    }

    /// The same command with every string replaced.
    pub(super) fn map<U>(self, mut each: impl FnMut(T) -> U) -> CommandBody<U> {
        match self {
            Self::Authenticate { mechanism, initial } => {
                CommandBody::Authenticate { mechanism: each(mechanism), initial: initial.map(each) }
            }
            Self::Activate { mailbox, location, acl } => {
                CommandBody::Activate { mailbox: each(mailbox), location: each(location), acl: each(acl) }
            }
            Self::Reserve { mailbox, location } => {
                CommandBody::Reserve { mailbox: each(mailbox), location: each(location) }
            }
            Self::Deactivate { mailbox, location } => {
                CommandBody::Deactivate { mailbox: each(mailbox), location: each(location) }
            }
            Self::Delete { mailbox } => CommandBody::Delete { mailbox: each(mailbox) },
            Self::Find { mailbox } => CommandBody::Find { mailbox: each(mailbox) },
            Self::List { prefix } => CommandBody::List { prefix: prefix.map(each) },
            Self::Update { hosts } => CommandBody::Update { hosts: hosts.into_iter().map(each).collect() },
            Self::Noop => CommandBody::Noop,
            Self::Logout => CommandBody::Logout,
            Self::StartTls => CommandBody::StartTls,
            Self::Compress { algorithm } => CommandBody::Compress { algorithm: each(algorithm) },
        }
    }
}

/// What comes out of a client's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandEvent {
    /// A complete command.
    Command(Command),
    /// Something that is no command: answer `BAD` with the text and go on. The rest of its line is thrown
    /// away by the decoder.
    Bad {
        /// The tag for the answer; none for an untagged one.
        tag: Option<Bytes>,
        /// Cyrus's words.
        text: &'static str,
    },
    /// The client announced a literal and waits for `+ go ahead`.
    Continue,
}

/// One line from a client in the middle of AUTHENTICATE.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslLine {
    /// The response, still base64 and not checked to be; may be empty.
    Response(Bytes),
    /// `*`: the client gives up.
    Cancel,
}

/// `WORD(argument, …)`; the initial response is left out, since that of PLAIN holds the password.
impl<T: fmt::Debug> fmt::Debug for CommandBody<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self {
            Self::Authenticate { .. } => 1,
            _ => usize::MAX,
        };
        let mut tuple = f.debug_tuple(self.word());
        for argument in self.arguments().take(shown) {
            tuple.field(argument);
        }
        tuple.finish()
    }
}

/// Never shows the response, which may hold a password.
impl fmt::Debug for SaslLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Response(_) => "Response(…)",
            Self::Cancel => "Cancel",
        })
    }
}
