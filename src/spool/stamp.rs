//! What is added to every message on its way in, as a streaming filter: `Received` before everything, and
//! `Message-ID` and `Date` at the end of the header where they are missing.
//!
//! The two are what Cyrus's duplicate suppression goes by, together with the mailbox. Without a Message-ID it
//! makes one up for every receipt, and the same message tried again would be there twice. So they are added
//! before the first attempt, and what is queued is what was tried.

use std::fmt::Write as _;

use mail_builder::headers::date::Date;

use super::Protocol;

/// The longest name of a header field that is waited for; a longer line ends the header.
const MAX_NAME: usize = 998;

/// Where a message came from, for `Received` (RFC 5321 §4.4).
#[derive(Clone, Debug)]
pub struct Trace<'a> {
    /// What the client called itself in LHLO.
    pub greeted_as: &'a str,
    /// Where it connected from.
    pub peer: &'a str,
    /// What this host is called.
    pub host: &'a str,
    /// How it spoke.
    pub protocol: Protocol,
    /// When, in milliseconds since 1970.
    pub arrival_unix_ms: u64,
}

/// The filter for one message. Its bytes are the message's, without dot-stuffing, cut anywhere.
#[derive(Debug)]
pub struct Stamp {
    /// What is added, until it was.
    received: String,
    message_id: Option<String>,
    date: Option<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The beginning of a header line that is not known to be one yet.
    LineStart { held: Vec<u8>, first: bool },
    /// Within a line of the header.
    Line { after_cr: bool },
    /// Behind the header: nothing is looked at any more.
    Body,
}

/// What the beginning of a line makes it.
#[derive(PartialEq, Eq)]
enum Kind {
    Undecided,
    Header,
    Blank,
    Text,
}

impl Stamp {
    /// A filter with nothing seen yet.
    pub fn new(trace: &Trace<'_>) -> Self {
        let date = rfc5322_date(trace.arrival_unix_ms);
        let mut received = String::from("Received: from ");
        let _ = write!(
            received,
            "{} ({})\r\n\tby {} (Ravenry) with {};\r\n\t{date}\r\n",
            word(trace.greeted_as),
            word(trace.peer),
            word(trace.host),
            trace.protocol.word(),
        );
        let unique = (trace.arrival_unix_ms, fastrand::u64(..), fastrand::u32(..));
        let message_id =
            format!("Message-ID: <{}.{:016x}{:08x}@{}>\r\n", unique.0, unique.1, unique.2, word(trace.host));
        Self {
            received,
            message_id: Some(message_id),
            date: Some(format!("Date: {date}\r\n")),
            state: State::LineStart { held: Vec::new(), first: true },
        }
    }

    /// Takes a part of the message and appends what is to be passed on to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        out.append(&mut std::mem::take(&mut self.received).into_bytes());
        while !bytes.is_empty() {
            match &mut self.state {
                State::Body => {
                    out.extend_from_slice(bytes);
                    return;
                }
                State::Line { after_cr } => {
                    let mut end = None;
                    for (at, byte) in bytes.iter().enumerate() {
                        if *byte == b'\n' && *after_cr {
                            end = Some(at + 1);
                            break;
                        }
                        *after_cr = *byte == b'\r';
                    }
                    let (line, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
                    out.extend_from_slice(line);
                    bytes = rest;
                    if end.is_some() {
                        self.state = State::LineStart { held: Vec::new(), first: false };
                    }
                }
                State::LineStart { held, first } => {
                    let Some((byte, rest)) = bytes.split_first() else { return };
                    held.push(*byte);
                    bytes = rest;
                    let kind = kind_of(held, *first);
                    if kind == Kind::Undecided {
                        continue;
                    }
                    let held = std::mem::take(held);
                    self.decided(kind, &held, out);
                }
            }
        }
    }

    /// The message ended: what was still held, and what is still missing.
    pub fn finish(mut self, out: &mut Vec<u8>) {
        self.push(&[], out);
        if let State::LineStart { held, .. } = &mut self.state {
            let held = std::mem::take(held);
            let kind = if held.is_empty() { Kind::Header } else { Kind::Text };
            if kind == Kind::Text {
                self.decided(kind, &held, out);
            } else {
                self.add_missing(out);
            }
        }
    }

    fn decided(&mut self, kind: Kind, held: &[u8], out: &mut Vec<u8>) {
        match kind {
            Kind::Header | Kind::Undecided => {
                let name = held.split(|b| *b == b':').next().unwrap_or_default().trim_ascii_end();
                if name.eq_ignore_ascii_case(b"message-id") {
                    self.message_id = None;
                } else if name.eq_ignore_ascii_case(b"date") {
                    self.date = None;
                }
                self.state = State::Line { after_cr: false };
            }
            Kind::Blank => {
                self.add_missing(out);
                self.state = State::Body;
            }
            Kind::Text => {
                // The header ends without an empty line; what we add must not swallow the text.
                self.add_missing(out);
                out.extend_from_slice(b"\r\n");
                self.state = State::Body;
            }
        }
        out.extend_from_slice(held);
    }

    fn add_missing(&mut self, out: &mut Vec<u8>) {
        for missing in [self.message_id.take(), self.date.take()].into_iter().flatten() {
            out.extend_from_slice(missing.as_bytes());
        }
    }
}

fn kind_of(held: &[u8], first: bool) -> Kind {
    match held {
        [] | [b'\r'] => Kind::Undecided,
        [b'\r', b'\n'] => Kind::Blank,
        // A folded line; some programs put an mbox separator before the header.
        [b' ' | b'\t', ..] if !first => Kind::Header,
        _ if first && (b"From ".starts_with(held) || b">From ".starts_with(held)) => Kind::Undecided,
        _ if first && (held.starts_with(b"From ") || held.starts_with(b">From ")) => Kind::Header,
        _ => match held.iter().position(|b| !matches!(b, 0x21..=0x39 | 0x3b..=0x7e)) {
            None if held.len() < MAX_NAME => Kind::Undecided,
            None | Some(0) => Kind::Text,
            // RFC 5322 §4.5: blanks between the name and the colon are obsolete, not wrong.
            Some(at) => match held.get(at..).unwrap_or_default().trim_ascii_start() {
                [] if held.len() < MAX_NAME && matches!(held.last(), Some(b' ' | b'\t')) => Kind::Undecided,
                [b':', ..] => Kind::Header,
                _ => Kind::Text,
            },
        },
    }
}

/// What strangers say about themselves, made fit for a header.
fn word(text: &str) -> String {
    let fit = |c: char| c.is_ascii_graphic() && !matches!(c, '(' | ')' | '<' | '>' | ';' | '\\' | '"');
    let word: String = text.chars().filter(|c| fit(*c)).take(255).collect();
    if word.is_empty() { "unknown".into() } else { word }
}

/// A date as RFC 5322 writes it, in UTC.
pub(super) fn rfc5322_date(unix_ms: u64) -> String {
    Date::new(i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX)).to_rfc822()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stamp(parts: &[&[u8]]) -> String {
        let trace = Trace {
            greeted_as: "mx.example.org",
            peer: "192.0.2.7",
            host: "rv.example.org",
            protocol: Protocol::Lmtp,
            arrival_unix_ms: 1_795_499_494_000,
        };
        let (mut stamp, mut out) = (Stamp::new(&trace), Vec::new());
        for part in parts {
            stamp.push(part, &mut out);
        }
        stamp.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    const RECEIVED: &str = "Received: from mx.example.org (192.0.2.7)\r\n\tby rv.example.org (Ravenry) with LMTP;\r\n\tTue, 24 Nov 2026 05:51:34 +0000\r\n";

    /// What follows `Received`, with the made-up Message-ID shortened.
    fn rest(message: &str) -> String {
        let stamped = stamp(&[message.as_bytes()]);
        let rest = stamped.strip_prefix(RECEIVED).unwrap_or_else(|| panic!("{stamped}"));
        match (rest.find("Message-ID: <1795499494000."), rest.find("@rv.example.org>")) {
            (Some(from), Some(to)) => format!("{}ID{}", &rest[..from], &rest[to + 16..]),
            _ => rest.to_owned(),
        }
    }

    const DATE: &str = "Date: Tue, 24 Nov 2026 05:51:34 +0000\r\n";

    #[test]
    fn what_is_missing_is_added_at_the_end_of_the_header() {
        assert_eq!(rest("A: b\r\n\r\nDate: text\r\n"), format!("A: b\r\nID\r\n{DATE}\r\nDate: text\r\n"));
        assert_eq!(rest("date : x\r\n\r\nT\r\n"), "date : x\r\nID\r\n\r\nT\r\n");
        assert_eq!(rest("MESSAGE-ID:\r\n <x@y>\r\n\r\n"), format!("MESSAGE-ID:\r\n <x@y>\r\n{DATE}\r\n"));
        let both = "Date: x\r\nMessage-Id: <a>\r\n\r\n.text\r\n";
        assert_eq!(rest(both), both);
    }

    #[test]
    fn a_header_that_is_none_is_closed_before_its_text() {
        assert_eq!(rest(""), format!("ID\r\n{DATE}"));
        assert_eq!(rest("Hello there\r\n"), format!("ID\r\n{DATE}\r\nHello there\r\n"));
        assert_eq!(rest("A: b\r\nno colon\r\n"), format!("A: b\r\nID\r\n{DATE}\r\nno colon\r\n"));
        assert_eq!(
            rest("From me today\r\nA: b\r\n\r\n"),
            format!("From me today\r\nA: b\r\nID\r\n{DATE}\r\n")
        );
        let long = format!("{}\r\n", "x".repeat(2000));
        assert_eq!(rest(&long), format!("ID\r\n{DATE}\r\n{long}"));
    }

    #[test]
    fn strangers_cannot_write_into_the_header() {
        assert_eq!(word("a\r\nX: y"), "aX:y");
        assert_eq!(word(""), "unknown");
    }

    proptest! {
        /// However the message is cut, the result is the same, and taking out what was added leaves the message.
        #[test]
        fn cuts_change_nothing(message in "(Date|Message-ID|X|From )?[:\\r\\n \ta]{0,40}", cut in 0..40_usize) {
            let whole = rest(&message);
            let (head, tail) = message.as_bytes().split_at(cut.min(message.len()));
            let parts = stamp(&[head, tail]);
            let id = |text: &str| text.find("Message-ID: <17").is_some();
            prop_assert_eq!(parts.len(), stamp(&[message.as_bytes()]).len());
            prop_assert_eq!(id(&parts), whole.contains("ID\r\n") && id(&stamp(&[message.as_bytes()])));
            let mut bare = whole.replacen("ID\r\n", "", usize::from(id(&parts))).replacen(DATE, "", 1);
            if bare != message {
                // An empty line that ended the header.
                let at = bare.len() - message.len();
                prop_assert_eq!(at, 2);
                let from = (0..bare.len()).find(|i| bare.get(*i..).is_some_and(|b| b.starts_with("\r\n"))
                    && format!("{}{}", &bare[..*i], &bare[*i + 2..]) == message);
                prop_assert!(from.is_some(), "{:?} of {:?}", bare, message);
                bare = message.clone();
            }
            prop_assert_eq!(bare, message);
        }
    }
}
