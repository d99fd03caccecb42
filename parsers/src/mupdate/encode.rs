//! Both directions, written so that every Cyrus reads them.
//!
//! Strings leave quoted, where Cyrus would send a `{n+}` literal: the threads of a mupdate of 3.12 read the sizes of
//! literals into one buffer, so that two at a time make a wrong size of them (`imapparse.c`, `_getint`; recorded in
//! `fixtures/mupdate/3.12/two-at-once.txt`). What a quoted string cannot hold is a literal all the same. No string may hold NUL,
//! which no release reads.

use bytes::{BufMut, BytesMut};
use memchr::memchr2;

use super::command::CommandBody;
use super::reply::Status;

/// The longest string that is quoted, in bytes: no name or location is longer, nor an ACL of some eight hundred users.
/// Cyrus ends the whole process over one longer than its `maxquoted`, which is 131,072 by default where there is one.
const MAX_QUOTED: usize = 16 * 1024;

/// Appends a command.
pub fn put_command(out: &mut BytesMut, tag: &[u8], body: &CommandBody) {
    out.put_slice(tag);
    out.put_u8(b' ');
    out.put_slice(body.word().as_bytes());
    for argument in body.arguments() {
        match body {
            CommandBody::Authenticate { .. } if argument.as_ref() == b"=" => out.put_slice(b" ="),
            _ => put_string(out, argument),
        }
    }
    out.put_slice(b"\r\n");
}

/// Appends `T MAILBOX "name" "location" "acl" CRLF`.
pub fn put_mailbox(out: &mut BytesMut, tag: &[u8], mailbox: &[u8], location: &[u8], acl: &[u8]) {
    out.put_slice(tag);
    put_mailbox_tail(out, mailbox, location, acl);
}

/// What [`put_mailbox`] writes behind the tag, so that one encoding can be sent on many streams.
pub fn put_mailbox_tail(out: &mut BytesMut, mailbox: &[u8], location: &[u8], acl: &[u8]) {
    put_data_tail(out, b" MAILBOX", [mailbox, location, acl]);
}

/// Appends `T RESERVE "name" "location" CRLF`.
pub fn put_reserve(out: &mut BytesMut, tag: &[u8], mailbox: &[u8], location: &[u8]) {
    out.put_slice(tag);
    put_reserve_tail(out, mailbox, location);
}

/// What [`put_reserve`] writes behind the tag.
pub fn put_reserve_tail(out: &mut BytesMut, mailbox: &[u8], location: &[u8]) {
    put_data_tail(out, b" RESERVE", [mailbox, location]);
}

/// Appends `T DELETE "name" CRLF`.
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
    /// A space and two quotes; what has to be escaped or announced is rare, and makes room for itself.
    const AROUND: usize = 3;
    let length: usize = strings.iter().map(|string| string.len() + AROUND).sum();
    out.reserve(word.len() + length + 2);
    out.put_slice(word);
    for string in strings {
        put_string(out, string);
    }
    out.put_slice(b"\r\n");
}

fn put_text(out: &mut BytesMut, text: &str) {
    let text = text.replace('\0', " ");
    put_string(out, text.as_bytes());
}

/// Quoted, or a literal if it has line ends in it or is long.
fn put_string(out: &mut BytesMut, string: &[u8]) {
    if string.len() > MAX_QUOTED || memchr2(b'\r', b'\n', string).is_some() {
        out.put_slice(format!(" {{{}+}}\r\n", string.len()).as_bytes());
        out.put_slice(string);
        return;
    }
    out.put_slice(b" \"");
    let mut rest = string;
    while let Some((plain, [special, behind @ ..])) =
        memchr2(b'"', b'\\', rest).and_then(|at| rest.split_at_checked(at))
    {
        out.put_slice(plain);
        out.put_slice(&[b'\\', *special]);
        rest = behind;
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}
