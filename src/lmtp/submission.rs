//! Handing reports to the submission host: as much SMTP as that takes (RFC 5321), from the null sender.

use std::time::Duration;

use bytes::BytesMut;
use ravenry_parsers::lmtp::{self, Capabilities, ReplyDecoder, Stuffer, put_line};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::replay::in_spool_form;
use crate::authority::master::BoxFuture;
use crate::spool::{Attempt, Deliver, Reply, Verdict};

/// For a connection, and for each command (RFC 5321 §4.5.3.2 asks for minutes).
const PATIENCE: Duration = Duration::from_secs(60);
/// For the reply to the text.
const END_PATIENCE: Duration = Duration::from_secs(300);

/// A submission host.
#[derive(Clone, Debug)]
pub struct Submission {
    address: String,
    host: String,
}

/// Why an attempt came to nothing.
enum Ended {
    /// It said no; where that is not about a recipient, the host is set up wrongly, and no report is lost by it.
    Refused(lmtp::Reply),
    /// It could not be reached, or stopped answering.
    Lost(String),
}

impl<E: std::error::Error> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Lost(error.to_string())
    }
}

impl Submission {
    /// At `host:port`; `host` is what we call ourselves.
    pub fn new(address: &str, host: &str) -> Self {
        Self { address: address.to_owned(), host: host.to_owned() }
    }

    async fn submit(&self, attempt: &Attempt) -> Result<Vec<lmtp::Reply>, Ended> {
        let stream = timeout(PATIENCE, TcpStream::connect(&self.address)).await??;
        let mut wire = Wire { stream, input: BytesMut::new(), decoder: ReplyDecoder::default() };
        wire.expect(PATIENCE).await?;
        let hello = wire.say(&[b"EHLO ", self.host.as_bytes()]).await?;
        let eight_bit = Capabilities::of(&hello).eight_bit_mime;
        let body: &[u8] = if eight_bit { b" BODY=8BITMIME" } else { b"" };
        wire.say(&[b"MAIL FROM:<", attempt.envelope.sender.as_bytes(), b">", body]).await?;
        let mut replies = Vec::new();
        for at in &attempt.recipients {
            let address =
                attempt.envelope.recipients.get(*at).map(|to| to.address.as_bytes()).unwrap_or_default();
            replies.push(match wire.say(&[b"RCPT TO:<", address, b">"]).await {
                Ok(reply) | Err(Ended::Refused(reply)) => reply,
                Err(lost) => return Err(lost),
            });
        }
        if !replies.iter().any(lmtp::Reply::is_positive) {
            return Ok(replies);
        }
        wire.say(&[b"DATA"]).await?;
        let (mut stuffer, mut out, mut text) = (Stuffer::default(), BytesMut::new(), attempt.body.clone());
        while let Some(part) = text.next().await? {
            stuffer.stuff(&part, &mut out);
            wire.write(&mut out).await?;
        }
        stuffer.finish(&mut out);
        wire.write(&mut out).await?;
        let last = match wire.expect(END_PATIENCE).await {
            Ok(reply) | Err(Ended::Refused(reply)) => reply,
            Err(lost) => return Err(lost),
        };
        let _ = wire.say(&[b"QUIT"]).await;
        Ok(replies.into_iter().map(|reply| if reply.is_positive() { last.clone() } else { reply }).collect())
    }
}

impl Deliver for Submission {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        let this = self.clone();
        Box::pin(async move {
            let unreachable = |why: String| {
                let why = format!("submission host {}: {why}", this.address);
                vec![Verdict::Deferred(Reply::own(451, [4, 4, 1], why)); attempt.recipients.len()]
            };
            match this.submit(&attempt).await {
                Ok(replies) => replies.iter().map(verdict).collect(),
                Err(Ended::Refused(reply)) => unreachable(reply.to_string()),
                Err(Ended::Lost(why)) => unreachable(why),
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

struct Wire {
    stream: TcpStream,
    input: BytesMut,
    decoder: ReplyDecoder,
}

impl Wire {
    async fn write(&mut self, bytes: &mut BytesMut) -> Result<(), Ended> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await??;
        bytes.clear();
        Ok(())
    }

    async fn say(&mut self, line: &[&[u8]]) -> Result<lmtp::Reply, Ended> {
        let mut out = BytesMut::new();
        put_line(&mut out, line);
        self.write(&mut out).await?;
        self.expect(PATIENCE).await
    }

    /// The next reply, which has to be 2xx or 3xx.
    async fn expect(&mut self, patience: Duration) -> Result<lmtp::Reply, Ended> {
        let reading = async {
            loop {
                if let Some(reply) = self.decoder.decode(&mut self.input)? {
                    return Ok(reply);
                }
                if self.stream.read_buf(&mut self.input).await? == 0 {
                    return Err(Ended::Lost("it closed the connection".into()));
                }
            }
        };
        let reply: lmtp::Reply = timeout(patience, reading).await??;
        if reply.code < 400 { Ok(reply) } else { Err(Ended::Refused(reply)) }
    }
}
