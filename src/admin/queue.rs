//! What may be asked about the queue of deliveries.

use serde::{Deserialize, Serialize};

use crate::list::Text;

/// A request about the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum QueueAsk {
    /// All messages, the oldest first: an item for each, a [`Queued`] with up to [`SHOWN`] recipients. The answer is
    /// a [`QueueSummary`].
    List,
    /// One message: an item for each recipient, a [`QueuedRecipient`]; the answer is a [`Queued`].
    Show {
        /// Its number.
        id: String,
    },
    /// A message's text: items of base64, [`Chunk`].
    Cat {
        /// Its number.
        id: String,
    },
    /// A message without its text: items of base64, [`Chunk`], that make up an [`ExportedEnvelope`] in JSON.
    Envelope {
        /// Its number.
        id: String,
    },
    /// Try nothing until it is released.
    Hold {
        /// Which; none: all. (The command line asks for the word `ALL`.)
        ids: Vec<String>,
    },
    /// Try again what was held, or could not be returned.
    Release {
        /// Which; none: all.
        ids: Vec<String>,
    },
    /// Try now.
    Retry {
        /// Which; none: all.
        ids: Vec<String>,
    },
    /// Forget; nobody is told.
    Delete {
        /// Which; none: all.
        ids: Vec<String>,
    },
    /// Take in a message that was exported: an [`ExportedEnvelope`] in JSON, then its text, follow the request.
    Import {
        /// Bytes of JSON.
        envelope: u64,
        /// Bytes of text.
        text: u64,
    },
}

impl QueueAsk {
    /// How many bytes follow the request's line.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Import { envelope, text } => envelope.saturating_add(*text),
            _ => 0,
        }
    }
}

/// Recipients that a list shows of one message.
pub const SHOWN: usize = 20;

/// One message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Queued {
    /// Its number.
    pub id: String,
    /// When it came: seconds since 1970.
    pub arrival: u64,
    /// When it was queued.
    pub queued: u64,
    /// Bytes of its text.
    pub size: u64,
    /// From whom; empty: from nobody.
    pub sender: Text,
    /// Who brought it.
    pub peer: String,
    /// How it came.
    pub protocol: String,
    /// An operator holds it.
    pub held: bool,
    /// Attempts that left somebody waiting.
    pub attempts: u32,
    /// The last of them.
    pub last_attempt: Option<u64>,
    /// The last thing that a server said.
    pub last_error: Option<String>,
    /// All recipients, also those who have the message by now.
    pub recipients: u64,
    /// Those that are not done, up to [`SHOWN`].
    pub open: Vec<QueuedRecipient>,
}

/// What became of a recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueuedFate {
    /// To be tried.
    Waiting,
    /// In the mailbox.
    Delivered,
    /// Not delivered, and the sender was told.
    Returned,
    /// Not delivered, and nobody can be told: a person has to decide.
    Failed,
}

/// One recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueuedRecipient {
    /// The address.
    pub address: Text,
    /// The mailbox that it means, where that is known.
    pub mailbox: Option<Text>,
    /// Where it is to be brought.
    pub destination: String,
    /// What became of it.
    pub fate: QueuedFate,
    /// What a server said of it.
    pub reply: Option<String>,
}

/// The queue as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueSummary {
    /// Messages.
    pub messages: u64,
    /// Bytes of their texts.
    pub bytes: u64,
    /// Where they are to be brought.
    pub destinations: Vec<QueueDestination>,
}

/// One destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct QueueDestination {
    /// A backend, `(unlisted)` or `(submission)`.
    pub name: String,
    /// Messages that may be tried now.
    pub ready: u64,
    /// Messages that wait for their time.
    pub later: u64,
    /// Messages that are being tried.
    pub running: u64,
    /// It does not answer: one message at a time is tried, now and then.
    pub unreachable: bool,
}

/// How many messages something was done to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QueueCount {
    /// Messages.
    pub messages: u64,
}

/// A message without its text, as `ravenry queue export` writes it and `import` reads it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedEnvelope {
    /// The address of MAIL.
    pub sender: Text,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Vec<Text>,
    /// Those that are not done.
    pub recipients: Vec<ExportedRecipient>,
    /// When it came: milliseconds since 1970.
    pub arrival_unix_ms: u64,
    /// Who brought it.
    #[serde(default)]
    pub peer: String,
}

/// One recipient of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedRecipient {
    /// The address of RCPT.
    pub address: Text,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Vec<Text>,
    /// The mailbox.
    #[serde(default)]
    pub mailbox: Option<Text>,
}

/// An item of [`QueueAsk::Cat`] and [`QueueAsk::Envelope`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// Bytes in base64, with padding.
    pub base64: String,
}
