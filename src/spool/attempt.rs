//! One attempt from its beginning to its end: read, try, decide what it means, tell the sender, write it down.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use tokio::sync::Semaphore;

use super::progress::Fate;
use super::replay::Event;
use super::report::{self, Failure, MAX_RETURNED};
use super::schedule::Outcome;
use super::writer::Change;
use super::{
    Attempt, Body, Deliver, Destination, Handle, Message, Options, Protocol, QueueId, Reply, Route, Spool,
    SpoolError, StoredBody, Verdict,
};
use crate::failpoint;
use crate::list::MailboxName;
use crate::net::live::Live;
use crate::rules::{Rule, kept};
use crate::telemetry::metric::Metric;

/// Whoever brings messages away, and who knows where to.
#[derive(Clone)]
pub struct Ways {
    /// To backends, through the frontends.
    pub backends: Arc<dyn Deliver>,
    /// To the submission host, where one is configured.
    pub submission: Option<Arc<dyn Deliver>>,
    /// Which server holds a mailbox.
    pub route: Route,
}

/// Everything that an attempt needs.
pub(super) struct Courier {
    pub(super) ways: Ways,
    pub(super) options: Live<Options>,
    /// Attempts whose outcome may be on its way to the disk.
    pub(super) settling: Semaphore,
}

/// So many at a time.
pub(super) const SETTLING: usize = 1024;

/// How an attempt ended, and where else recipients of the message were found to be.
pub(super) struct Done {
    pub(super) outcome: Outcome,
    pub(super) elsewhere: Vec<(Destination, u32)>,
}

impl From<Outcome> for Done {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, elsewhere: Vec::new() }
    }
}

impl Courier {
    pub(super) fn destination(&self, mailbox: Option<&MailboxName>) -> Destination {
        mailbox.and_then(|name| (self.ways.route)(name)).map_or(Destination::Unlisted, Destination::Backend)
    }

    fn destination_of(&self, message: &Message, recipient: usize) -> Destination {
        match message.envelope.protocol {
            Protocol::Report => Destination::Submission,
            _ => self.destination(
                message.envelope.recipients.get(recipient).and_then(|recipient| recipient.mailbox.as_ref()),
            ),
        }
    }

    fn waiting(message: &Message) -> impl Iterator<Item = usize> {
        message
            .progress
            .fates
            .iter()
            .enumerate()
            .filter_map(|(at, fate)| matches!(fate, Fate::Waiting(_)).then_some(at))
    }

    /// Where a message still has to go.
    pub(super) fn destinations(&self, message: &Message) -> BTreeSet<Destination> {
        Self::waiting(message).map(|at| self.destination_of(message, at)).collect()
    }

    /// Makes an attempt, or without one gives the message up at this destination.
    pub(super) async fn make(
        &self,
        id: QueueId,
        destination: &Destination,
        expired: bool,
        now: u64,
        handle: &Weak<Handle>,
    ) -> Done {
        let Some(handle) = handle.upgrade() else { return Outcome::Untried.into() };
        let spool = Spool { handle };
        let reading = {
            let shared = spool.handle.shared.clone();
            tokio::task::spawn_blocking(move || shared.message_with_text(id))
        };
        let (message, text) = match reading.await.unwrap_or(Err(SpoolError::Closed)) {
            Ok(read) => read,
            Err(SpoolError::NotFound(_)) => return Outcome::Gone.into(),
            Err(SpoolError::Damaged(why)) => {
                let kept = spool.change(id, Change::Damaged(why)).await;
                return if kept.is_ok() { Outcome::Gone } else { Outcome::Untried }.into();
            }
            Err(error) => {
                tracing::warn!(%id, %error, "a queued message cannot be read now");
                return Outcome::Untried.into();
            }
        };
        if message.progress.held {
            return Outcome::Gone.into();
        }
        let (mine, others): (Vec<_>, Vec<_>) =
            Self::waiting(&message).partition(|at| self.destination_of(&message, *at) == *destination);
        let elsewhere =
            others.into_iter().map(|at| self.destination_of(&message, at)).collect::<BTreeSet<_>>();
        let elsewhere = elsewhere.into_iter().map(|to| (to, message.progress.attempts)).collect();
        if mine.is_empty() {
            return Done { outcome: Outcome::Gone, elsewhere };
        }
        let verdicts = match expired {
            true => vec![Verdict::Deferred(no_way(destination)); mine.len()],
            false => self.verdicts(&message, &text, &mine, destination).await,
        };
        let outcome = outcome(&verdicts);
        let too_old = expired || now >= id.queued_unix_ms().saturating_add(self.options.get().policy.expiry);
        let fates = self.fates(&spool, &message, &text, destination, mine, verdicts, too_old, now).await;
        let left = fates.iter().any(|(_, fate)| matches!(fate, Fate::Waiting(_)));
        failpoint::reached("spool.replay.before-settle");
        let attempt_unix_ms = left.then_some(now);
        // As long as the disk keeps up, another message may have this one's place meanwhile.
        let room = self.settling.acquire().await;
        if !left && room.is_ok() {
            spool.tell(Event::Settling(id, destination.clone()));
        }
        match spool.change(id, Change::Fates { fates, attempt_unix_ms }).await {
            Ok(_) => {}
            // The writer never heard of it. What was delivered is delivered once more: harmless, it has a Message-ID.
            Err(error @ SpoolError::Busy) => {
                tracing::warn!(%id, %error, "what became of a message is not known to the queue: it is tried again");
                return Done { outcome: Outcome::Deferred, elsewhere };
            }
            // It is remembered, and written down when the disk takes it.
            Err(error) => tracing::warn!(%id, %error, "what became of a message is not durable yet"),
        }
        failpoint::reached("spool.replay.settled");
        Done { outcome: if left { outcome } else { Outcome::Settled }, elsewhere }
    }

    /// What a server says, or what is said in its place.
    async fn verdicts(
        &self,
        message: &Message,
        text: &StoredBody,
        recipients: &[usize],
        destination: &Destination,
    ) -> Vec<Verdict> {
        let deferred = |why: &str| {
            let reply = Reply::own(451, [4, 4, 1], why);
            vec![Verdict::Deferred(reply); recipients.len()]
        };
        let way = match destination {
            Destination::Submission => self.ways.submission.as_ref(),
            _ => Some(&self.ways.backends),
        };
        let Some(way) = way else { return deferred("no submission host is configured") };
        failpoint::reached("spool.replay.before-attempt");
        let attempt = Attempt {
            id: message.id,
            envelope: message.envelope.clone(),
            recipients: recipients.to_vec(),
            destination: destination.clone(),
            body: text.clone(),
        };
        let verdicts = match tokio::time::timeout(self.options.get().patience, way.deliver(attempt)).await {
            Ok(verdicts) if verdicts.len() == recipients.len() => verdicts,
            Ok(_) => deferred("the attempt had no clear outcome"),
            Err(_) => deferred("the attempt took too long"),
        };
        failpoint::reached("spool.replay.after-attempt");
        verdicts
    }

    /// What the verdicts mean. A sender is told here, durably, before anything says that it was told.
    #[allow(clippy::too_many_arguments, reason = "the parts of one attempt, used nowhere else")]
    async fn fates(
        &self,
        spool: &Spool,
        message: &Message,
        text: &StoredBody,
        destination: &Destination,
        recipients: Vec<usize>,
        verdicts: Vec<Verdict>,
        too_old: bool,
        now: u64,
    ) -> Vec<(usize, Fate)> {
        let (mut fates, mut refused) = (Vec::new(), Vec::new());
        for (at, verdict) in recipients.into_iter().zip(verdicts) {
            let Some(recipient) = message.envelope.recipients.get(at) else { continue };
            let expires = too_old && matches!(verdict, Verdict::Deferred(_));
            let word = match &verdict {
                Verdict::Delivered(_) => "delivered",
                Verdict::Deferred(_) if expires => "expired",
                Verdict::Deferred(_) => "deferred",
                Verdict::Refused(_) => "refused",
            };
            Metric::QueueDeliveries.count_for(&[("outcome", word)], 1);
            let id = message.id;
            tracing::info!(
                %id, to = ?recipient.address, %destination, outcome = word, reply = %verdict.reply(), "tried"
            );
            match verdict {
                Verdict::Delivered(_) => fates.push((at, Fate::Delivered)),
                Verdict::Deferred(reply) if !expires => fates.push((at, Fate::Waiting(Some(reply)))),
                Verdict::Deferred(reply) => refused.push((at, recipient, gave_up(&reply))),
                Verdict::Refused(reply) => refused.push((at, recipient, reply)),
            }
        }
        let (wanted, silent): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|(_, recipient, _)| report::is_wanted(recipient));
        fates.extend(silent.into_iter().map(|(at, ..)| (at, Fate::Returned)));
        if wanted.is_empty() {
            return fates;
        }
        let failures: Vec<_> =
            wanted.iter().map(|(_, recipient, reply)| Failure { recipient, reply, destination }).collect();
        let told = self.tell(spool, message, text, &failures, now).await;
        fates.extend(wanted.iter().map(|(at, _, reply)| {
            let fate = match &told {
                Ok(true) => Fate::Returned,
                Ok(false) if kept(Rule::OursAfterAcceptance) => Fate::Failed(reply.clone()),
                Ok(false) => Fate::Returned,
                Err(_) => Fate::Waiting(Some(reply.clone())),
            };
            (*at, fate)
        }));
        fates
    }

    /// Queues a report. Answers whether there is anybody who can be told.
    async fn tell(
        &self,
        spool: &Spool,
        message: &Message,
        text: &StoredBody,
        failures: &[Failure<'_>],
        now: u64,
    ) -> Result<bool, SpoolError> {
        let id = message.id;
        if message.envelope.sender.is_null() || self.ways.submission.is_none() {
            tracing::warn!(%id, "undeliverable, and nobody can be told: kept for a person");
            return Ok(false);
        }
        let mut original = Vec::new();
        let mut reader = text.clone();
        while original.len() as u64 <= MAX_RETURNED
            && let Some(part) =
                reader.next().await.map_err(|error| SpoolError::disk(format!("reading {id}"), &error))?
        {
            original.extend_from_slice(&part);
        }
        let text = report::text(&self.options.get().reporter, message, failures, &original, now);
        let queued =
            spool.enqueue_report(report::envelope(&message.envelope, now), Body::in_memory(text)).await;
        match &queued {
            Ok(report) => {
                Metric::QueueReports.count(1);
                tracing::info!(%id, %report, recipients = failures.len(), "the sender is told");
            }
            Err(error) => tracing::warn!(%id, %error, "a report cannot be queued now"),
        }
        failpoint::reached("spool.report.queued");
        queued.map(|_| true)
    }
}

fn no_way(destination: &Destination) -> Reply {
    Reply::own(451, [4, 4, 1], format!("{destination} cannot be reached"))
}

/// What is said of a message that was kept as long as it may be.
fn gave_up(last: &Reply) -> Reply {
    Reply::own(550, [5, 4, 7], format!("kept too long without success; at last: {last}"))
}

fn outcome(verdicts: &[Verdict]) -> Outcome {
    let about_destination =
        |verdict: &Verdict| matches!(verdict, Verdict::Deferred(reply) if reply.is_about_the_destination());
    if verdicts.iter().all(about_destination) {
        Outcome::Unreachable
    } else if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Deferred(_))) {
        Outcome::Deferred
    } else {
        Outcome::Settled
    }
}
