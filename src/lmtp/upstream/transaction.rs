//! One message on its way to a frontend.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use ravenry_parsers::lmtp::{Enhanced, Reply, Stuffer, put_line};
use tokio::time::Instant;

use super::connection::Trouble;
use super::pool::{Frontends, Lease, Purpose};
use crate::lmtp::decide::Heard;

/// How many commands are sent before their replies are read. More of both could fill the buffers between two
/// servers that each wait for the other to read.
const PIPELINED: usize = 50;

/// How fast a frontend has to work off a message beyond its usual time, in bytes per second.
const PACE: u64 = 8 << 20;

/// The sender and parameters of MAIL.
#[derive(Clone, Debug)]
pub(crate) struct Sending<'a> {
    /// What stands between the brackets.
    pub(crate) sender: &'a [u8],
    /// As they came: `SIZE=…`. Those that the frontend does not offer are left out.
    pub(crate) parameters: Vec<&'a [u8]>,
    /// The text follows, whatever is said of the recipients: DATA goes along with them, where that is offered
    /// (RFC 2920 §3.1).
    pub(crate) text_follows: bool,
}

/// The address and parameters of RCPT.
#[derive(Clone, Debug)]
pub(crate) struct Recipient<'a> {
    /// What stands between the brackets.
    pub(crate) address: &'a [u8],
    /// As they came.
    pub(crate) parameters: Vec<&'a [u8]>,
}

/// How a transaction began.
pub(crate) enum Begun {
    /// A frontend took the sender. What it said of each recipient.
    Open(Box<Transaction>, Vec<Heard>),
    /// The message is too large for the frontends; this is what one of them said.
    TooLarge(Reply),
    /// No frontend could be reached, or all are at fault: why.
    Nowhere(String),
}

/// A message that a frontend is taking. Dropped before [`Transaction::finish`] it is given up: the frontend delivers
/// nothing of it.
pub(crate) struct Transaction {
    lease: Lease,
    stuffer: Stuffer,
    accepted: usize,
    /// DATA was said, and its answer not yet read.
    said_data: bool,
    sent: u64,
    delivery_timeout: Duration,
}

enum Start {
    /// What was said of each recipient; whether DATA went along.
    Open(Vec<Heard>, bool),
    TooLarge(Reply),
    /// This frontend does not take it, perhaps another one does.
    Elsewhere(String),
}

fn is_about_size(reply: &Reply) -> bool {
    let enhanced = reply.enhanced();
    reply.code == 552 || matches!(enhanced, Some(Enhanced(5, 2, 3) | Enhanced(5, 3, 4)))
}

impl Frontends {
    /// Offers a message to one frontend after the other, until one takes its sender and answers for the recipients.
    pub(crate) async fn begin(&self, purpose: Purpose, sending: &Sending<'_>, to: &[Recipient<'_>]) -> Begun {
        let mut tried = Vec::new();
        let mut why = None;
        loop {
            let mut lease = match self.lend(purpose, &mut tried).await {
                Ok(lease) => lease,
                Err(reason) => return Begun::Nowhere(why.unwrap_or(reason)),
            };
            let address = lease.address().clone();
            match start(&mut lease, sending, to).await {
                Ok(Start::Open(heard, said_data)) => {
                    let accepted = heard.iter().filter(|heard| is_positive(heard)).count();
                    let transaction = Transaction {
                        lease,
                        stuffer: Stuffer::default(),
                        accepted,
                        said_data,
                        sent: 0,
                        delivery_timeout: self.config.get().delivery_timeout,
                    };
                    return Begun::Open(Box::new(transaction), heard);
                }
                Ok(Start::TooLarge(reply)) => return Begun::TooLarge(reply),
                Ok(Start::Elsewhere(reason)) => why = Some(format!("{address}: {reason}")),
                // It may have closed an idle connection just when it was wanted: it gets a second chance.
                Err(Trouble::Closed | Trouble::Io(_)) if lease.reused => {
                    tried.retain(|tried| *tried != address);
                    why = Some(format!("{address}: it closed an idle connection"));
                }
                Err(trouble) => {
                    lease.frontend().blame(&trouble.to_string());
                    why = Some(format!("{address}: {trouble}"));
                }
            }
        }
    }
}

fn is_positive(heard: &Heard) -> bool {
    matches!(heard, Heard::Reply(reply) if reply.is_positive())
}

async fn start(lease: &mut Lease, sending: &Sending<'_>, to: &[Recipient<'_>]) -> Result<Start, Trouble> {
    let frontend = lease.frontend().clone();
    let connection = lease.connection()?;
    let offers = &connection.offers;
    let declared = sending.parameters.iter().find_map(|parameter| value(parameter, "SIZE"));
    if let (Some(limit @ 1..), Some(declared)) = (offers.size, declared)
        && std::str::from_utf8(declared).ok().and_then(|size| size.parse::<u64>().ok()) > Some(limit)
    {
        let text = format!("5.3.4 Message size exceeds fixed limit ({limit})");
        return Ok(Start::TooLarge(Reply::new(552, &text)));
    }
    let may_send = |parameter: &&[u8]| {
        let keyword = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
        match keyword.to_ascii_uppercase().as_slice() {
            b"SIZE" => offers.size.is_some(),
            b"BODY" => offers.eight_bit_mime,
            // AUTH= is known also where nobody has to log in (`lmtpd -a`), and then not offered.
            _ => true,
        }
    };
    let mut line = b"MAIL FROM:<".to_vec();
    line.extend_from_slice(sending.sender);
    line.push(b'>');
    append(&mut line, sending.parameters.iter().copied().filter(|parameter| may_send(parameter)));
    put_line(&mut connection.out, &[&line]);
    let first = if connection.offers.pipelining { to.len().min(PIPELINED) } else { 0 };
    let (with_mail, later) = to.split_at_checked(first).unwrap_or((&[], to));
    for recipient in with_mail {
        put_recipient(&mut connection.out, recipient, connection.offers.ignore_quota);
    }
    let with_data = sending.text_follows && first > 0 && later.is_empty();
    if with_data {
        put_line(&mut connection.out, &[b"DATA"]);
    }
    let reply = connection.reply().await?;
    if !reply.is_positive() {
        if reply.is_permanent() && is_about_size(&reply) {
            return Ok(Start::TooLarge(reply));
        }
        // 430 and 530 ask for a login, any other 5xx is about this frontend or about a sender that no frontend
        // takes; 421 says goodbye. None of it may become a bounce.
        if reply.is_permanent() || matches!(reply.code, 421 | 430) || reply.code < 400 {
            frontend.blame(&format!("it answered MAIL with {reply}"));
        }
        return Ok(Start::Elsewhere(format!("it answered MAIL with {reply}")));
    }
    let mut heard = Vec::with_capacity(to.len());
    for _ in with_mail {
        heard.push(Heard::about_recipient(connection.reply().await?));
    }
    heard.extend(recipients(lease, later).await?);
    Ok(Start::Open(heard, with_data))
}

async fn recipients(lease: &mut Lease, to: &[Recipient<'_>]) -> Result<Vec<Heard>, Trouble> {
    let connection = lease.connection()?;
    let mut heard = Vec::with_capacity(to.len());
    for some in to.chunks(if connection.offers.pipelining { PIPELINED } else { 1 }) {
        for recipient in some {
            put_recipient(&mut connection.out, recipient, connection.offers.ignore_quota);
        }
        for _ in some {
            heard.push(Heard::about_recipient(connection.reply().await?));
        }
    }
    Ok(heard)
}

fn put_recipient(out: &mut BytesMut, recipient: &Recipient<'_>, ignore_quota: bool) {
    let mut line = b"RCPT TO:<".to_vec();
    line.extend_from_slice(recipient.address);
    line.push(b'>');
    let known = |parameter: &&[u8]| ignore_quota || !parameter.eq_ignore_ascii_case(b"IGNOREQUOTA");
    append(&mut line, recipient.parameters.iter().copied().filter(|parameter| known(parameter)));
    put_line(out, &[&line]);
}

fn append<'a>(line: &mut Vec<u8>, parameters: impl Iterator<Item = &'a [u8]>) {
    for parameter in parameters {
        line.push(b' ');
        line.extend_from_slice(parameter);
    }
}

fn value<'a>(parameter: &'a [u8], keyword: &str) -> Option<&'a [u8]> {
    let at = parameter.iter().position(|byte| *byte == b'=')?;
    let (name, value) = parameter.split_at_checked(at)?;
    name.eq_ignore_ascii_case(keyword.as_bytes()).then(|| value.get(1..).unwrap_or_default())
}

impl Transaction {
    /// Which frontend takes it.
    pub(crate) fn frontend(&self) -> &Arc<str> {
        self.lease.address()
    }

    /// Offers it more recipients. When it fails, the transaction is of no more use.
    pub(crate) async fn more(&mut self, to: &[Recipient<'_>]) -> Result<Vec<Heard>, String> {
        let heard = async {
            self.take_data_back().await?;
            recipients(&mut self.lease, to).await
        };
        match heard.await {
            Ok(heard) => {
                self.accepted += heard.iter().filter(|heard| is_positive(heard)).count();
                Ok(heard)
            }
            Err(trouble) => Err(self.failed(&trouble)),
        }
    }

    /// Recipients that it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted
    }

    /// `DATA`: the text may follow.
    pub(crate) async fn data(&mut self) -> Result<(), String> {
        let begin = async {
            let connection = self.lease.connection()?;
            if !std::mem::take(&mut self.said_data) {
                put_line(&mut connection.out, &[b"DATA"]);
            }
            match connection.reply().await? {
                reply if reply.code == 354 => Ok(()),
                reply => Err(Trouble::Refused { what: "DATA", reply }),
            }
        };
        begin.await.map_err(|trouble| self.failed(&trouble))
    }

    /// Sends a part of the text.
    pub(crate) async fn send(&mut self, part: &[u8]) -> Result<(), String> {
        self.sent += part.len() as u64;
        let sending = async {
            let connection = self.lease.connection()?;
            self.stuffer.stuff(part, &mut connection.out);
            connection.write_enough().await
        };
        sending.await.map_err(|trouble| self.failed(&trouble))
    }

    /// The text is complete: what became of every recipient that was accepted, in order. Always as many as were
    /// accepted.
    pub(crate) async fn finish(mut self) -> Vec<Heard> {
        let mut heard = Vec::with_capacity(self.accepted);
        let share =
            Duration::from_millis(100).saturating_mul(u32::try_from(self.accepted).unwrap_or(u32::MAX));
        let until = Instant::now() + self.delivery_timeout + share + Duration::from_secs(self.sent / PACE);
        let finished = async {
            let connection = self.lease.connection()?;
            self.stuffer.finish(&mut connection.out);
            while heard.len() < self.accepted {
                heard.push(Heard::about_recipient(connection.reply_until(until).await?));
            }
            Ok(())
        };
        match finished.await {
            Ok(()) => self.lease.give_back(),
            Err(trouble) => {
                let why = self.failed(&trouble);
                heard.resize(self.accepted, Heard::Nothing(why));
            }
        }
        heard
    }

    /// Nobody is to get the message here: the connection is kept if it is in order.
    pub(crate) async fn cancel(mut self) {
        let reset = async {
            self.take_data_back().await?;
            let connection = self.lease.connection()?;
            connection.ask("RSET", &[b"RSET"]).await
        };
        if reset.await.is_ok() {
            self.lease.give_back();
        }
    }

    /// After DATA was said along with recipients, and nobody is to get the text here. With none accepted it has to be
    /// refused (RFC 2033 §4.2); a frontend that waits for a text is left alone with that.
    async fn take_data_back(&mut self) -> Result<(), Trouble> {
        if !std::mem::take(&mut self.said_data) {
            return Ok(());
        }
        match self.lease.connection()?.reply().await? {
            reply if reply.code == 354 => Err(Trouble::Refused { what: "DATA", reply }),
            _ => Ok(()),
        }
    }

    /// In words. A frontend that failed within a message is tried out at once, and down if it fails that, too.
    fn failed(&self, trouble: &Trouble) -> String {
        self.lease.frontend().suspected.notify_one();
        format!("{}: {trouble}", self.frontend())
    }
}
