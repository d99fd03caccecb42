//! Whose a name is while an operation has it, and what it becomes when that comes to nothing.

use super::Call;
use crate::authority::write::{Origin, SessionId, Write};
use crate::list::{Entry, Location};

/// So many operations at most have a name one after the other before the end of the first was heard.
const OVERTAKEN: usize = 8;

/// What an unfinished operation did to a name.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Claim {
    pub(super) by: By,
    pub(super) origin: Origin,
    /// The server whose operation it is, as far as its first write tells.
    place: Option<Location>,
    /// What the name was before the operation, and before those that it has overtaken.
    pub(super) before: Option<Entry>,
    /// When the operation came to the name.
    pub(super) at_unix: u64,
    /// Operations that had the name before, and of whose end nobody has heard yet; the latest last.
    overtaken: Vec<Overtaken>,
}

/// Who will tell how an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// The end of its connection.
    Session(SessionId),
    /// Nobody: an earlier run of the process left it. It left this version of the name.
    LeftOver(Option<u64>),
}

/// An operation whose name another one took before its end was heard.
#[derive(Clone, PartialEq, Debug)]
struct Overtaken {
    session: SessionId,
    origin: Origin,
    place: Option<Location>,
    at_unix: u64,
    /// What the next operation found.
    left: Option<Entry>,
}

impl Claim {
    /// An operation comes to a name that nobody has.
    pub(super) fn new(by: By, origin: Origin, before: Option<Entry>, at_unix: u64) -> Self {
        Self { by, origin, place: None, before, at_unix, overtaken: Vec::new() }
    }

    /// As [`Self::new`], by this write.
    pub(super) fn of(call: &Call, session: SessionId, before: &Option<Entry>, at_unix: u64) -> Self {
        let place = place(&call.write, before);
        Self { place, ..Self::new(By::Session(session), call.origin.clone(), before.clone(), at_unix) }
    }

    /// Another operation takes the name, and finds this. False where so many did that none is to be taken back any more.
    pub(super) fn pass(&mut self, call: &Call, session: SessionId, found: &Option<Entry>, unix: u64) -> bool {
        let place = place(&call.write, found);
        match self.by {
            By::LeftOver(_) => self.before = known_by(&call.write, found, self.before.take()),
            By::Session(session) => {
                let (origin, at_unix) = (self.origin.clone(), self.at_unix);
                let left = found.clone();
                self.overtaken.push(Overtaken { session, origin, place: self.place.take(), at_unix, left });
            }
        }
        (self.by, self.origin, self.place, self.at_unix) =
            (By::Session(session), call.origin.clone(), place, unix);
        self.overtaken.len() <= OVERTAKEN
    }

    /// An operation that was overtaken has ended. What it did stands, where it is complete: then the name was what it
    /// left. Whether that is news.
    pub(super) fn heard_of(&mut self, session: SessionId, complete: bool) -> bool {
        let Some(at) = self.overtaken.iter().position(|other| other.session == session) else { return false };
        let ended = self.overtaken.remove(at);
        if complete {
            self.overtaken.drain(..at);
            self.before = ended.left;
        }
        complete
    }

    /// The operation came to nothing: what the name becomes, and whose it is then.
    ///
    /// A backend that comes back to a name has given up what it was at before: it has a lock for each. Another server's
    /// operation goes on.
    pub(super) fn undone(mut self) -> (Option<Entry>, Option<Self>) {
        while let Some(Overtaken { session, origin, place, at_unix, left }) = self.overtaken.pop() {
            let elsewhere = |(own, other): (&Location, &Location)| !own.same_server(other);
            if self.place.as_ref().zip(place.as_ref()).is_some_and(elsewhere) {
                let by = By::Session(session);
                return (left, Some(Self { by, origin, place, at_unix, ..self }));
            }
        }
        (self.before, None)
    }
}

/// Whose write it is: who wants a name says so, and who gives one up has it.
fn place(write: &Write, held: &Option<Entry>) -> Option<Location> {
    match write {
        Write::Reserve { location, .. } => Some(location.clone()),
        _ => held.as_ref().map(|held| held.location.clone()),
    }
}

/// What a name was before an operation, by its first write, where another one was left over that had it. A backend that
/// wants to give a name up has the mailbox; one that wants to take it has none.
fn known_by(write: &Write, held: &Option<Entry>, left: Option<Entry>) -> Option<Entry> {
    let mailbox = |entry: &Option<Entry>| entry.as_ref().is_some_and(Entry::is_active);
    match write {
        Write::Delete { .. } if mailbox(&left) && !mailbox(held) => left,
        Write::Delete { .. } => held.clone(),
        _ if !mailbox(&left) => left,
        _ => held.clone().filter(|held| !held.is_active()),
    }
}
