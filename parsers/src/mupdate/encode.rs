//! Both directions, written as Cyrus writes them.
//!
//! Strings that come from a list leave as `{n+}` literals, whatever is in them, since that is what Cyrus
//! sends and every release reads. None may hold NUL, which no release reads.

use bytes::{BufMut, BytesMut};

use super::command::CommandBody;
use super::reply::Status;

/// Appends a command as Cyrus's client writes it.
pub fn put_command(out: &mut BytesMut, tag: &[u8], body: &CommandBody) {
    out.put_slice(tag);
    out.put_u8(b' ');
    out.put_slice(body.word().as_bytes());
    for (nth, argument) in body.arguments().enumerate() {
        match body {
            CommandBody::Authenticate { .. } if nth == 0 => put_quoted_argument(out, argument),
            CommandBody::Authenticate { .. } if argument.as_ref() == b"=" => out.put_slice(b" ="),
            CommandBody::Compress { .. } => put_quoted_argument(out, argument),
            _ => put_literal(out, argument),
        }
    }
    out.put_slice(b"\r\n");
}

/// Appends `T MAILBOX {n+}CRLF name {n+}CRLF location {n+}CRLF acl CRLF`.
pub fn put_mailbox(out: &mut BytesMut, tag: &[u8], mailbox: &[u8], location: &[u8], acl: &[u8]) {
    out.put_slice(tag);
    put_mailbox_tail(out, mailbox, location, acl);
}

/// What [`put_mailbox`] writes behind the tag, so that one encoding can be sent on many streams.
pub fn put_mailbox_tail(out: &mut BytesMut, mailbox: &[u8], location: &[u8], acl: &[u8]) {
    put_data_tail(out, b" MAILBOX", [mailbox, location, acl]);
}

/// Appends `T RESERVE {n+}CRLF name {n+}CRLF location CRLF`.
pub fn put_reserve(out: &mut BytesMut, tag: &[u8], mailbox: &[u8], location: &[u8]) {
    out.put_slice(tag);
    put_reserve_tail(out, mailbox, location);
}

/// What [`put_reserve`] writes behind the tag.
pub fn put_reserve_tail(out: &mut BytesMut, mailbox: &[u8], location: &[u8]) {
    put_data_tail(out, b" RESERVE", [mailbox, location]);
}

/// Appends `T DELETE {n+}CRLF name CRLF`.
pub fn put_delete(out: &mut BytesMut, tag: &[u8], mailbox: &[u8]) {
    out.put_slice(tag);
    put_delete_tail(out, mailbox);
}

/// What [`put_delete`] writes behind the tag.
pub fn put_delete_tail(out: &mut BytesMut, mailbox: &[u8]) {
    put_data_tail(out, b" DELETE", [mailbox]);
}

/// Appends `T OK "text"`, or `* OK "text"` without a tag. A slave ends its connection over a text that is
/// neither quoted nor a literal, so it is always one of them. A NUL becomes a space.
pub fn put_status(out: &mut BytesMut, tag: Option<&[u8]>, status: Status, text: &str) {
    out.put_slice(tag.unwrap_or(b"*"));
    out.put_u8(b' ');
    out.put_slice(status.word().as_bytes());
    put_text(out, text);
    out.put_slice(b"\r\n");
}

/// What a server says first, and again behind STARTTLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BannerSpec<'a> {
    /// The SASL mechanisms that may be used now.
    pub mechanisms: &'a [&'a str],
    /// Whether STARTTLS may be used now.
    pub starttls: bool,
    /// Whether `UPDATE` takes hosts.
    pub partial_update: bool,
    /// The server's name.
    pub servername: &'a str,
    /// `Cyrus IMAP` from Cyrus.
    pub product: &'a str,
    /// The product's version.
    pub version: &'a str,
    /// `(master)`, or from a slave `mupdate://its-master`.
    pub role: &'a str,
}

/// Appends the banner, in Cyrus's order: its `* OK MUPDATE` is last.
pub fn put_banner(out: &mut BytesMut, banner: &BannerSpec<'_>) {
    out.put_slice(b"* AUTH");
    for mechanism in banner.mechanisms {
        put_text(out, mechanism);
    }
    out.put_slice(b"\r\n");
    if banner.starttls {
        out.put_slice(b"* STARTTLS\r\n");
    }
    if banner.partial_update {
        out.put_slice(b"* PARTIAL-UPDATE\r\n");
    }
    out.put_slice(b"* OK MUPDATE");
    for text in [banner.servername, banner.product, banner.version, banner.role] {
        put_text(out, text);
    }
    out.put_slice(b"\r\n");
}

fn put_data_tail<const N: usize>(out: &mut BytesMut, word: &[u8], strings: [&[u8]; N]) {
    /// ` {n+}CRLF` with any n.
    const AROUND: usize = 26;
    let length: usize = strings.iter().map(|string| string.len() + AROUND).sum();
    out.reserve(word.len() + length + 2);
    out.put_slice(word);
    for string in strings {
        put_literal(out, string);
    }
    out.put_slice(b"\r\n");
}

fn put_literal(out: &mut BytesMut, string: &[u8]) {
    out.put_slice(b" {");
    put_number(out, string.len());
    out.put_slice(b"+}\r\n");
    out.put_slice(string);
}

/// Without the detour over `fmt`, which a list of millions would notice.
fn put_number(out: &mut BytesMut, number: usize) {
    let mut digits = [0u8; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        used += 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let (_, written) = digits.split_at(digits.len() - used);
    out.put_slice(written);
}

fn put_text(out: &mut BytesMut, text: &str) {
    let text = text.replace('\0', " ");
    put_quoted_argument(out, text.as_bytes());
}

/// Quoted, or a literal if it has line ends in it.
fn put_quoted_argument(out: &mut BytesMut, string: &[u8]) {
    if string.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return put_literal(out, string);
    }
    out.put_slice(b" \"");
    for byte in string {
        if matches!(byte, b'"' | b'\\') {
            out.put_u8(b'\\');
        }
        out.put_u8(*byte);
    }
    out.put_u8(b'"');
}
