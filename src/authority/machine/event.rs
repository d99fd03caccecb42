//! What goes into the state machine and what comes out.

use std::time::Duration;

use super::{Keep, Task};
use crate::authority::facts::Comparison;
use crate::authority::master::{Lost, MasterIdentity, MasterReply};
use crate::authority::write::{Origin, Outcome, SessionId, Write};
use crate::list::{Entry, Location, MailboxName};
use crate::store::Change;

/// Numbers a call of a face.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct CallId(pub u64);
/// Numbers an exchange with the master.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct SendId(pub u64);
/// Numbers a commit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct CommitId(pub u64);
/// Numbers a barrier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct BarrierId(pub u64);

/// The time an event happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Since the process started; never goes back. Decides.
    pub since_start: Duration,
    /// Wall clock, seconds since 1970. Recorded, never decides.
    pub unix: u64,
}

/// Who answers for the namespace.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum State {
    /// No list that may be served.
    Learning,
    /// The master decides.
    Following,
    /// Ravenry decides.
    StandingIn,
    /// The master is back and is being given what it missed.
    Replaying,
    /// The master is back with a list that cannot be believed; Ravenry decides.
    Holding,
}

impl State {
    /// Every state, for metrics.
    pub const ALL: [Self; 5] =
        [Self::Learning, Self::Following, Self::StandingIn, Self::Replaying, Self::Holding];

    /// Whether the list falls behind the master's once the store has failed: the master decides, or did so until it was lost.
    pub fn falls_behind(self) -> bool {
        match self {
            Self::Following | Self::Replaying | Self::Learning => true,
            Self::StandingIn | Self::Holding => false,
        }
    }

    /// The word used in logs, metrics and `ravenry status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Learning => "learning",
            Self::Following => "following",
            Self::StandingIn => "standing-in",
            Self::Replaying => "replaying",
            Self::Holding => "holding",
        }
    }
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A backend asks for a change, and waits for the answer until this time since the process started; then
    /// it is told that its change failed.
    Call(CallId, Write, Origin, Duration),
    /// A backend's connection ended. `true`: after everything it asked for was done, with its farewell.
    Ended(SessionId, bool),
    /// An exchange with the master ended.
    Sent(SendId, Result<MasterReply, Lost>),
    /// A commit ended; `Ok` holds the list's sequence number.
    Committed(CommitId, Result<u64, String>),
    /// A barrier ended.
    Barrier(BarrierId, Result<(), Lost>),
    /// The link is up and the master's list is being read. It is compared with our list as it is now.
    MasterUp(MasterIdentity),
    /// That list was read to its end and compared with ours, whatever was written meanwhile.
    MasterList(Comparison),
    /// The master's list was read to its end, in so much time, and is our list now.
    Loaded(Duration),
    /// The master changed a name.
    MasterChanged(MailboxName, Option<Entry>),
    /// The link is down, or the master does not answer.
    MasterLost(String),
    /// A person wants Ravenry to decide, whatever the master says.
    StandIn,
    /// A person lets the master decide again.
    Follow,
    /// Our list was taken from elsewhere, at a person's word, and may be served; from where.
    Learned(String),
    /// A person orders a change of the whole list.
    Begin(Task),
    /// That change came to nothing.
    GiveUp(String),
    /// A person decides about a name.
    Resolve(CallId, MailboxName, Keep),
    /// A person announces that the names of a server will be deleted, within so much time.
    Expect(Vec<u8>, Duration),
    /// It was found out how an operation ended that an earlier run of the process had left over.
    Verdict {
        /// One of its names.
        name: MailboxName,
        /// The version of the name's entry from before that was looked into; `None`: there was none.
        version: Option<u64>,
        /// What it did stands; else it is taken back.
        stands: bool,
    },
    /// Some time has passed.
    Tick,
}

/// What is to be done about it.
#[derive(Clone, PartialEq, Debug)]
pub enum Decision {
    /// Ask the master.
    Send(SendId, Write, Duration),
    /// Make durable, as one; then publish, in the order of the commits, and report.
    Commit {
        /// For the report.
        id: CommitId,
        /// What to make durable.
        changes: Vec<Change>,
        /// What every stream must be told once it is durable.
        publish: Option<(MailboxName, Option<Entry>)>,
    },
    /// Answer a call; with a sequence number, once the streams were written up to it.
    Reply(CallId, Outcome, Option<u64>),
    /// Send a NOOP on the stream.
    Barrier(BarrierId, Duration),
    /// Drop the link and take a fresh list, to compare it with ours.
    Reconnect,
    /// Drop the link and take a fresh list in place of ours.
    Reload,
    /// The list that the difference was made with is not needed any more.
    ForgetListed,
    /// The state changed.
    Enter(State, String),
    /// Something an operator should know, for the log.
    Notice(String),
    /// Something that monitors count.
    Count(Counted),
}

/// What monitors count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Counted {
    /// The master was changed behind our back: about a mailbox here.
    Bypassed(Option<Location>),
    /// A conflict was recorded.
    Conflict,
    /// A fresh list of the master was not believed.
    GuardTripped,
    /// A name was compared with a returned master's list and settled.
    ReplayStep,
}
