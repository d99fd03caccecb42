//! Writing commands and replies.

use bytes::BytesMut;

use super::reply::Reply;

/// Writes one line from its parts. A CR, LF or NUL in them, which no decoder of this room lets through, becomes `?`.
pub fn put_line(out: &mut BytesMut, parts: &[&[u8]]) {
    for part in parts {
        put_clean(out, part);
    }
    out.extend_from_slice(b"\r\n");
}

fn put_clean(out: &mut BytesMut, part: &[u8]) {
    let from = out.len();
    out.extend_from_slice(part);
    for byte in out.iter_mut().skip(from) {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b'?';
        }
    }
}

/// Writes a reply.
pub fn put_reply(out: &mut BytesMut, reply: &Reply) {
    let code = reply.code.to_string();
    let last = reply.lines.len().saturating_sub(1);
    if reply.lines.is_empty() {
        put_line(out, &[code.as_bytes(), b" "]);
    }
    for (at, line) in reply.lines.iter().enumerate() {
        let separator: &[u8] = if at == last { b" " } else { b"-" };
        put_line(out, &[code.as_bytes(), separator, line]);
    }
}
