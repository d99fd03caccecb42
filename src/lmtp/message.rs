//! One message: its recipients as they come, its text, and one reply for each recipient that was accepted.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ravenry_parsers::lmtp::{DataDecoder, DataEvent, Parameters, Path, Reply};
use tokio::time::Instant;

use super::decide::{Decision, Heard, Knowledge, decide};
use super::knowledge::Directory;
use super::tally::{Outcome, Tally};
use super::upstream::{Begun, Frontends, Purpose, Recipient, Sending, Transaction};
use super::wire::Wire;
use super::{FaceConfig, Hangup};
use crate::spool::{self, Address, BodyWriter, Envelope, Protocol, Spool, SpoolError, Stamp, Trace};

/// How long a message may take at least, and the pace that it must have beyond that, in bytes per second: otherwise a
/// byte every other minute would keep a frontend's process busy for ever.
const LEAST_TIME: Duration = Duration::from_secs(600);
const LEAST_PACE: u64 = 16 << 10;

/// What messages of a session share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) config: Arc<FaceConfig>,
    pub(super) frontends: Frontends,
    pub(super) directory: Directory,
    pub(super) spool: Spool,
    pub(super) tally: Tally,
}

/// Where a message came from.
pub(super) struct Origin<'a> {
    pub(super) greeted_as: &'a str,
    pub(super) peer: &'a str,
    pub(super) protocol: Protocol,
}

/// A recipient that was answered 250.
struct Taken {
    path: Path,
    parameters: Parameters,
    /// The frontend has taken it, too, and will answer for it; if not, it is to be queued.
    at_frontend: bool,
}

/// Where the message goes while it comes in.
enum Way {
    /// No frontend was asked yet.
    NotYet,
    /// To this one.
    Open(Box<Transaction>),
    /// To none: why.
    Nowhere(String),
    /// It is too large for the frontends, one of them said.
    TooLarge(Reply),
}

/// A message, from MAIL on.
pub(super) struct Message {
    context: Context,
    sender: Path,
    parameters: Parameters,
    declared: u64,
    taken: Vec<Taken>,
    way: Way,
}

impl Message {
    pub(super) fn new(context: Context, sender: Path, parameters: Parameters, declared: u64) -> Self {
        Self { context, sender, parameters, declared, taken: Vec::new(), way: Way::NotYet }
    }

    /// Recipients that were answered 250.
    pub(super) fn accepted(&self) -> usize {
        self.taken.len()
    }

    /// Takes more recipients: one reply for each, in order. Whether the client has said DATA behind them already.
    pub(super) async fn offer(
        &mut self,
        recipients: Vec<(Path, Parameters)>,
        text_follows: bool,
    ) -> Vec<Reply> {
        let heard = self.ask_frontend(&recipients, text_follows).await;
        let asked: Vec<_> = recipients.iter().map(|(path, _)| path).zip(&heard).collect();
        let known = self.context.directory.of(&asked).await;
        let mut replies = Vec::with_capacity(recipients.len());
        for (((path, parameters), heard), known) in recipients.into_iter().zip(heard).zip(known) {
            let reply = match self.room_to_queue(decide(heard, known, self.context.config.defer)) {
                Ok(at_frontend) => {
                    self.taken.push(Taken { path, parameters, at_frontend });
                    Reply::new(250, "2.1.5 ok")
                }
                Err(reply) => {
                    self.context.tally.count_no(&reply);
                    reply
                }
            };
            replies.push(reply);
        }
        replies
    }

    /// Whether a recipient is accepted, and then whether a frontend has it; else what it is answered.
    fn room_to_queue(&self, decision: Decision) -> Result<bool, Reply> {
        match decision {
            Decision::Pass(reply) if reply.is_positive() => Ok(true),
            Decision::Pass(reply) => Err(reply),
            Decision::Queue => match self.context.spool.admits(self.declared) {
                Ok(()) => Ok(false),
                Err(error) => Err(own(&error.reply())),
            },
            Decision::TryLater(why) => Err(try_later(&why)),
        }
    }

    async fn ask_frontend(&mut self, recipients: &[(Path, Parameters)], text_follows: bool) -> Vec<Heard> {
        let to: Vec<Recipient<'_>> = recipients
            .iter()
            .map(|(path, parameters)| Recipient { address: path.as_bytes(), parameters: words(parameters) })
            .collect();
        if matches!(self.way, Way::NotYet) {
            let sending =
                Sending { sender: self.sender.as_bytes(), parameters: words(&self.parameters), text_follows };
            match self.context.frontends.begin(Purpose::Fresh, &sending, &to).await {
                Begun::Open(transaction, heard) => {
                    self.way = Way::Open(transaction);
                    return heard;
                }
                Begun::TooLarge(reply) => self.way = Way::TooLarge(reply),
                Begun::Nowhere(why) => self.way = Way::Nowhere(why),
            }
        }
        let heard = match &mut self.way {
            Way::Open(transaction) => match transaction.more(&to).await {
                Ok(heard) => return heard,
                Err(why) => {
                    let heard = Heard::Nothing(why.clone());
                    self.way = Way::Nowhere(why);
                    heard
                }
            },
            Way::Nowhere(why) => Heard::Nothing(why.clone()),
            Way::TooLarge(reply) => Heard::Reply(reply.clone()),
            Way::NotYet => Heard::Nothing("no frontend was asked".into()),
        };
        vec![heard; recipients.len()]
    }

    /// DATA: takes the text and answers for every recipient that was accepted. An error ends the connection, and
    /// then the message is nobody's but the client's.
    pub(super) async fn take(mut self, wire: &mut Wire, origin: Origin<'_>) -> Result<(), Hangup> {
        self.open_data().await;
        let arrival_unix_ms = unix_ms();
        let mut text = Text::new(&self, &origin, arrival_unix_ms);
        wire.say(354, "go ahead").await?;
        wire.flush().await?;
        let (started, mut decoder) = (Instant::now(), DataDecoder::default());
        loop {
            match wire.buffered_data(&mut decoder) {
                Some(DataEvent::Chunk(chunk)) => text.push(&chunk, &mut self).await,
                Some(DataEvent::End) => break,
                None => {
                    if started.elapsed() > LEAST_TIME + Duration::from_secs(text.taken / LEAST_PACE) {
                        return Err(Hangup::Slow);
                    }
                    wire.fill_data(self.context.config.data_timeout).await?;
                }
            }
        }
        let tally = self.context.tally.clone();
        for (reply, outcome) in self.conclude(text, origin, arrival_unix_ms).await {
            tally.count(outcome);
            wire.reply(&reply).await?;
        }
        wire.flush().await
    }

    async fn open_data(&mut self) {
        let wanted = self.taken.iter().any(|taken| taken.at_frontend);
        let begun = match &mut self.way {
            Way::Open(transaction) if wanted => transaction.data().await,
            _ => Ok(()),
        };
        if let Err(why) = begun {
            self.way = Way::Nowhere(why);
        } else if !wanted {
            self.cancel("the frontend took no recipient").await;
        }
    }

    /// The frontend is to have no more of it.
    async fn cancel(&mut self, why: &str) {
        if let Way::Open(transaction) = std::mem::replace(&mut self.way, Way::Nowhere(why.to_owned())) {
            transaction.cancel().await;
        }
    }

    /// What the frontend says in the end, what is queued, and so what every recipient is answered.
    async fn conclude(
        mut self,
        text: Text,
        origin: Origin<'_>,
        arrival_unix_ms: u64,
    ) -> Vec<(Reply, Outcome)> {
        let text = match text.finish(&mut self).await {
            Ok(text) => text,
            Err(too_large) => return vec![(too_large, Outcome::Answered(552)); self.taken.len()],
        };
        let at_frontend = self.taken.iter().filter(|taken| taken.at_frontend).count();
        let mut heard = match std::mem::replace(&mut self.way, Way::NotYet) {
            Way::Open(transaction) => transaction.finish().await,
            Way::Nowhere(why) => vec![Heard::Nothing(why); at_frontend],
            Way::TooLarge(reply) => vec![Heard::Reply(reply); at_frontend],
            Way::NotYet => Vec::new(),
        }
        .into_iter();
        let mut decisions = Vec::with_capacity(self.taken.len());
        for taken in &self.taken {
            decisions.push(if taken.at_frontend {
                let heard = heard.next().unwrap_or_else(|| Heard::Nothing("it answered too little".into()));
                let instead = match &heard {
                    Heard::Reply(reply) => Some(reply.clone()),
                    Heard::Nothing(_) => None,
                };
                // A frontend accepted it at RCPT: so it is known.
                (decide(heard, Knowledge::Known, self.context.config.defer), instead)
            } else {
                (Decision::Queue, None)
            });
        }
        self.tell_queue(&decisions);
        let queued = self.enqueue(&decisions, text, origin, arrival_unix_ms).await;
        decisions
            .into_iter()
            .map(|(decision, instead)| {
                let reply = match (decision, &queued) {
                    (Decision::Pass(reply), _) if reply.is_positive() => return (reply, Outcome::Delivered),
                    (Decision::Queue, Ok(reply)) => return (reply.clone(), Outcome::Queued),
                    (Decision::Pass(reply), _) => reply,
                    (Decision::TryLater(why), _) => try_later(&why),
                    // What cannot be kept goes back with the frontend's own words, where they say "later".
                    (Decision::Queue, Err(error)) => {
                        instead.filter(Reply::is_temporary).unwrap_or_else(|| own(&error.reply()))
                    }
                };
                let code = reply.code;
                (reply, Outcome::Answered(code))
            })
            .collect()
    }

    /// Where new mail is taken, old mail is taken, too.
    fn tell_queue(&self, decisions: &[(Decision, Option<Reply>)]) {
        let spool = &self.context.spool;
        if spool.is_empty() {
            return;
        }
        for (taken, (decision, _)) in self.taken.iter().zip(decisions) {
            if matches!(decision, Decision::Pass(reply) if reply.is_positive())
                && let Some(mailbox) = self.context.directory.target(&taken.path).name()
            {
                spool.reached(mailbox);
            }
        }
    }

    async fn enqueue(
        &self,
        decisions: &[(Decision, Option<Reply>)],
        text: Copy,
        origin: Origin<'_>,
        arrival_unix_ms: u64,
    ) -> Result<Reply, SpoolError> {
        let ours = self.taken.iter().zip(decisions).filter(|(_, (decision, _))| *decision == Decision::Queue);
        let invalid = |error: spool::AddressError| SpoolError::Damaged(error.to_string().into());
        let mut recipients = Vec::new();
        for (taken, _) in ours {
            recipients.push(spool::Recipient {
                address: Address::new(taken.path.mailbox().to_vec()).map_err(invalid)?,
                parameters: parameters(&taken.parameters).map_err(invalid)?,
                mailbox: self.context.directory.target(&taken.path).name().cloned(),
            });
        }
        if recipients.is_empty() {
            return Ok(Reply::new(250, "2.0.0 ok"));
        }
        let text = match text {
            Copy::Kept(text) => text,
            Copy::Lost(error) => return Err(error),
            Copy::Unwanted => return Err(SpoolError::Disk("no copy of the message was kept".into())),
        };
        let count = recipients.len();
        let envelope = Envelope {
            sender: Address::new(self.sender.as_bytes().to_vec()).map_err(invalid)?,
            parameters: parameters(&self.parameters).map_err(invalid)?,
            recipients,
            arrival_unix_ms,
            peer: origin.peer.to_owned(),
            protocol: origin.protocol,
        };
        match self.context.spool.enqueue(envelope, text.finish()).await {
            Ok(id) => {
                tracing::info!(%id, recipients = count, "a message is queued");
                Ok(Reply::new(250, &format!("2.0.0 Queued as {id}")))
            }
            Err(error) => {
                tracing::error!(%error, recipients = count, "a message cannot be queued");
                Err(error)
            }
        }
    }

    /// RSET, or the end of the session.
    pub(super) async fn forget(mut self) {
        self.cancel("forgotten").await;
    }
}

/// What may be queued.
enum Copy {
    /// Nothing is queued, or nobody is to get the message.
    Unwanted,
    Kept(BodyWriter),
    /// Why it could not be kept.
    Lost(SpoolError),
}

/// The text while it comes in: stamped, copied, sent on.
struct Text {
    stamp: Option<Stamp>,
    copy: Copy,
    stamped: Vec<u8>,
    /// Bytes that the client sent.
    taken: u64,
    max: u64,
}

impl Text {
    fn new(message: &Message, origin: &Origin<'_>, arrival_unix_ms: u64) -> Self {
        let config = &message.context.config;
        let trace = Trace {
            greeted_as: origin.greeted_as,
            peer: origin.peer,
            host: &config.servername,
            protocol: origin.protocol,
            arrival_unix_ms,
        };
        let wanted = config.defer == super::decide::Defer::Queue;
        let copy = match wanted {
            true => Copy::Kept(message.context.spool.incoming().begin()),
            false => Copy::Unwanted,
        };
        Self { stamp: Some(Stamp::new(&trace)), copy, stamped: Vec::new(), taken: 0, max: config.max_message }
    }

    fn is_too_large(&self) -> bool {
        self.taken > self.max
    }

    async fn push(&mut self, chunk: &[u8], message: &mut Message) {
        self.taken += chunk.len() as u64;
        if self.is_too_large() {
            // The rest is read and thrown away; an unfinished transaction is closed, and delivers nothing.
            self.copy = Copy::Unwanted;
            message.way = Way::Nowhere("the message is too large".into());
            return;
        }
        if let Some(stamp) = &mut self.stamp {
            stamp.push(chunk, &mut self.stamped);
        }
        self.spread(message).await;
    }

    async fn spread(&mut self, message: &mut Message) {
        if let Copy::Kept(copy) = &mut self.copy
            && let Err(error) = copy.write(&self.stamped)
        {
            tracing::error!(%error, "no copy of a message can be kept: it is only passed on");
            self.copy = Copy::Lost(message.context.spool.lost(copy, &error));
        }
        if let Way::Open(transaction) = &mut message.way
            && let Err(why) = transaction.send(&self.stamped).await
        {
            message.way = Way::Nowhere(why);
        }
        self.stamped.clear();
    }

    /// The copy, or what a message that is too large is answered.
    async fn finish(mut self, message: &mut Message) -> Result<Copy, Reply> {
        if self.is_too_large() {
            let text = format!("5.3.4 Message size exceeds fixed limit ({})", self.max);
            return Err(Reply::new(552, &text));
        }
        if let Some(stamp) = self.stamp.take() {
            stamp.finish(&mut self.stamped);
        }
        self.spread(message).await;
        Ok(self.copy)
    }
}

fn words(parameters: &Parameters) -> Vec<&[u8]> {
    parameters.as_bytes().split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect()
}

fn parameters(all: &Parameters) -> Result<Vec<spool::Parameter>, spool::AddressError> {
    words(all).into_iter().map(|word| spool::Parameter::new(word.to_vec())).collect()
}

fn try_later(why: &str) -> Reply {
    Reply::new(451, &format!("4.4.3 {why}"))
}

/// A reply in the spool's form for the wire.
fn own(reply: &spool::Reply) -> Reply {
    Reply::new(reply.code, reply.to_string().split_once(' ').map_or("", |(_, text)| text))
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
