//! What callers put into the store and get back from it.

use crate::list::{Entry, MailboxName, Order};

/// One change. A call to [`super::Store::commit`] takes several and makes all of them durable or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The list holds this for the name now.
    Put {
        /// The name.
        name: MailboxName,
        /// What it is now.
        entry: Entry,
    },
    /// The list does not hold the name any more. If it did, the name is remembered among the forgotten ones.
    Remove {
        /// The name.
        name: MailboxName,
    },
    /// Why the list changes: kept for people, with what it held until now. To be put before the change itself.
    Remember(Deed),
    /// Ravenry decided this on its own; the master is to be told.
    Journal(JournalRecord),
    /// The master knows the name's journal up to and including this sequence number.
    Settle {
        /// The name.
        name: MailboxName,
        /// The greatest sequence number settled.
        upto: u64,
    },
    /// An exchange with the master about the name ended without a reply.
    Doubt {
        /// The name.
        name: MailboxName,
        /// What may have happened.
        doubt: Doubt,
    },
    /// Every doubt about the name is settled.
    Undoubt {
        /// The name.
        name: MailboxName,
    },
    /// A person has to decide about the name. Replaces an earlier conflict of the same name.
    Conflict(Conflict),
    /// The name's conflict was decided.
    ResolveConflict {
        /// The name.
        name: MailboxName,
    },
    /// The master's list differs from ours for the name, which alone neither deletes nor moves anything.
    Unconfirmed {
        /// The name.
        name: MailboxName,
        /// What the master's list holds for it.
        theirs: Option<Entry>,
    },
    /// The difference was confirmed or went away.
    Confirm {
        /// The name.
        name: MailboxName,
    },
    /// The list was compared with the master's whole list and is as complete as that.
    Synced(Synced),
    /// Ravenry was alive and serving at this time.
    Attended {
        /// Seconds since 1970.
        at_unix: u64,
    },
    /// A reseed of the master was begun, after which it may have lost so many names; `None`: none is under way.
    Reseeding(Option<u64>),
    /// An operator wants Ravenry to go on standing in, or does not any more.
    Held {
        /// Whether it is so.
        held: bool,
    },
    /// A person has announced that the names of a server will be deleted.
    Expected {
        /// As in locations.
        server: Vec<u8>,
        /// Until when: seconds since 1970.
        until_unix: u64,
    },
    /// A name that its server denies was taken off the list, to be counted.
    Ghost {
        /// As in locations.
        server: Vec<u8>,
        /// On this day since 1970.
        day: u64,
    },
    /// A step of an operation that has not come to its end was done to the name. To be put behind the change of the list
    /// that the step made. Replaces what is on record of the name.
    Underway {
        /// The name.
        name: MailboxName,
        /// The operation, and what the name was before it.
        underway: Underway,
    },
    /// Nothing is under way with the name any more.
    Ended {
        /// The name.
        name: MailboxName,
    },
    /// From now on the list is kept in this order. Re-keys everything in the same transaction, which holds
    /// up other commits: some twenty seconds for ten million mailboxes, and the file doubles. No change if it is the order already.
    SetOrder(Order),
}

/// Who was behind a change of the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    /// Somebody asked for it, by the name and from the address of the connection.
    Asked {
        /// The identity that logged in.
        identity: String,
        /// The address of the connection.
        peer: String,
    },
    /// What he had asked for came to nothing at the backend and was taken back.
    TakenBack {
        /// The identity that logged in.
        identity: String,
        /// The address of the connection.
        peer: String,
    },
    /// The master changed it, and not because we asked.
    Master,
    /// A person decided about a name in dispute.
    Person,
    /// The guard put back what the master had deleted.
    Guard,
    /// An XFER that never came to its end was given up.
    Unfinished,
}

/// A change of the list, and how it came about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deed {
    /// The name.
    pub name: MailboxName,
    /// What the list holds since; `None`: nothing.
    pub after: Option<Entry>,
    /// Who was behind it.
    pub cause: Cause,
    /// In which state Ravenry was: the word that `ravenry status` has for it.
    pub state: String,
    /// When: seconds since 1970.
    pub at_unix: u64,
}

/// A [`Deed`] as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The deed.
    pub deed: Deed,
    /// What the list held until then.
    pub before: Option<Entry>,
}

/// What kind of change was journalled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Verb {
    /// The name was taken.
    Reserve,
    /// The mailbox was made usable, or its location or ACL changed.
    Activate,
    /// The mailbox became a reservation again.
    Deactivate,
    /// The name was given up.
    Delete,
}

/// A change that the master has not heard of yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalRecord {
    /// The name.
    pub name: MailboxName,
    /// What was asked.
    pub verb: Verb,
    /// What the list held before.
    pub before: Option<Entry>,
    /// What it holds since.
    pub after: Option<Entry>,
    /// Who asked: the identity that logged in.
    pub identity: String,
    /// Who asked: the address of the connection.
    pub peer: String,
    /// When: seconds since 1970.
    pub at_unix: u64,
}

/// A [`JournalRecord`] as the store keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Journalled {
    /// Its sequence number. Later changes have greater ones, across all names.
    pub seq: u64,
    /// The record.
    pub record: JournalRecord,
}

/// An exchange with the master whose outcome is unknown. A name can have several; one per distinct effect
/// is kept, with the latest time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// What the list would hold had the master done it.
    pub effect: Option<Entry>,
    /// When the exchange was given up: seconds since 1970.
    pub at_unix: u64,
}

/// A name about which master and journal disagree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// The name.
    pub name: MailboxName,
    /// What both held when they last agreed.
    pub base: Option<Entry>,
    /// What the master holds.
    pub theirs: Option<Entry>,
    /// What we hold.
    pub ours: Option<Entry>,
    /// When the conflict was found: seconds since 1970.
    pub at_unix: u64,
}

/// An operation that has done something to a name, and has not come to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Underway {
    /// Tells operations of one run of the process apart.
    pub operation: u64,
    /// What the name was before it.
    pub before: Option<Entry>,
    /// Whose it is: the identity that logged in.
    pub identity: String,
    /// Whose it is: the address of the connection.
    pub peer: String,
    /// When it came to the name: seconds since 1970.
    pub at_unix: u64,
}

/// An [`Underway`] that an earlier run of the process left behind: nobody will tell how the operation ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeftOver {
    /// The name.
    pub name: MailboxName,
    /// What was under way with it.
    pub underway: Underway,
    /// Which run of the process that was.
    pub life: u64,
    /// The version of the entry that the operation left, `None` where it left none. Where the list holds another one,
    /// somebody has written the name since.
    pub version: Option<u64>,
}

/// When, and with which master, the list was last complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The name in the master's banner.
    pub master: String,
    /// The version in the master's banner.
    pub version: String,
    /// Seconds since 1970.
    pub at_unix: u64,
}

impl Change {
    /// The longest access control list, identity, address, or banner text taken, in bytes. Cyrus takes
    /// literals of 128 KiB.
    pub const MAX_TEXT: usize = 1 << 20;
}
