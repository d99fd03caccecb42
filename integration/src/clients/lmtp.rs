//! LMTP: one message to some recipients, and what became of it for each of them.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Wire;

/// A reply of one or more lines.
#[derive(Clone, PartialEq, Eq)]
pub struct LmtpReply {
    /// The code, such as 250.
    pub code: u16,
    /// The lines without the code.
    pub lines: Vec<String>,
}

impl LmtpReply {
    /// Accepted.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Refused for now: the sender will try again.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// Refused for good: the sender gets a bounce.
    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }
}

impl fmt::Debug for LmtpReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" / "))
    }
}

/// What became of a message for one recipient.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The recipient.
    pub recipient: String,
    /// The reply to RCPT.
    pub rcpt: LmtpReply,
    /// The reply after DATA; `None` when the recipient was refused.
    pub data: Option<LmtpReply>,
}

impl Delivery {
    /// The reply that decided: after DATA if it came so far.
    pub fn verdict(&self) -> &LmtpReply {
        self.data.as_ref().unwrap_or(&self.rcpt)
    }
}

/// An LMTP session.
#[derive(Debug)]
pub struct Lmtp {
    wire: Wire,
}

impl Lmtp {
    /// Connects, reads the greeting and introduces itself.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let mut lmtp = Self { wire: Wire::connect(address).await? };
        let greeting = lmtp.reply().await?;
        anyhow::ensure!(greeting.code == 220, "greeted with {greeting:?}");
        let hello = lmtp.run("LHLO mta.murder.test").await?;
        anyhow::ensure!(hello.is_ok(), "LHLO answered with {hello:?}");
        Ok(lmtp)
    }

    /// Sets how long the server may be silent.
    pub fn set_patience(&mut self, patience: Duration) {
        self.wire.set_patience(patience);
    }

    /// Runs any command that has one reply.
    pub async fn run(&mut self, command: &str) -> Result<LmtpReply> {
        self.wire.send(format!("{command}\r\n").as_bytes()).await?;
        self.reply().await.with_context(|| format!("LMTP {command}"))
    }

    /// Sends a message to some recipients. An `Err` means that the connection is of no more use.
    pub async fn deliver(&mut self, recipients: &[&str], message: &str) -> Result<Vec<Delivery>> {
        let from = self.run("MAIL FROM:<sender@example.org>").await?;
        anyhow::ensure!(from.is_ok(), "MAIL answered with {from:?}");
        let mut deliveries = Vec::new();
        for recipient in recipients {
            let rcpt = self.run(&format!("RCPT TO:<{recipient}>")).await?;
            deliveries.push(Delivery { recipient: (*recipient).to_owned(), rcpt, data: None });
        }
        if !deliveries.iter().any(|delivery| delivery.rcpt.is_ok()) {
            self.run("RSET").await?;
            return Ok(deliveries);
        }
        let go = self.run("DATA").await?;
        anyhow::ensure!(go.code == 354, "DATA answered with {go:?}");
        self.wire.send(stuffed(message).as_bytes()).await?;
        // One reply for each recipient that was accepted, in order.
        for delivery in deliveries.iter_mut().filter(|delivery| delivery.rcpt.is_ok()) {
            delivery.data = Some(self.reply().await.context("LMTP after DATA")?);
        }
        Ok(deliveries)
    }

    /// Sends a small message, told apart by `id`, to one recipient.
    pub async fn deliver_one(&mut self, recipient: &str, id: &str) -> Result<Delivery> {
        let mut deliveries = self.deliver(&[recipient], &message(id)).await?;
        deliveries.pop().context("no delivery")
    }

    /// Sends bytes as they are.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.send(bytes).await
    }

    /// The next reply.
    pub async fn reply(&mut self) -> Result<LmtpReply> {
        let mut lines = Vec::new();
        loop {
            let line = self.wire.expect_line().await?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let code = code.with_context(|| format!("no reply code in {line:?}"))?;
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(LmtpReply { code, lines });
            }
        }
    }
}

/// A message whose Message-ID and subject hold `id`.
pub fn message(id: &str) -> String {
    format!(
        "From: sender@example.org\r\nTo: someone@murder.test\r\nSubject: {id}\r\n\
         Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{id}@example.org>\r\n\r\nHello.\r\n"
    )
}

/// The message as it is sent after DATA: leading dots doubled, closed by a dot.
fn stuffed(message: &str) -> String {
    let mut text = String::with_capacity(message.len() + 8);
    for line in message.lines() {
        if line.starts_with('.') {
            text.push('.');
        }
        text.push_str(line);
        text.push_str("\r\n");
    }
    text.push_str(".\r\n");
    text
}
