//! Carries bytes between a client and its frontend for as long as the session lives.
//!
//! One future for both directions. It reads into a buffer that all sessions of a thread share, and writes from
//! there; only what a peer does not take at once is kept by the session. So an idle session owns no buffers, and
//! a slow peer stops the other one from being read (backpressure).

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conversation::{Conversation, Notice};
use super::output::Passed;
use crate::net::stream::Stream;

/// What is read at a time.
const BUFFER: usize = 64 << 10;

/// Rounds before other sessions of the thread get their turn.
const ROUNDS: usize = 8;

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The client hung up.
    #[error("the client hung up")]
    Client,
    /// The frontend hung up; whether it had said `BYE`.
    #[error("the frontend hung up")]
    Frontend { said_bye: bool },
    /// The client's connection failed.
    #[error("client: {0}")]
    ClientFailed(io::Error),
    /// The frontend's connection failed.
    #[error("frontend: {0}")]
    FrontendFailed(io::Error),
    /// The client sends what cannot be followed.
    #[error("{0}")]
    ClientFault(#[from] ravenry_parsers::imap::ClientFault),
    /// The frontend sends what cannot be followed.
    #[error("{0}")]
    ServerFault(#[from] ravenry_parsers::imap::ServerFault),
}

/// One direction's backlog.
#[derive(Debug, Default)]
struct Backlog {
    /// Bytes that the reader of this direction has not taken yet.
    unsent: BytesMut,
    /// The beginning of a line that cannot be told yet.
    held: Vec<u8>,
    /// What was written may still be in TLS's hands.
    unflushed: bool,
    /// What came before the session began.
    early: BytesMut,
    writer: Writer,
}

/// Whether more can come in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Open,
    /// It has hung up; the other side is to be told once it has everything.
    Ending,
    Ended,
}

/// A session under way.
#[derive(Debug)]
pub(super) struct Relay {
    client: Stream,
    frontend: Stream,
    conversation: Conversation,
    up: Backlog,
    down: Backlog,
    /// Bytes that passed since they were last asked for: to the frontend, to the client.
    passed: (u64, u64),
    /// The client has sent something since the frontend last did.
    waiting: bool,
    /// The frontend has sent something since [`Self::listen`].
    heard: bool,
    traffic: Arc<Traffic>,
}

/// Bytes of all sessions.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    to_frontends: AtomicU64,
    to_clients: AtomicU64,
}

impl Traffic {
    /// So far: to frontends, to clients.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.to_frontends.load(Ordering::Relaxed), self.to_clients.load(Ordering::Relaxed))
    }
}

impl Relay {
    /// `unsent` is what the client still has to be sent; the early bytes are what each side has sent already.
    pub(super) fn new(
        client: (Stream, BytesMut),
        frontend: (Stream, BytesMut),
        unsent: BytesMut,
        conversation: Conversation,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            client: client.0,
            frontend: frontend.0,
            conversation,
            up: Backlog { early: fitted(&client.1), ..Backlog::default() },
            down: Backlog { early: fitted(&frontend.1), unsent, ..Backlog::default() },
            passed: (0, 0),
            waiting: false,
            heard: false,
            traffic,
        }
    }

    /// Carries on until something happened that others should know, or the session ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Notice>, End>> {
        SHARED.with_borrow_mut(|buffer| {
            for _ in 0..ROUNDS {
                if self.up.held.is_empty()
                    && let Some(question) = self.conversation.question()
                {
                    self.up.unsent.extend_from_slice(question);
                }
                let up = self.pump_up(cx, buffer)?;
                let down = self.pump_down(cx, buffer)?;
                let notices = self.conversation.notices();
                if !notices.is_empty() {
                    return Poll::Ready(Ok(notices));
                }
                if up.is_pending() && down.is_pending() {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    /// Has the frontend asked how it writes names to this client; the answer is a notice.
    pub(super) fn want_namespace(&mut self) {
        self.conversation.want_namespace();
    }

    /// Whether the client waits for nothing: a good moment to say goodbye.
    pub(super) fn is_quiet(&self) -> bool {
        self.conversation.between_commands() && self.down.unsent.is_empty() && self.down.held.is_empty()
    }

    /// Bytes since the last call: to the frontend, to the client.
    pub(super) fn take_passed(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.passed)
    }

    /// From here on the frontend has to say something.
    pub(super) fn listen(&mut self) {
        self.heard = false;
    }

    /// Whether the client waits, and the frontend has not said a thing since [`Self::listen`].
    pub(super) fn is_silent(&self) -> bool {
        self.waiting && !self.heard
    }

    /// Whether a line of ours can be put to the client without breaking into a reply.
    pub(super) fn may_speak(&self) -> bool {
        self.conversation.between_replies() && self.down.held.is_empty()
    }

    /// The client's side, to say goodbye, with what it has not been sent yet.
    pub(super) fn into_client(self) -> (Stream, BytesMut) {
        (self.client, self.down.unsent)
    }

    /// `Ready` when something moved, `Pending` when nothing can.
    fn pump_up(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<(), End>> {
        ready!(drain(&mut self.frontend, &mut self.up, cx)).map_err(End::FrontendFailed)?;
        match self.up.writer {
            Writer::Open => {}
            Writer::Ending => {
                // The frontend may still have answers for a client that sends nothing more.
                ready!(Pin::new(&mut self.frontend).poll_shutdown(cx)).map_err(End::FrontendFailed)?;
                self.up.writer = Writer::Ended;
                return Poll::Ready(Ok(()));
            }
            Writer::Ended => return Poll::Pending,
        }
        let length = ready!(read(&mut self.client, &mut self.up, buffer, cx)).map_err(End::ClientFailed)?;
        let Some(chunk) = length.and_then(|length| buffer.get(..length)) else {
            self.up.writer = Writer::Ending;
            return Poll::Ready(Ok(()));
        };
        let passed = self.conversation.client_sent(chunk)?;
        let sent = send(&mut self.frontend, &mut self.up, chunk, passed, cx);
        let sent = sent.map_err(End::FrontendFailed)?;
        self.passed.0 += sent;
        self.traffic.to_frontends.fetch_add(sent, Ordering::Relaxed);
        self.waiting = true;
        if let Some(answers) = self.conversation.injected() {
            self.down.unsent.unsplit(answers);
        }
        Poll::Ready(Ok(()))
    }

    fn pump_down(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<(), End>> {
        ready!(drain(&mut self.client, &mut self.down, cx)).map_err(End::ClientFailed)?;
        let length =
            ready!(read(&mut self.frontend, &mut self.down, buffer, cx)).map_err(End::FrontendFailed)?;
        let Some(chunk) = length.and_then(|length| buffer.get(..length)) else {
            let said_bye = self.conversation.said_bye();
            let end = if self.up.writer == Writer::Open { End::Frontend { said_bye } } else { End::Client };
            return Poll::Ready(Err(end));
        };
        (self.waiting, self.heard) = (false, true);
        let passed = self.conversation.server_sent(chunk)?;
        let sent = send(&mut self.client, &mut self.down, chunk, passed, cx);
        let sent = sent.map_err(End::ClientFailed)?;
        self.passed.1 += sent;
        self.traffic.to_clients.fetch_add(sent, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

/// The same bytes without the room that a login's buffer has for more: a session would keep it for the rest of its life.
fn fitted(bytes: &[u8]) -> BytesMut {
    if bytes.is_empty() { BytesMut::new() } else { BytesMut::from(bytes) }
}

/// Reads behind what was held back; `None` at the end of the stream.
fn read(
    from: &mut Stream,
    backlog: &mut Backlog,
    buffer: &mut [u8],
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<usize>>> {
    let (held, early) = (&mut backlog.held, &mut backlog.early);
    let kept = held.len();
    let Some((front, back)) = buffer.split_at_mut_checked(kept) else {
        return Poll::Ready(Err(io::Error::other("a line's beginning is too long")));
    };
    let length = if early.is_empty() {
        let mut into = ReadBuf::new(back);
        ready!(Pin::new(from).poll_read(cx, &mut into))?;
        into.filled().len()
    } else {
        let length = early.len().min(back.len());
        early.copy_to_slice(back.get_mut(..length).unwrap_or_default());
        if early.is_empty() {
            *early = BytesMut::new();
        }
        length
    };
    front.copy_from_slice(held);
    *held = Vec::new();
    Poll::Ready(Ok((length > 0).then_some(kept + length)))
}

/// Sends what passes of a chunk; what is not taken at once is kept. Answers how much passed.
fn send(
    to: &mut Stream,
    backlog: &mut Backlog,
    chunk: &[u8],
    passed: Passed,
    cx: &mut Context<'_>,
) -> io::Result<u64> {
    let (mut bytes, taken): (&[u8], usize) = match &passed {
        Passed::AsIs(taken) => (chunk.get(..*taken).unwrap_or_default(), *taken),
        Passed::Instead(instead, taken) => (instead, *taken),
    };
    let total = bytes.len() as u64;
    backlog.held = chunk.get(taken..).unwrap_or_default().to_vec();
    if backlog.unsent.is_empty() {
        while !bytes.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Poll::Pending => break,
            }
            backlog.unflushed = true;
        }
    }
    backlog.unsent.extend_from_slice(bytes);
    if let Poll::Ready(flushed) = drain(to, backlog, cx) {
        flushed?;
    }
    Ok(total)
}

/// Writes what is left over; `Ready` when nothing is.
fn drain(to: &mut Stream, backlog: &mut Backlog, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !backlog.unsent.is_empty() {
        match ready!(Pin::new(&mut *to).poll_write(cx, &backlog.unsent))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => backlog.unsent.advance(written),
        }
        backlog.unflushed = true;
    }
    if backlog.unsent.capacity() > 0 {
        backlog.unsent = BytesMut::new();
    }
    if backlog.unflushed {
        ready!(Pin::new(to).poll_flush(cx))?;
        backlog.unflushed = false;
    }
    Poll::Ready(Ok(()))
}
