//! What passes between a client that has logged in and its frontend: almost everything, as it is. Pure.
//!
//! Bytes come in whatever pieces the network makes of them and go on at once; only a beginning of a line that
//! cannot be told yet is held back, and a reply that may have to be rewritten. What a session costs while it is
//! idle is this struct and nothing on the heap.

use std::collections::VecDeque;

use bytes::BytesMut;
use ravenry_parsers::imap::{
    CapabilityFilter, ClientEvent, ClientFault, ClientFramer, Command, CommandBody, Condition, ReplyHead,
    ServerEvent, ServerFault, ServerFramer, Stop, Verb,
};

use super::outcome::{self, Acted};

/// The longest command or reply that is looked at as a whole; what is longer passes unseen.
const MAX_WATCHED: usize = 16 << 10;

/// The longest tag that is remembered. A command with a longer one passes unseen.
const MAX_TAG: usize = 64;

/// Commands remembered until they are answered.
const MAX_PENDING: usize = 256;

/// Our own question: how the frontend writes names to this client. The tag is one that no client uses.
const QUESTION: &[u8] = b"Ravenry.1 NAMESPACE\r\n";
const QUESTION_TAG: &[u8] = b"Ravenry.1";

/// What a chunk became.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// So many bytes of it pass as they are; what is behind them is held back and to be shown again.
    AsIs(usize),
    /// This passes in place of so many bytes of it; what is behind them is held back.
    Instead(BytesMut, usize),
}

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
    /// Answers of ours that wait for the end of a reply.
    inject: BytesMut,
    question: Question,
    notices: Vec<Notice>,
    bye: bool,
}

impl Conversation {
    /// Whether a `BYE` of ours can be put to the client now without breaking into a reply.
    pub(super) fn between_replies(&self) -> bool {
        self.server.at_boundary()
    }

    /// Whether the client waits for no answer and has not begun a command, as far as we can see.
    pub(super) fn between_commands(&self) -> bool {
        self.client.at_boundary() && self.pending.is_empty() && self.server.at_boundary()
    }

    /// Whether the frontend has said `BYE`.
    pub(super) fn said_bye(&self) -> bool {
        self.bye
    }

    /// What happened since the last time.
    pub(super) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
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
                    out.put(&marked);
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

/// What goes on of a chunk: the chunk itself as long as nothing in it changes.
struct Output<'a> {
    chunk: &'a [u8],
    /// How many bytes of the chunk have been dealt with.
    done: usize,
    changed: Option<BytesMut>,
}

impl<'a> Output<'a> {
    fn new(chunk: &'a [u8]) -> Self {
        Self { chunk, done: 0, changed: None }
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.done += bytes.len();
        if let Some(changed) = &mut self.changed {
            changed.extend_from_slice(bytes);
        }
    }

    fn drop(&mut self, bytes: &[u8]) {
        self.change();
        self.done += bytes.len();
    }

    fn put(&mut self, bytes: &[u8]) {
        self.change().extend_from_slice(bytes);
    }

    fn change(&mut self) -> &mut BytesMut {
        let before = self.chunk.get(..self.done).unwrap_or_default();
        self.changed.get_or_insert_with(|| BytesMut::from(before))
    }

    /// `held`: so many bytes at the end of the chunk are to be shown again.
    fn finish(self, held: usize) -> Passed {
        let taken = self.chunk.len() - held;
        match self.changed {
            None => Passed::AsIs(taken),
            Some(changed) => Passed::Instead(changed, taken),
        }
    }
}

/// What a command does to the list, as far as it is watched.
impl Acted {
    fn of(body: CommandBody<'_>) -> Option<Self> {
        Some(match body {
            CommandBody::Create(name) => Self::Create(name.into_owned()),
            CommandBody::Delete(name) => Self::Delete(name.into_owned()),
            CommandBody::Rename { from, to } => Self::Rename(from.into_owned(), to.into_owned()),
            CommandBody::Acl(name) => Self::Acl(name.into_owned()),
            CommandBody::Enable(words) => {
                let utf8 = words.iter().any(|word| word.to_ascii_uppercase().starts_with(b"UTF8="));
                utf8.then_some(Self::Utf8)?
            }
            CommandBody::Plain(Verb::Namespace) => Self::Namespace,
            CommandBody::Login { .. } | CommandBody::Authenticate { .. } | CommandBody::Plain(_) => {
                return None;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What one side sends, in pieces, and what comes out at the other; pieces held back are shown again.
    fn run<E: std::fmt::Debug>(pieces: &[&[u8]], mut step: impl FnMut(&[u8]) -> Result<Passed, E>) -> String {
        let (mut out, mut held) = (Vec::new(), Vec::new());
        for piece in pieces {
            held.extend_from_slice(piece);
            let (bytes, taken) = match step(&held).unwrap() {
                Passed::AsIs(taken) => (held[..taken].to_vec(), taken),
                Passed::Instead(bytes, taken) => (bytes.to_vec(), taken),
            };
            out.extend_from_slice(&bytes);
            held.drain(..taken);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn client(conversation: &mut Conversation, text: &str) -> String {
        run(&[text.as_bytes()], |chunk| conversation.client_sent(chunk))
    }

    fn server(conversation: &mut Conversation, text: &str) -> String {
        run(&[text.as_bytes()], |chunk| conversation.server_sent(chunk))
    }

    #[test]
    fn what_is_not_ours_passes_as_it_is() {
        let mut conversation = Conversation::default();
        for text in [
            "a NOOP\r\n",
            "a APPEND INBOX {5+}\r\nb COMPRESS DEFLATE\r\n",
            "a FETCH 1 (BODY.PEEK[])\r\nb UID SEARCH RETURN (ALL) 1:*\r\n",
            "a SETACL INBOX bob lrs\r\nc XSOMETHING {3}\r\nabc\r\n",
        ] {
            assert_eq!(client(&mut conversation, text), text);
        }
        for text in [
            "* 1 FETCH (BODY[] {12}\r\na OK [CAPABI)\r\n",
            "x OK done\r\n",
            "* OK Still here {4}\r\n",
            "+ idling\r\n",
        ] {
            assert_eq!(server(&mut conversation, text), text);
        }
    }

    #[test]
    fn compression_is_refused_between_replies_and_never_reaches_the_frontend() {
        let mut conversation = Conversation::default();
        assert_eq!(server(&mut conversation, "* 1 FETCH (BODY[] {4}\r\nab"), "* 1 FETCH (BODY[] {4}\r\nab");
        assert_eq!(client(&mut conversation, "a COMPRESS DEFLATE\r\nb NOOP\r\n"), "b NOOP\r\n");
        assert_eq!(conversation.injected(), None, "not in the middle of a reply");
        assert_eq!(
            server(&mut conversation, "cd)\r\nb OK\r\n"),
            "cd)\r\na BAD Unrecognized command\r\nb OK\r\n"
        );
        assert_eq!(client(&mut conversation, "c rlist \"\" {1}\r\n"), "");
        assert_eq!(conversation.injected().unwrap(), "c BAD Unrecognized command\r\n");
        assert_eq!(client(&mut conversation, "d NOOP\r\n"), "d NOOP\r\n", "the refused literal never came");
    }

    #[test]
    fn confirmed_and_refused_changes_are_noticed() {
        let mut conversation = Conversation::default();
        client(&mut conversation, "a DELETE INBOX.x\r\nb CREATE {7}\r\n");
        server(&mut conversation, "+ go ahead\r\n");
        client(&mut conversation, "INBOX.y\r\nc RENAME \"INBOX.y\" INBOX.z\r\n");
        server(&mut conversation, "a OK Completed\r\n* 3 EXISTS\r\n");
        assert_eq!(
            server(&mut conversation, "b NO no connection to server\r\nc NO Permission denied\r\n"),
            "b NO [UNAVAILABLE] The mail system cannot do this right now, try again later (no connection to \
             server)\r\nc NO Permission denied\r\n"
        );
        let create = Acted::Create(b"INBOX.y".to_vec());
        assert_eq!(
            conversation.notices(),
            [
                Notice::Confirmed(Acted::Delete(b"INBOX.x".to_vec())),
                Notice::NoMaster(create, "no connection to server".into())
            ]
        );
        assert!(conversation.between_commands());
    }

    #[test]
    fn capabilities_lose_what_would_blind_us() {
        let mut conversation = Conversation::default();
        let sent = "* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE\r\na OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] x\r\n";
        assert_eq!(
            server(&mut conversation, sent),
            "* CAPABILITY IMAP4rev1 IDLE\r\na OK [CAPABILITY IMAP4rev1] x\r\n"
        );
    }

    #[test]
    fn an_idle_session_holds_nothing() {
        let mut conversation = Conversation::default();
        client(&mut conversation, "a DELETE INBOX.x\r\nb NOOP\r\n");
        server(&mut conversation, "* CAPABILITY IMAP4rev1\r\na OK\r\nb OK\r\n");
        conversation.notices();
        assert_eq!(conversation.pending.capacity() + conversation.inject.capacity(), 0);
        assert!(conversation.tag.is_none() && conversation.waiting.is_none());
        assert!(size_of::<Conversation>() <= 320, "{}", size_of::<Conversation>());
    }

    fn text(words: Vec<&'static str>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(words), 0..20)
            .prop_map(|words| words.concat().into_bytes())
    }

    proptest! {
        /// In whatever pieces it comes, the same passes.
        #[test]
        fn pieces_make_no_difference(
            sent in text(vec!["a ", "NOOP\r\n", "COMPRESS X\r\n", "DELETE x\r\n", "{2+}\r\n", "IDLE\r\nDONE\r\n", "\r\n", "APPEND "]),
            answered in text(vec![
                "* ", "CAPABILITY COMPRESS=DEFLATE x\r\n", "a ", "NO mupdate\r\n", "OK [CAPABILITY COMPRESS=DEFLATE]\r\n",
                "1 FETCH {3}\r\n", "+ go\r\n", "\r\n",
            ]),
            size in 1usize..9,
        ) {
            let mut whole = Conversation::default();
            let mut cut = Conversation::default();
            let pieces: Vec<&[u8]> = sent.chunks(size).collect();
            prop_assert_eq!(
                run(&[&sent], |chunk| whole.client_sent(chunk)),
                run(&pieces, |chunk| cut.client_sent(chunk))
            );
            let pieces: Vec<&[u8]> = answered.chunks(size).collect();
            prop_assert_eq!(
                run(&[&answered], |chunk| whole.server_sent(chunk)),
                run(&pieces, |chunk| cut.server_sent(chunk))
            );
            prop_assert_eq!(whole.notices(), cut.notices());
        }
    }
}
