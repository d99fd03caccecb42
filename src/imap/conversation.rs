//! What passes between a client that has logged in and its frontend: almost everything, as it is. Pure.
//!
//! Bytes come in whatever pieces the network makes of them and go on at once; only a beginning of a line that
//! cannot be told yet is held back, and a reply that may have to be rewritten. What a session costs while it is
//! idle is this struct and nothing on the heap.

use std::collections::VecDeque;

use bytes::BytesMut;
use ravenry_parsers::imap::{
    CapabilityFilter, ClientEvent, ClientFault, ClientFramer, Command, Condition, ReplyHead, ServerEvent,
    ServerFault, ServerFramer, Stop, Verb,
};

use super::outcome::{self, Acted};
use super::output::{Output, Passed};

/// The longest command or reply that is looked at as a whole; what is longer passes unseen.
const MAX_WATCHED: usize = 16 << 10;

/// The longest tag that is remembered. A command with a longer one passes unseen.
const MAX_TAG: usize = 64;

/// Commands remembered until they are answered.
const MAX_PENDING: usize = 256;

/// Our own question: how the frontend writes names to this client. The tag is one that no client uses.
const QUESTION: &[u8] = b"Ravenry.1 NAMESPACE\r\n";
const QUESTION_TAG: &[u8] = b"Ravenry.1";

/// Something that the rest of Ravenry may want to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The frontend confirmed a change.
    Confirmed(Acted),
    /// It refused one because it had no word from the mupdate master; the server's text.
    NoMaster(Acted, String),
    /// How names are written: a reply `* NAMESPACE …`.
    Namespace(Vec<u8>),
}

/// A command whose answer matters.
#[derive(Debug)]
struct Pending {
    tag: Box<[u8]>,
    acted: Acted,
}

/// A command that is passing.
#[derive(Debug, Default)]
enum Passing {
    /// Nothing is watched.
    #[default]
    Unseen,
    /// A copy is kept, to be read when it is whole.
    Watched(Vec<u8>),
    /// It is kept from the frontend; the client gets this answer when it is whole.
    Refused(BytesMut),
}

/// A reply that is passing.
#[derive(Debug, Default)]
enum Answering {
    #[default]
    Unseen,
    /// Kept back until it is whole, because it lists capabilities.
    Capabilities(BytesMut),
    /// Kept back until it is whole, because it refuses what we watch.
    Refusal(BytesMut, Acted),
    /// What the frontend sent on confirming.
    Confirmation(Acted),
    /// How names are written; a copy is kept.
    Namespace(Vec<u8>),
    /// The same in answer to our own question: not for the client.
    ToUs(Vec<u8>),
    /// The end of the answer to our own question.
    Answered,
}

/// Our own question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Question {
    #[default]
    None,
    /// It is to be asked at the next boundary.
    Wanted,
    /// It was sent; the next `* NAMESPACE` answers it, since Cyrus answers in order.
    Asked,
    /// The answer came; its end is still to come.
    Heard,
}

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    client: ClientFramer,
    server: ServerFramer,
    passing: Passing,
    answering: Answering,
    /// The tag of the command that waits for `+` or for its end, to know when it is refused.
    waiting: Option<Box<[u8]>>,
    /// The tag of the command that is passing.
    tag: Option<Box<[u8]>>,
    pending: VecDeque<Pending>,
    /// Commands that have begun and were not answered yet, whatever they are.
    unanswered: u32,
    /// Answers of ours that wait for the end of a reply.
    inject: BytesMut,
    question: Question,
    notices: Vec<Notice>,
    bye: bool,
    /// Refusals for want of the mupdate master pass as they are.
    unmarked: bool,
}

impl Conversation {
    /// `mark`: whether refusals for want of the mupdate master are marked for the client. They are told either way.
    pub(super) fn new(mark: bool) -> Self {
        Self { unmarked: !mark, ..Self::default() }
    }

    /// Whether a `BYE` of ours can be put to the client now without breaking into a reply.
    pub(super) fn between_replies(&self) -> bool {
        self.server.at_boundary()
    }

    /// Whether the client waits for no answer and has not begun a command, as far as we can see.
    pub(super) fn between_commands(&self) -> bool {
        self.client.at_boundary() && self.unanswered == 0 && self.server.at_boundary()
    }

    /// Whether the frontend has said `BYE`.
    pub(super) fn said_bye(&self) -> bool {
        self.bye
    }

    /// What happened since the last time.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        let words = [&self.tag, &self.waiting].into_iter().flatten().map(|word| word.len());
        let pending = self.pending.capacity() * size_of::<Pending>();
        words.sum::<usize>() + pending + self.inject.capacity()
    }

    /// Answers of ours for the client, if they may go now.
    pub(super) fn injected(&mut self) -> Option<BytesMut> {
        (!self.inject.is_empty() && self.server.at_boundary()).then(|| std::mem::take(&mut self.inject))
    }

    /// Somebody wants to know how names are written. A client that asks anyway asks for us too.
    pub(super) fn want_namespace(&mut self) {
        if self.question == Question::None && !self.pending.iter().any(|p| p.acted == Acted::Namespace) {
            self.question = Question::Wanted;
        }
    }

    /// A question of ours for the frontend, if it may go now.
    pub(super) fn question(&mut self) -> Option<&'static [u8]> {
        let now = self.question == Question::Wanted && self.client.at_boundary();
        now.then(|| {
            self.question = Question::Asked;
            QUESTION
        })
    }

    /// Bytes from the client.
    pub(super) fn client_sent(&mut self, chunk: &[u8]) -> Result<Passed, ClientFault> {
        let mut out = Output::new(chunk);
        let mut input = chunk;
        while let Some(event) = self.client.next(&mut input)? {
            match event {
                ClientEvent::Partial => break,
                ClientEvent::Begin { tag, verb } => self.begin(tag, verb),
                ClientEvent::Part { bytes, stop } => {
                    match &mut self.passing {
                        Passing::Refused(_) => out.drop(bytes),
                        Passing::Watched(copy) if copy.len() + bytes.len() <= MAX_WATCHED => {
                            copy.extend_from_slice(bytes);
                            out.pass(bytes);
                        }
                        passing => {
                            *passing = Passing::Unseen;
                            out.pass(bytes);
                        }
                    }
                    self.stopped(stop);
                }
            }
        }
        Ok(out.finish(input.len()))
    }

    fn begin(&mut self, tag: &[u8], verb: Verb) {
        let known = !tag.is_empty() && tag.len() <= MAX_TAG;
        self.tag = known.then(|| tag.into());
        self.passing = match verb {
            // Its bytes could not be followed any more; and what the client was never offered, it has no use for.
            Verb::Compress | Verb::Unauthenticate | Verb::Rlist | Verb::Rlsub | Verb::StartTls if known => {
                let mut refusal = BytesMut::from(tag);
                refusal.extend_from_slice(b" BAD Unrecognized command\r\n");
                Passing::Refused(refusal)
            }
            verb if known && outcome::is_watched(verb) && self.pending.len() < MAX_PENDING => {
                Passing::Watched(Vec::new())
            }
            _ => Passing::Unseen,
        };
        // Without a tag it gets no answer of its own.
        if !tag.is_empty() && !matches!(self.passing, Passing::Refused(_)) {
            self.unanswered = self.unanswered.saturating_add(1);
        }
    }

    fn stopped(&mut self, stop: Stop) {
        match stop {
            Stop::More | Stop::Literal(_) => {}
            Stop::Announced(_) | Stop::Exchange => {
                if let Passing::Refused(refusal) = &mut self.passing {
                    // The literal need not come at all.
                    self.inject.unsplit(std::mem::take(refusal));
                    self.passing = Passing::Unseen;
                    self.client.answered();
                } else {
                    self.waiting.clone_from(&self.tag);
                }
            }
            Stop::Command => {
                self.waiting = None;
                match std::mem::take(&mut self.passing) {
                    Passing::Refused(refusal) => self.inject.unsplit(refusal),
                    Passing::Watched(copy) => self.watch(&copy),
                    Passing::Unseen => {}
                }
                self.tag = None;
            }
        }
    }

    fn watch(&mut self, command: &[u8]) {
        if let Some(Command { tag, body }) = Command::parse(command)
            && let Some(acted) = Acted::of(body)
        {
            self.pending.push_back(Pending { tag: tag.into(), acted });
        }
    }

    /// Bytes from the frontend.
    pub(super) fn server_sent(&mut self, chunk: &[u8]) -> Result<Passed, ServerFault> {
        let mut out = Output::new(chunk);
        let mut input = chunk;
        while let Some(event) = self.server.next(&mut input)? {
            match event {
                ServerEvent::Partial => break,
                ServerEvent::Begin(head) => self.answer(head),
                ServerEvent::Part { bytes, end } => self.answer_part(bytes, end, &mut out),
            }
        }
        Ok(out.finish(input.len()))
    }

    fn answer(&mut self, head: ReplyHead<'_>) {
        self.answering = match head {
            ReplyHead::Continue => {
                self.client.go_ahead();
                Answering::Unseen
            }
            ReplyHead::Data(word) if word.eq_ignore_ascii_case(b"CAPABILITY") => {
                Answering::Capabilities(BytesMut::new())
            }
            ReplyHead::Data(word) if word.eq_ignore_ascii_case(b"NAMESPACE") => {
                if self.question == Question::Asked {
                    self.question = Question::Heard;
                    Answering::ToUs(Vec::new())
                } else {
                    Answering::Namespace(Vec::new())
                }
            }
            ReplyHead::Data(_) => Answering::Unseen,
            ReplyHead::Status { tag: Some(QUESTION_TAG), .. } if self.question != Question::None => {
                self.question = Question::None;
                Answering::Answered
            }
            ReplyHead::Status { tag, condition, code } => {
                self.bye |= condition == Condition::Bye;
                self.unanswered = self.unanswered.saturating_sub(u32::from(tag.is_some()));
                let answered = tag.and_then(|tag| self.answered(tag));
                match (answered, condition) {
                    (Some(acted), Condition::Ok) => Answering::Confirmation(acted),
                    (Some(acted), Condition::No) => Answering::Refusal(BytesMut::new(), acted),
                    _ if code.is_some_and(|code| code.eq_ignore_ascii_case(b"CAPABILITY")) => {
                        Answering::Capabilities(BytesMut::new())
                    }
                    _ => Answering::Unseen,
                }
            }
        };
    }

    fn answered(&mut self, tag: &[u8]) -> Option<Acted> {
        if self.waiting.as_deref() == Some(tag) {
            self.waiting = None;
            self.client.answered();
            self.passing = Passing::Unseen;
        }
        let at = self.pending.iter().position(|pending| *pending.tag == *tag)?;
        let acted = self.pending.remove(at)?.acted;
        if self.pending.is_empty() {
            self.pending = VecDeque::new();
        }
        Some(acted)
    }

    fn answer_part(&mut self, bytes: &[u8], end: bool, out: &mut Output<'_>) {
        match &mut self.answering {
            Answering::Capabilities(kept) | Answering::Refusal(kept, _) => {
                out.drop(bytes);
                kept.extend_from_slice(bytes);
                if kept.len() > MAX_WATCHED {
                    out.put(kept);
                    self.answering = Answering::Unseen;
                }
            }
            Answering::Namespace(copy) => {
                out.pass(bytes);
                if copy.len() + bytes.len() <= MAX_WATCHED {
                    copy.extend_from_slice(bytes);
                }
            }
            Answering::ToUs(copy) => {
                out.drop(bytes);
                if copy.len() + bytes.len() <= MAX_WATCHED {
                    copy.extend_from_slice(bytes);
                }
            }
            Answering::Answered => out.drop(bytes),
            Answering::Unseen | Answering::Confirmation(_) => out.pass(bytes),
        }
        if !end {
            return;
        }
        match std::mem::take(&mut self.answering) {
            Answering::Unseen | Answering::Answered => {}
            Answering::Namespace(reply) | Answering::ToUs(reply) => {
                self.notices.push(Notice::Namespace(reply))
            }
            Answering::Confirmation(Acted::Namespace) => {}
            Answering::Capabilities(reply) => {
                let mut filtered = BytesMut::with_capacity(reply.len());
                CapabilityFilter::after_login().put_reply(&mut filtered, &reply);
                out.put(&filtered);
            }
            Answering::Confirmation(acted) => self.notices.push(Notice::Confirmed(acted)),
            Answering::Refusal(reply, acted) => match outcome::without_master(&reply) {
                Some((marked, text)) => {
                    out.put(if self.unmarked { &reply } else { &marked });
                    self.notices.push(Notice::NoMaster(acted, text));
                }
                None => out.put(&reply),
            },
        }
        if !self.inject.is_empty() {
            out.put(&std::mem::take(&mut self.inject));
        }
    }
}
