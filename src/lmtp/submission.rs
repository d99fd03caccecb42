//! Handing reports to the submission host: as much SMTP as that takes (RFC 5321), from the null sender.

use std::time::Duration;

use ravenry_parsers::lmtp::{self, Stuffer, put_line};
use tokio::time::Instant;

use super::replay::in_spool_form;
use super::upstream::{Connection, Hello, Trouble, UpstreamConfig};
use crate::authority::master::BoxFuture;
use crate::net::live::Live;
use crate::spool::{Attempt, Deliver, Reply, Verdict};

/// For a connection, and for each command (RFC 5321 §4.5.3.2 asks for minutes).
const PATIENCE: Duration = Duration::from_secs(60);
/// For the reply to the text.
const END_PATIENCE: Duration = Duration::from_secs(300);

/// A submission host; clones are the same one.
#[derive(Clone, Debug)]
pub struct Submission {
    address: String,
    config: Live<UpstreamConfig>,
}

impl Submission {
    /// At `host:port`. Of the configuration only the name, the login and TLS count.
    pub fn new(address: &str, config: UpstreamConfig) -> Self {
        Self { address: address.to_owned(), config: Live::new(patient(config)) }
    }

    /// From now on it is spoken with as `change` makes it.
    pub fn change(&self, change: impl FnOnce(UpstreamConfig) -> UpstreamConfig) {
        self.config.set(patient(change(UpstreamConfig::clone(&self.config.get()))));
    }

    async fn submit(&self, attempt: &Attempt) -> Result<Vec<lmtp::Reply>, Trouble> {
        let mut connection = Connection::open(&self.address, &self.config.get()).await?;
        let body: &[u8] = if connection.offers.eight_bit_mime { b" BODY=8BITMIME" } else { b"" };
        let sender = attempt.envelope.sender.as_bytes();
        connection.ask("MAIL", &[b"MAIL FROM:<", sender, b">", body]).await?;
        let mut replies = Vec::new();
        for at in &attempt.recipients {
            let to = attempt.envelope.recipients.get(*at);
            let address = to.map(|to| to.address.as_bytes()).unwrap_or_default();
            put_line(&mut connection.out, &[b"RCPT TO:<", address, b">"]);
            replies.push(connection.reply().await?);
        }
        if !replies.iter().any(lmtp::Reply::is_positive) {
            connection.quit().await;
            return Ok(replies);
        }
        put_line(&mut connection.out, &[b"DATA"]);
        match connection.reply().await? {
            reply if reply.code == 354 => {}
            reply => return Err(Trouble::Refused { what: "DATA", reply }),
        }
        let (mut stuffer, mut text) = (Stuffer::default(), attempt.body.clone());
        while let Some(part) = text.next().await? {
            stuffer.stuff(&part, &mut connection.out);
            connection.write_enough().await?;
        }
        stuffer.finish(&mut connection.out);
        let last = connection.reply_until(Instant::now() + END_PATIENCE).await?;
        connection.quit().await;
        Ok(replies.into_iter().map(|reply| if reply.is_positive() { last.clone() } else { reply }).collect())
    }
}

fn patient(config: UpstreamConfig) -> UpstreamConfig {
    UpstreamConfig { hello: Hello::Ehlo, connect_timeout: PATIENCE, reply_timeout: PATIENCE, ..config }
}

impl Deliver for Submission {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        let this = self.clone();
        Box::pin(async move {
            match this.submit(&attempt).await {
                Ok(replies) => replies.iter().map(verdict).collect(),
                // Where it says no to anything but a recipient or the text, it is set up wrongly, or we are: no
                // report is lost by it.
                Err(trouble) => {
                    let why = format!("submission host {}: {trouble}", this.address);
                    vec![Verdict::Deferred(Reply::own(451, [4, 4, 1], why)); attempt.recipients.len()]
                }
            }
        })
    }
}

fn verdict(reply: &lmtp::Reply) -> Verdict {
    let said = in_spool_form(reply);
    match reply.code {
        200..400 => Verdict::Delivered(said),
        400..500 => Verdict::Deferred(said),
        _ => Verdict::Refused(said),
    }
}
