//! The commands that make a difference to a proxy.

/// A command's name; upper and lower case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Talks in lines of its own until the server ends it.
    Authenticate,
    /// Its answer lists what would blind a proxy.
    Capability,
    /// Would blind a proxy (RFC 4978).
    Compress,
    /// Makes a mailbox.
    Create,
    /// Removes a mailbox.
    Delete,
    /// Changes an ACL (RFC 4314).
    DeleteAcl,
    /// Switches extensions on, `UTF8=ACCEPT` among them.
    Enable,
    /// Who the client is (RFC 2971).
    Id,
    /// Ends with a line that is no command: `DONE` (RFC 2177).
    Idle,
    /// Lists mailboxes.
    List,
    /// Logs in.
    Login,
    /// Ends the session.
    Logout,
    /// Lists subscriptions.
    Lsub,
    /// Tells how mailboxes are named (RFC 2342).
    Namespace,
    /// Does nothing.
    Noop,
    /// Moves a mailbox.
    Rename,
    /// `LIST` that may answer with referrals (RFC 2193).
    Rlist,
    /// `LSUB` that may answer with referrals (RFC 2193).
    Rlsub,
    /// Changes an ACL (RFC 4314).
    SetAcl,
    /// Begins TLS.
    StartTls,
    /// Forgets who logged in (RFC 8437).
    Unauthenticate,
    /// Cyrus's older `LIST` with special uses.
    Xlist,
    /// Anything else.
    Other,
}

const NAMES: [(&[u8], Verb); 22] = [
    (b"AUTHENTICATE", Verb::Authenticate),
    (b"CAPABILITY", Verb::Capability),
    (b"COMPRESS", Verb::Compress),
    (b"CREATE", Verb::Create),
    (b"DELETE", Verb::Delete),
    (b"DELETEACL", Verb::DeleteAcl),
    (b"ENABLE", Verb::Enable),
    (b"ID", Verb::Id),
    (b"IDLE", Verb::Idle),
    (b"LIST", Verb::List),
    (b"LOGIN", Verb::Login),
    (b"LOGOUT", Verb::Logout),
    (b"LSUB", Verb::Lsub),
    (b"NAMESPACE", Verb::Namespace),
    (b"NOOP", Verb::Noop),
    (b"RENAME", Verb::Rename),
    (b"RLIST", Verb::Rlist),
    (b"RLSUB", Verb::Rlsub),
    (b"SETACL", Verb::SetAcl),
    (b"STARTTLS", Verb::StartTls),
    (b"UNAUTHENTICATE", Verb::Unauthenticate),
    (b"XLIST", Verb::Xlist),
];

impl Verb {
    /// The verb that a word is.
    pub fn of(word: &[u8]) -> Self {
        NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map_or(Self::Other, |(_, verb)| *verb)
    }
}
