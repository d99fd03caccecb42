//! What real Cyrus sends, read back; and what we send, compared with it byte for byte.

#![allow(clippy::unwrap_used, reason = "a test")]
use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::*;

fn replies(wire: &[u8]) -> Vec<ServerLine> {
    let mut decoder = ReplyDecoder::new(ReplyLimits::default());
    let mut buf = BytesMut::from(wire);
    let mut lines = Vec::new();
    while let Some(line) = decoder.decode(&mut buf).unwrap() {
        lines.push(line);
    }
    assert!(buf.is_empty(), "left over: {buf:?}");
    lines
}

fn commands(wire: &[u8]) -> Vec<CommandEvent> {
    let mut decoder = CommandDecoder::new(Limits::default());
    let mut buf = BytesMut::from(wire);
    let mut events = Vec::new();
    while let Some(event) = decoder.decode(&mut buf).unwrap() {
        events.push(event);
    }
    assert!(buf.is_empty(), "left over: {buf:?}");
    events
}

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn smoke() {
    println!("{:?}", replies(b"* AUTH \"PLAIN\" \"SCRAM-SHA-1\"\r\n* AUTH\r\n* COMPRESS \"DEFLATE\"\r\n* STARTTLS\r\n* PARTIAL-UPDATE\r\n* XFOO a b\r\n* OK MUPDATE \"mm.murder.test\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\nU01 MAILBOX {6+}\r\nuser.a {7+}\r\nbe1!def {4+}\r\na\tb\t\r\nU01 OK \"streaming starts\"\r\n* BYE {2+}\r\nhi\r\nT OK Begin TLS\r\nT NO \"a\\\"b\"\r\n+ go ahead\r\n"));
    println!("{:?}", commands(b"A01 AUTHENTICATE \"PLAIN\" {4+}\r\nabcd\r\nX0 find foo{3+}\r\nabc\r\nX1 FIND {3}\r\nabc\r\nX2 UPDATE \"a\" \"b\"\nX3 noop\nA AUTHENTICATE \"X\" =\r\n"));
    let _ = b("");
}
