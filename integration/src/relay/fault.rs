//! What can go wrong on the way, and when.

use std::time::Duration;

use super::session::Event;

/// A point in a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before this command, such as `RESERVE`, reaches the server.
    Request(&'static str),
    /// Before the reply that ends this command reaches the client; the server has done its part.
    Reply(&'static str),
    /// Before the Nth ending reply of a connection, counted from 1; the reply to AUTHENTICATE is the first.
    NthReply(u32),
    /// Before the Nth data line of a connection, counted from 1: in the middle of a dump.
    NthData(u32),
}

/// What happens at that point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// This one line vanishes; the connection goes on.
    Swallow,
    /// The line, and what comes after it, is late.
    Delay(Duration),
    /// Both sides lose the connection, and the line is lost with it.
    Cut,
    /// From here on nothing moves in either direction, until the fault is lifted.
    Hang,
}

/// A fault. Until it is lifted it strikes whenever its moment comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// New connections are accepted and closed at once.
    Drop,
    /// New connections are accepted, and then nothing: not even a banner.
    HangBeforeBanner,
    /// Authentication works, and then nothing. Connections that are past it hang as well.
    HangAfterAuth,
    /// Something happens at a point in the conversation.
    At(Moment, Action),
    /// What hangs goes on hanging, whatever made it; nothing else is touched. Lifted, it arrives late.
    Keep,
}

impl Fault {
    /// What this fault does to an event.
    pub(super) fn action_on(&self, event: &Event) -> Option<Action> {
        match self {
            Self::Drop | Self::Keep => None,
            Self::HangBeforeBanner => (!event.greeted).then_some(Action::Hang),
            Self::HangAfterAuth => event.authenticated.then_some(Action::Hang),
            Self::At(moment, action) => moment.is(event).then_some(*action),
        }
    }

    /// Whether a line that hangs because of `event` goes on hanging.
    pub(super) fn holds(&self, event: &Event) -> bool {
        *self == Self::Keep || self.action_on(event) == Some(Action::Hang)
    }
}

impl Moment {
    fn is(&self, event: &Event) -> bool {
        match self {
            Self::Request(verb) => event.request.as_deref() == Some(*verb),
            Self::Reply(verb) => event.reply_to.as_deref() == Some(*verb),
            Self::NthReply(n) => event.nth_reply == Some(*n),
            Self::NthData(n) => event.nth_data == Some(*n),
        }
    }
}
