//! Deliveries out of the queue: the same frontends, the same table.

use std::sync::Arc;

use ravenry_parsers::lmtp::Path;

use super::decide::{Decision, Defer, Heard, Knowledge, decide};
use super::knowledge::Directory;
use super::mailbox::Naming;
use super::upstream::{Begun, Frontends, Purpose, Recipient, Sending};
use crate::authority::master::BoxFuture;
use crate::authority::namespace::Namespace;
use crate::spool::{Attempt, Deliver, Reply, Verdict};

/// Brings queued messages to the frontends.
#[derive(Clone)]
pub struct Replay {
    frontends: Frontends,
    directory: Directory,
}

impl Replay {
    /// Through these frontends.
    pub fn new(frontends: Frontends, namespace: Arc<dyn Namespace>, naming: Naming) -> Self {
        Self { frontends, directory: Directory::new(namespace, naming) }
    }

    async fn attempt(&self, attempt: &Attempt) -> Vec<Heard> {
        let envelope = &attempt.envelope;
        let wanted: Vec<_> =
            attempt.recipients.iter().filter_map(|at| envelope.recipients.get(*at)).collect();
        let to: Vec<Recipient<'_>> = wanted
            .iter()
            .map(|recipient| Recipient {
                address: recipient.address.as_bytes(),
                parameters: recipient.parameters.iter().map(|parameter| parameter.as_bytes()).collect(),
            })
            .collect();
        let sending = Sending {
            sender: envelope.sender.as_bytes(),
            parameters: envelope.parameters.iter().map(|parameter| parameter.as_bytes()).collect(),
            text_follows: true,
        };
        let (mut transaction, mut heard) = match self.frontends.begin(Purpose::Replay, &sending, &to).await {
            Begun::Open(transaction, heard) => (transaction, heard),
            Begun::TooLarge(reply) => return vec![Heard::Reply(reply); to.len()],
            Begun::Nowhere(why) => return vec![Heard::Nothing(why); to.len()],
        };
        if transaction.accepted() == 0 {
            transaction.cancel().await;
            return heard;
        }
        let sent = async {
            transaction.data().await?;
            let mut body = attempt.body.clone();
            while let Some(part) = body.next().await.map_err(|error| format!("the queue's disk: {error}"))? {
                transaction.send(&part).await?;
            }
            Ok(())
        };
        let mut last = match sent.await {
            Ok(()) => transaction.finish().await,
            Err(why) => vec![Heard::Nothing(why); transaction.accepted()],
        }
        .into_iter();
        for heard in &mut heard {
            if matches!(heard, Heard::Reply(reply) if reply.is_positive()) {
                *heard = last.next().unwrap_or_else(|| Heard::Nothing("it answered too little".into()));
            }
        }
        heard
    }

    async fn deliver(&self, attempt: Attempt) -> Vec<Verdict> {
        let heard = self.attempt(&attempt).await;
        let recipients = attempt.recipients.iter().filter_map(|at| attempt.envelope.recipients.get(*at));
        let paths: Vec<Path> =
            recipients.map(|r| Path::new(r.address.as_bytes().to_vec()).unwrap_or_default()).collect();
        let asked: Vec<_> = paths.iter().zip(&heard).collect();
        let known = self.directory.of(&asked).await;
        heard.into_iter().zip(known).map(|(heard, known)| verdict(heard, known)).collect()
    }
}

/// The table again; only that what would be queued, or left to the MTA, stays queued.
fn verdict(heard: Heard, known: Knowledge) -> Verdict {
    let said = match &heard {
        Heard::Reply(reply) => in_spool_form(reply),
        Heard::Nothing(why) => Reply::own(451, [4, 4, 1], why.clone()),
    };
    match decide(heard, known, Defer::Queue) {
        Decision::Pass(reply) if reply.is_positive() => Verdict::Delivered(said),
        Decision::Pass(reply) if reply.is_permanent() => Verdict::Refused(said),
        Decision::Pass(_) | Decision::Queue | Decision::TryLater(_) => Verdict::Deferred(said),
    }
}

pub(super) fn in_spool_form(reply: &ravenry_parsers::lmtp::Reply) -> Reply {
    let enhanced = reply.enhanced().map(|code| [u16::from(code.0), code.1, code.2]);
    let own = enhanced.map(|[class, subject, detail]| format!("{class}.{subject}.{detail}"));
    let lines = reply.lines.iter().map(|line| {
        let text = String::from_utf8_lossy(line).into_owned();
        match own.as_deref().and_then(|own| text.strip_prefix(own)) {
            Some(rest) => rest.trim_start().to_owned(),
            None => text,
        }
    });
    Reply { code: reply.code, enhanced, text: lines.collect::<Vec<_>>().join(" ") }
}

impl Deliver for Replay {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        let replay = self.clone();
        Box::pin(async move { replay.deliver(attempt).await })
    }
}
