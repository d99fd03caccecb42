//! `ravenry queue`

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Subcommand;

use super::talk::{Manner, Talk};
use super::{Failure, exit};
use crate::admin::Ask;
use crate::admin::queue::{Chunk, QueueAsk, QueueCount, QueueSummary, Queued, QueuedFate, QueuedRecipient};
use crate::config::Config;
use crate::net::clock::unix;

/// The word that means every message.
const ALL: &str = "ALL";

#[derive(Subcommand, Debug)]
pub(super) enum QueueCommand {
    /// All messages, the oldest first: what they wait for, and how long they have.
    List,
    /// One message: every recipient, and what became of it.
    Show {
        /// The message's number.
        id: String,
    },
    /// A message's text.
    Cat {
        /// The message's number.
        id: String,
    },
    /// Try nothing until it is released; it does not expire.
    Hold {
        /// Messages, or ALL.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Try again what was held, or what could be neither delivered nor returned.
    Release {
        /// Messages, or ALL.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Try now instead of later.
    Retry {
        /// Messages.
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// Everything.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
    /// Forget messages. Nobody is told.
    Delete {
        /// Messages, or ALL.
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Write a message to ID.eml, and its envelope with those who do not have it yet to ID.json. It stays queued.
    Export {
        /// The message's number.
        id: String,
        /// Where.
        #[arg(long, default_value = ".")]
        directory: PathBuf,
    },
    /// Take in a message that was exported.
    Import {
        /// The ID.json; the text is read from the ID.eml beside it.
        envelope: PathBuf,
    },
}

pub(super) fn run(config: &Config, command: QueueCommand, manner: Manner) -> Result<(), Failure> {
    let talk = Talk::new(config, manner);
    let ask = |ask| Ask::Queue(ask);
    match command {
        QueueCommand::List => list(&talk),
        QueueCommand::Show { id } => show(&talk, id),
        QueueCommand::Cat { id } => receive(&talk, &ask(QueueAsk::Cat { id }), &mut std::io::stdout().lock()),
        QueueCommand::Hold { ids } => count(&talk, &ask(QueueAsk::Hold { ids: all_or(ids)? }), "held"),
        QueueCommand::Release { ids } => {
            count(&talk, &ask(QueueAsk::Release { ids: all_or(ids)? }), "released")
        }
        QueueCommand::Retry { ids, .. } => count(&talk, &ask(QueueAsk::Retry { ids }), "to be tried"),
        QueueCommand::Delete { ids } => {
            let ids = all_or(ids)?;
            if ids.is_empty() {
                talk.confirm("Every queued message is forgotten, and no sender is told. Go on?")?;
            }
            count(&talk, &ask(QueueAsk::Delete { ids }), "deleted")
        }
        QueueCommand::Export { id, directory } => export(&talk, id, &directory),
        QueueCommand::Import { envelope } => import(&talk, &envelope),
    }
}

/// `ALL` alone means all; what is written in another way is a message.
fn all_or(ids: Vec<String>) -> Result<Vec<String>, Failure> {
    match ids.iter().filter(|id| *id == ALL).count() {
        0 => Ok(ids),
        1 if ids.len() == 1 => Ok(Vec::new()),
        _ => Err(Failure::new(exit::USAGE, "ALL stands alone")),
    }
}

fn count(talk: &Talk<'_>, ask: &Ask, what: &str) -> Result<(), Failure> {
    let count: QueueCount = talk.ask(ask)?;
    talk.tell(&count, || format!("{} messages {what}", count.messages));
    Ok(())
}

fn list(talk: &Talk<'_>) -> Result<(), Failure> {
    let (ask, now, mut shown) = (Ask::Queue(QueueAsk::List), unix(), 0_u64);
    let summary: QueueSummary = talk.items(&ask, |message: Queued| {
        if talk.json() {
            println!("{}", serde_json::to_string(&message)?);
            return Ok(());
        }
        if shown == 0 {
            println!("{:<13} {:>9} {:>8}  sender, recipients", "message", "size", "age");
        }
        shown += 1;
        let mark = match (message.held, message.open.iter().any(|r| r.fate == QueuedFate::Failed)) {
            (true, _) => "!",
            (_, true) => "#",
            _ => "",
        };
        let id = format!("{}{mark}", message.id);
        let sender = message.sender.to_string();
        let age = age(now.saturating_sub(message.queued));
        println!("{id:<13} {:>9} {age:>8}  {}", message.size, if sender.is_empty() { "<>" } else { &sender });
        if let Some(error) = &message.last_error {
            println!("{:34}({error})", "");
        }
        for recipient in &message.open {
            println!("{:34}{} at {}", "", recipient.address, recipient.destination);
        }
        let more = message.recipients.saturating_sub(message.open.len() as u64);
        if message.open.len() >= crate::admin::queue::SHOWN && more > 0 {
            println!("{:34}and up to {more} more", "");
        }
        Ok(())
    })?;
    if talk.json() {
        return Ok(());
    }
    if summary.messages == 0 {
        println!("the queue is empty");
        return Ok(());
    }
    println!("-- {} messages, {} bytes; ! held, # nobody can be told", summary.messages, summary.bytes);
    for at in summary.destinations {
        let unreachable = if at.unreachable { ", does not answer" } else { "" };
        println!(
            "   {}: {} ready, {} later, {} running{unreachable}",
            at.name, at.ready, at.later, at.running
        );
    }
    Ok(())
}

fn show(talk: &Talk<'_>, id: String) -> Result<(), Failure> {
    let mut recipients = Vec::new();
    let message: Queued = talk.items(&Ask::Queue(QueueAsk::Show { id }), |recipient: QueuedRecipient| {
        recipients.push(recipient);
        Ok(())
    })?;
    if talk.json() {
        talk.tell(&serde_json::json!({ "message": message, "recipients": recipients }), String::new);
        return Ok(());
    }
    let now = unix();
    let ago = |at: u64| age(now.saturating_sub(at));
    println!("message   {}{}", message.id, if message.held { " (held)" } else { "" });
    println!("sender    <{}>", message.sender);
    println!("size      {} bytes", message.size);
    println!("came      {} ago by {} from {}", ago(message.arrival), message.protocol, message.peer);
    println!("queued    {} ago", ago(message.queued));
    if let Some(last) = message.last_attempt {
        println!("tried     {} times, last {} ago", message.attempts, ago(last));
    }
    for recipient in &recipients {
        let fate = match recipient.fate {
            QueuedFate::Waiting => "waiting",
            QueuedFate::Delivered => "delivered",
            QueuedFate::Returned => "returned",
            QueuedFate::Failed => "failed, nobody can be told",
        };
        let mailbox = recipient.mailbox.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        println!("to        <{}>{mailbox} at {}: {fate}", recipient.address, recipient.destination);
        if let Some(reply) = &recipient.reply {
            println!("          {reply}");
        }
    }
    Ok(())
}

/// Seconds as people read them.
fn age(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..360_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Writes what comes in base64.
fn receive(talk: &Talk<'_>, ask: &Ask, to: &mut dyn std::io::Write) -> Result<(), Failure> {
    talk.items::<Chunk, ()>(ask, |chunk| {
        to.write_all(&BASE64.decode(chunk.base64).map_err(std::io::Error::other)?)
    })?;
    to.flush().map_err(|error| Failure::new(exit::SOFTWARE, error))
}

fn export(talk: &Talk<'_>, id: String, directory: &Path) -> Result<(), Failure> {
    for (ending, ask) in
        [("json", QueueAsk::Envelope { id: id.clone() }), ("eml", QueueAsk::Cat { id: id.clone() })]
    {
        let path = directory.join(format!("{id}.{ending}"));
        let failed =
            |error: std::io::Error| Failure::new(exit::UNAVAILABLE, format!("{}: {error}", path.display()));
        // Somebody's mail: for whoever exports it alone.
        let mut new = File::options();
        let mut file = new.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        if let Err(failure) = receive(talk, &Ask::Queue(ask), &mut file) {
            drop(file);
            let _ = std::fs::remove_file(&path);
            return Err(failure);
        }
        file.sync_all().map_err(failed)?;
        println!("{}", path.display());
    }
    Ok(())
}

fn import(talk: &Talk<'_>, path: &Path) -> Result<(), Failure> {
    let text_path = path.with_extension("eml");
    let open = |path: &Path| {
        let failed =
            |error: std::io::Error| Failure::new(exit::USAGE, format!("{}: {error}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        Ok((file, len))
    };
    let ((envelope, envelope_len), (text, text_len)) = (open(path)?, open(&text_path)?);
    let ask = Ask::Queue(QueueAsk::Import { envelope: envelope_len, text: text_len });
    let bytes = envelope.take(envelope_len).chain(text.take(text_len));
    let id: String = talk.upload(&ask, bytes, |(): ()| Ok(()))?;
    println!("{id}");
    Ok(())
}
