//! The queue of deliveries.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::super::deliveries::server_of;
use super::{Desk, in_json};
use crate::admin::queue::{
    Chunk, ExportedEnvelope, ExportedRecipient, QueueAsk, QueueCount, QueueDestination, QueueSummary, Queued,
    QueuedFate, QueuedRecipient, SHOWN,
};
use crate::admin::server::{Replies, Session, Upload};
use crate::list::Text;
use crate::spool::{
    Address, Destination, Envelope, Fate, Message, Parameter, Protocol, QueueId, Recipient, Spool, SpoolError,
};

/// Messages that are read at once.
const PAGE: usize = 256;
/// Bytes of text in one item.
const CHUNK: usize = 48 << 10;
/// The longest envelope that is taken in.
const MAX_ENVELOPE: u64 = 64 << 20;

pub(super) async fn attend(desk: &Desk, ask: QueueAsk, session: Session) -> Result<Value, String> {
    let spool = desk.spool().ok_or("no [lmtp] is configured: there is no queue")?;
    match ask {
        QueueAsk::List => in_json(list(desk, spool, &session.replies).await?),
        QueueAsk::Show { id } => in_json(show(desk, spool, number(&id)?, &session.replies).await?),
        QueueAsk::Cat { id } => {
            let id = number(&id)?;
            let (_, mut text) = off_thread(spool, move |spool| spool.message_with_text(id)).await?;
            while let Some(part) = text.next().await.map_err(|error| error.to_string())? {
                send(&session.replies, &part).await?;
            }
            Ok(Value::Null)
        }
        QueueAsk::Envelope { id } => {
            let id = number(&id)?;
            let message = off_thread(spool, move |spool| spool.message(id)).await?;
            let envelope =
                serde_json::to_vec_pretty(&exported(&message)).map_err(|error| error.to_string())?;
            send(&session.replies, &envelope).await?;
            Ok(Value::Null)
        }
        QueueAsk::Hold { ids } => each(spool, ids, &session.replies, Act::Hold).await,
        QueueAsk::Release { ids } => each(spool, ids, &session.replies, Act::Release).await,
        QueueAsk::Delete { ids } => each(spool, ids, &session.replies, Act::Delete).await,
        QueueAsk::Retry { ids } if ids.is_empty() => {
            spool.retry_all();
            in_json(QueueCount { messages: spool.stats().messages })
        }
        QueueAsk::Retry { ids } => each(spool, ids, &session.replies, Act::Retry).await,
        QueueAsk::Import { envelope, text } => import(spool, envelope, text, session.upload).await,
    }
}

fn number(id: &str) -> Result<QueueId, String> {
    id.parse().map_err(|error: crate::spool::NoQueueId| error.to_string())
}

async fn off_thread<T: Send + 'static>(
    spool: &Spool,
    read: impl FnOnce(&Spool) -> Result<T, SpoolError> + Send + 'static,
) -> Result<T, String> {
    let spool = spool.clone();
    let done = tokio::task::spawn_blocking(move || read(&spool)).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

async fn send(replies: &Replies, bytes: &[u8]) -> Result<(), String> {
    for part in bytes.chunks(CHUNK) {
        replies.item(&Chunk { base64: BASE64.encode(part) }).await?;
    }
    Ok(())
}

/// What is done to a message.
#[derive(Clone, Copy)]
enum Act {
    Hold,
    Release,
    Retry,
    Delete,
}

impl Act {
    async fn on(self, spool: &Spool, id: QueueId) -> Result<(), SpoolError> {
        match self {
            Self::Hold => spool.hold(id).await,
            Self::Release => spool.release(id).await,
            Self::Retry => spool.retry(id),
            Self::Delete => spool.delete(id).await,
        }
    }
}

/// Does something to some messages, or to all.
async fn each(spool: &Spool, ids: Vec<String>, replies: &Replies, act: Act) -> Result<Value, String> {
    let mut count = 0;
    if ids.is_empty() {
        let mut last = None;
        loop {
            let page = spool.ids_after(last, PAGE);
            let Some(end) = page.last() else { break };
            last = Some(*end);
            for id in page {
                match act.on(spool, id).await {
                    Ok(()) => count += 1,
                    // Delivered meanwhile.
                    Err(SpoolError::NotFound(_)) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
            replies.progress("messages", count, None);
        }
    }
    for id in ids {
        act.on(spool, number(&id)?).await.map_err(|error| error.to_string())?;
        count += 1;
    }
    in_json(QueueCount { messages: count })
}

async fn list(desk: &Desk, spool: &Spool, replies: &Replies) -> Result<QueueSummary, String> {
    let mut last = None;
    loop {
        let page = spool.ids_after(last, PAGE);
        let Some(end) = page.last() else { break };
        last = Some(*end);
        let read = off_thread(spool, move |spool| {
            // Delivered meanwhile, or damaged: the next attempt keeps it aside.
            Ok(page.into_iter().filter_map(|id| spool.message(id).ok()).collect::<Vec<_>>())
        });
        for message in read.await? {
            replies.item(&queued(desk, &message)).await?;
        }
    }
    let stats = spool.stats();
    let destinations = spool.lanes().await.into_iter().map(|lane| QueueDestination {
        name: lane.destination.to_string(),
        ready: lane.ready as u64,
        later: lane.later as u64,
        running: lane.running as u64,
        unreachable: lane.open,
    });
    Ok(QueueSummary { messages: stats.messages, bytes: stats.bytes, destinations: destinations.collect() })
}

async fn show(desk: &Desk, spool: &Spool, id: QueueId, replies: &Replies) -> Result<Queued, String> {
    let message = off_thread(spool, move |spool| spool.message(id)).await?;
    for at in 0..message.envelope.recipients.len() {
        if let Some(recipient) = recipient(desk, &message, at) {
            replies.item(&recipient).await?;
        }
    }
    Ok(queued(desk, &message))
}

fn queued(desk: &Desk, message: &Message) -> Queued {
    let Message { id, envelope, progress, len } = message;
    let is_open = |at: &usize| progress.fates.get(*at).is_some_and(Fate::is_open);
    let open = (0..envelope.recipients.len()).filter(is_open).take(SHOWN);
    Queued {
        id: id.to_string(),
        arrival: envelope.arrival_unix_ms / 1000,
        queued: id.queued_unix_ms() / 1000,
        size: *len,
        sender: Text::new(envelope.sender.as_bytes()),
        peer: envelope.peer.clone(),
        protocol: envelope.protocol.word().into(),
        held: progress.held,
        attempts: progress.attempts,
        last_attempt: Some(progress.last_attempt_unix_ms / 1000).filter(|at| *at > 0),
        last_error: progress.last_error().map(ToString::to_string),
        recipients: envelope.recipients.len() as u64,
        open: open.filter_map(|at| recipient(desk, message, at)).collect(),
    }
}

fn recipient(desk: &Desk, message: &Message, at: usize) -> Option<QueuedRecipient> {
    let recipient = message.envelope.recipients.get(at)?;
    let (fate, reply) = match message.progress.fates.get(at)? {
        Fate::Waiting(reply) => (QueuedFate::Waiting, reply.as_ref()),
        Fate::Delivered => (QueuedFate::Delivered, None),
        Fate::Returned => (QueuedFate::Returned, None),
        Fate::Failed(reply) => (QueuedFate::Failed, Some(reply)),
    };
    let destination = match (message.envelope.protocol, &recipient.mailbox) {
        (Protocol::Report, _) => Destination::Submission,
        (_, mailbox) => mailbox
            .as_ref()
            .and_then(|name| server_of(&desk.authority, name))
            .map_or(Destination::Unlisted, Destination::Backend),
    };
    Some(QueuedRecipient {
        address: Text::new(recipient.address.as_bytes()),
        mailbox: recipient.mailbox.as_ref().map(Text::from),
        destination: destination.to_string(),
        fate,
        reply: reply.map(ToString::to_string),
    })
}

/// What is not done of a message. Its parameters go with it.
fn exported(message: &Message) -> ExportedEnvelope {
    let envelope = &*message.envelope;
    let texts = |parameters: &[Parameter]| parameters.iter().map(|p| Text::new(p.as_bytes())).collect();
    let open = envelope.recipients.iter().zip(&message.progress.fates).filter(|(_, fate)| fate.is_open());
    ExportedEnvelope {
        sender: Text::new(envelope.sender.as_bytes()),
        parameters: texts(&envelope.parameters),
        recipients: open
            .map(|(recipient, _)| ExportedRecipient {
                address: Text::new(recipient.address.as_bytes()),
                parameters: texts(&recipient.parameters),
                mailbox: recipient.mailbox.as_ref().map(Text::from),
            })
            .collect(),
        arrival_unix_ms: envelope.arrival_unix_ms,
        peer: envelope.peer.clone(),
    }
}

async fn import(spool: &Spool, envelope: u64, text: u64, mut upload: Upload) -> Result<Value, String> {
    if envelope > MAX_ENVELOPE {
        return Err(format!("an envelope of {envelope} bytes is too long"));
    }
    spool.admits(text).map_err(|error| error.to_string())?;
    let mut head = Vec::new();
    let mut body = spool.incoming().begin();
    while let Some(part) = upload.next().await? {
        let missing = usize::try_from(envelope).unwrap_or(usize::MAX).saturating_sub(head.len());
        let (of_head, of_body) = part.split_at(missing.min(part.len()));
        head.extend_from_slice(of_head);
        body.write(of_body).map_err(|error| error.to_string())?;
    }
    let exported: ExportedEnvelope =
        serde_json::from_slice(&head).map_err(|error| format!("the envelope is not understood: {error}"))?;
    let id = spool.enqueue(envelope_of(exported)?, body.finish()).await.map_err(|error| error.to_string())?;
    in_json(id.to_string())
}

fn envelope_of(exported: ExportedEnvelope) -> Result<Envelope, String> {
    let address = |text: &Text| Address::new(text.bytes()?).map_err(|error| format!("{text}: {error}"));
    let parameters = |texts: &[Text]| {
        let parameter =
            |text: &Text| Parameter::new(text.bytes()?).map_err(|error| format!("{text}: {error}"));
        texts.iter().map(parameter).collect::<Result<Vec<_>, String>>()
    };
    let recipients = exported.recipients.iter().map(|recipient| {
        Ok(Recipient {
            address: address(&recipient.address)?,
            parameters: parameters(&recipient.parameters)?,
            mailbox: recipient.mailbox.as_ref().map(Text::name).transpose()?,
        })
    });
    Ok(Envelope {
        sender: address(&exported.sender)?,
        parameters: parameters(&exported.parameters)?,
        recipients: recipients.collect::<Result<_, String>>()?,
        arrival_unix_ms: exported.arrival_unix_ms,
        peer: exported.peer.chars().filter(|c| !c.is_control()).take(1024).collect(),
        protocol: Protocol::Import,
    })
}
