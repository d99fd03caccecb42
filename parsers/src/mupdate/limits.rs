//! How much a peer may make us hold.

/// What a client may send at most. Reaching a limit is a [`CommandFault`](super::CommandFault).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest argument or SASL line, in bytes.
    pub max_argument: usize,
    /// The longest command, in bytes, with its literals and line ends. Also bounds what is thrown away
    /// behind a command that was answered `BAD`.
    pub max_command: usize,
}

impl Limits {
    /// For a connection that has not logged in. Nothing that is legal then is long, so that a connection's
    /// input buffer, its copy while it grows, and the command taken out of it stay within 64 KiB together.
    pub const BEFORE_LOGIN: Self = Self { max_argument: 8 * 1024, max_command: 12 * 1024 };
}

impl Default for Limits {
    /// `maxliteral` of Cyrus 3.13, 128 KiB, which in practice is a limit on ACLs, and room for two such.
    fn default() -> Self {
        Self { max_argument: 128 * 1024, max_command: 256 * 1024 }
    }
}

/// What a server may send at most. Reaching a limit is a [`ReplyFault`](super::ReplyFault).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplyLimits {
    /// The longest argument or SASL challenge, in bytes.
    pub max_argument: usize,
    /// The longest reply, in bytes, with its literals and line ends.
    pub max_line: usize,
}

impl Default for ReplyLimits {
    /// Wider than what clients may send: up to 3.10 a master accepts ACLs of any length, and one that
    /// cannot be read would leave us without any list.
    fn default() -> Self {
        Self { max_argument: 1024 * 1024, max_line: 2 * 1024 * 1024 }
    }
}
