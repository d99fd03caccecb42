//! Telling a sender what became of a message: RFC 3464, in a `multipart/report` (RFC 6522).

use std::fmt::Write as _;

use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address as Mailbox;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::mime::MimePart;

use super::stamp::rfc5322_date;
use super::{Address, Destination, Envelope, Message, Parameter, Protocol, Recipient, Reply};

/// A longer text is returned as its header only.
pub(super) const MAX_RETURNED: u64 = 50_000;
/// The longest header that is returned.
const MAX_HEADER: usize = 32 << 10;

/// Who reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reporter {
    /// What this host is called.
    pub host: String,
    /// The address in `From`.
    pub from: String,
}

/// One recipient that was refused or given up.
#[derive(Clone, Debug)]
pub(super) struct Failure<'a> {
    pub(super) recipient: &'a Recipient,
    pub(super) reply: &'a Reply,
    pub(super) destination: &'a Destination,
}

/// Whether the sender wants to hear of a failure (RFC 3461 §4.1): always, unless `NOTIFY` says otherwise.
pub(super) fn is_wanted(recipient: &Recipient) -> bool {
    let notify = recipient.parameters.iter().find_map(|parameter| parameter.value_of("NOTIFY"));
    notify.is_none_or(|words| {
        words.split(|b| *b == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(b"FAILURE"))
    })
}

/// The envelope of a report: from nobody, to whoever sent the message.
pub(super) fn envelope(original: &Envelope, now_unix_ms: u64) -> Envelope {
    Envelope {
        sender: Address::null(),
        parameters: Vec::new(),
        recipients: vec![Recipient {
            address: original.sender.clone(),
            parameters: Vec::new(),
            mailbox: None,
        }],
        arrival_unix_ms: now_unix_ms,
        peer: String::new(),
        protocol: Protocol::Report,
    }
}

/// The report's text. `original` is the beginning of the message, all of it if it has at most
/// [`MAX_RETURNED`] bytes.
pub(super) fn text(
    reporter: &Reporter,
    message: &Message,
    failures: &[Failure<'_>],
    original: &[u8],
    now_unix_ms: u64,
) -> Vec<u8> {
    let envelope = &*message.envelope;
    let only_header = message.len > MAX_RETURNED
        || envelope
            .parameters
            .iter()
            .any(|p| p.value_of("RET").is_some_and(|v| v.eq_ignore_ascii_case(b"HDRS")));
    let returned = if only_header { header_of(original) } else { original };
    let kind = if only_header { "text/rfc822-headers" } else { "message/rfc822" };
    let encoding = if returned.is_ascii() { "7bit" } else { "8bit" };
    let part = |kind: &'static str, bytes: Vec<u8>| MimePart::new(kind, bytes);
    let report = MimePart::new(
        ContentType::new("multipart/report").attribute("report-type", "delivery-status"),
        vec![
            MimePart::new(
                ContentType::new("text/plain").attribute("charset", "utf-8"),
                notice(reporter, failures),
            ),
            part("message/delivery-status", status(reporter, message, failures).into_bytes())
                .transfer_encoding("7bit"),
            part(kind, returned.to_vec()).transfer_encoding(encoding),
        ],
    );
    let sender = ascii(&envelope.sender.to_string());
    let mut written = MessageBuilder::new()
        .message_id(format!("{}.report.{:08x}@{}", message.id, fastrand::u32(..), reporter.host))
        .date(i64::try_from(now_unix_ms / 1000).unwrap_or_default())
        .from(Mailbox::new_address(Some("Mail Delivery System"), reporter.from.as_str()))
        .header("To", HeaderType::from(Raw::new(format!("<{sender}>"))))
        .subject("Undelivered mail returned to its sender")
        .header("Auto-Submitted", HeaderType::from(Raw::new("auto-replied")))
        .body(report)
        .write_to_vec()
        .unwrap_or_default();
    crlf(&mut written);
    written
}

/// For people.
fn notice(reporter: &Reporter, failures: &[Failure<'_>]) -> String {
    let mut text = format!(
        "This is the mail system at {}.\r\n\r\nYour message could not be delivered to:\r\n",
        reporter.host
    );
    for failure in failures {
        let _ = write!(
            text,
            "\r\n<{}>\r\n    {}\r\n",
            failure.recipient.address,
            one_line(&failure.reply.to_string())
        );
    }
    text += "\r\nIt will not be tried again. The message, or its header, is attached.\r\n";
    text
}

/// For machines (RFC 3464 §2).
fn status(reporter: &Reporter, message: &Message, failures: &[Failure<'_>]) -> String {
    let mut text = format!(
        "Reporting-MTA: dns; {}\r\nArrival-Date: {}\r\nX-Ravenry-Queue-ID: {}\r\n",
        ascii(&reporter.host),
        rfc5322_date(message.envelope.arrival_unix_ms),
        message.id
    );
    if let Some(id) = message.envelope.parameters.iter().find_map(|p| p.value_of("ENVID")) {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", xtext(id));
    }
    for Failure { recipient, reply, destination } in failures {
        let orcpt = |p: &Parameter| p.value_of("ORCPT").map(xtext);
        text += "\r\n";
        if let Some(original) = recipient.parameters.iter().find_map(orcpt) {
            let _ = write!(text, "Original-Recipient: {original}\r\n");
        }
        let _ = write!(
            text,
            "Final-Recipient: rfc822; {}\r\nAction: failed\r\nStatus: {}\r\n",
            ascii(&recipient.address.to_string()),
            status_code(reply)
        );
        if let Destination::Backend(server) = destination {
            let _ = write!(text, "Remote-MTA: dns; {}\r\n", ascii(server));
        }
        let _ = write!(text, "Diagnostic-Code: smtp; {}\r\n", ascii(&one_line(&reply.to_string())));
    }
    text
}

/// RFC 3464 §2.3.4 wants a class of 5 where the action is `failed`.
fn status_code(reply: &Reply) -> String {
    match reply.enhanced {
        Some([_, subject, detail]) => format!("5.{subject}.{detail}"),
        None => "5.0.0".into(),
    }
}

fn header_of(original: &[u8]) -> &[u8] {
    let end = original.windows(4).position(|four| four == b"\r\n\r\n").map_or(original.len(), |at| at + 2);
    original.get(..end.min(MAX_HEADER)).unwrap_or_default()
}

/// RFC 3461 §4: `+` and two digits for what may not stand for itself.
fn xtext(bytes: &[u8]) -> String {
    let mut text = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()).filter(|_| *first == b'+') {
            Some(byte) => {
                text.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                text.push(*first);
                rest = tail;
            }
        }
    }
    ascii(&String::from_utf8_lossy(&text))
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(900).collect()
}

fn ascii(text: &str) -> String {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}

/// Every line ends in CR LF, whatever was in the message.
fn crlf(bytes: &mut Vec<u8>) {
    let mut before = 0;
    let clean = bytes.iter().all(|byte| {
        let fine = (*byte == b'\n') == (before == b'\r');
        before = *byte;
        fine
    });
    if clean && before != b'\r' {
        return;
    }
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let mut bytes_iter = bytes.iter().copied().peekable();
    while let Some(byte) = bytes_iter.next() {
        match byte {
            b'\r' => {
                bytes_iter.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            other => out.push(other),
        }
    }
    *bytes = out;
}
