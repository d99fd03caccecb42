//! What holds for any bytes whatever. Shared by the property tests, the corpus replay and the fuzz targets.

use bytes::{Bytes, BytesMut};
use ravenry_parsers::lmtp::{
    Command, CommandDecoder, CommandEvent, DataDecoder, DataEvent, MAX_LINE, Reply, ReplyDecoder, ReplyFault,
    ReplyLimits, SaslLine, Stuffer, put_line, put_reply,
};

/// Small enough that fuzzed bytes reach every limit.
const REPLY_LIMITS: ReplyLimits = ReplyLimits { max_line: 60, max_lines: 4 };

/// Feeds `wire` in pieces of the given sizes, over and over; `false` stops.
fn feed(wire: &[u8], sizes: &[usize], mut took: impl FnMut(&mut BytesMut) -> bool) -> BytesMut {
    let mut sizes = sizes.iter().cycle();
    let (mut rest, mut buf) = (wire, BytesMut::new());
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        buf.extend_from_slice(piece);
        if !took(&mut buf) {
            buf.extend_from_slice(rest);
            break;
        }
    }
    buf
}

const PIECES: [&[usize]; 5] = [&[], &[1, 1], &[2, 3], &[1, 7], &[5, 64]];

pub(crate) fn commands(wire: &[u8], sizes: &[usize]) -> Vec<CommandEvent> {
    let mut decoder = CommandDecoder::default();
    let mut events = Vec::new();
    feed(wire, sizes, |buf| {
        while let Some(event) = decoder.decode(buf) {
            events.push(event);
        }
        assert!(buf.len() <= MAX_LINE + 1);
        true
    });
    events
}

pub(crate) fn sasl(wire: &[u8], sizes: &[usize]) -> Vec<SaslLine> {
    let mut decoder = CommandDecoder::default();
    let mut lines = Vec::new();
    feed(wire, sizes, |buf| {
        while let Some(line) = decoder.decode_sasl(buf) {
            lines.push(line);
        }
        true
    });
    lines
}

pub(crate) fn replies(wire: &[u8], sizes: &[usize], limits: ReplyLimits) -> (Vec<Reply>, Option<ReplyFault>) {
    let mut decoder = ReplyDecoder::new(limits);
    let (mut replies, mut fault) = (Vec::new(), None);
    feed(wire, sizes, |buf| {
        loop {
            match decoder.decode(buf) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(found) => {
                    fault = Some(found);
                    assert_eq!(decoder.decode(buf), Err(found), "a fault is for ever");
                    return false;
                }
            }
        }
        assert!(buf.len() <= limits.max_line + 1);
        true
    });
    (replies, fault)
}

/// The message, whether it has ended, and what was left.
pub(crate) fn message(wire: &[u8], sizes: &[usize]) -> (Vec<u8>, bool, BytesMut) {
    let mut decoder = DataDecoder::default();
    let (mut message, mut ended) = (Vec::new(), false);
    let left = feed(wire, sizes, |buf| {
        loop {
            match decoder.decode(buf) {
                Some(DataEvent::Chunk(chunk)) => {
                    assert!(!chunk.is_empty());
                    message.extend_from_slice(&chunk);
                }
                Some(DataEvent::End) => {
                    ended = true;
                    return false;
                }
                None => break,
            }
        }
        assert!(buf.len() <= 3, "{} bytes are held", buf.len());
        true
    });
    (message, ended, left)
}

/// A message as it is sent after DATA, given to the stuffer in pieces.
pub(crate) fn stuffed(message: &[u8], sizes: &[usize]) -> BytesMut {
    let mut stuffer = Stuffer::default();
    let mut out = BytesMut::new();
    feed(message, sizes, |buf| {
        stuffer.stuff(&buf.split(), &mut out);
        true
    });
    stuffer.finish(&mut out);
    out
}

/// No CR without LF, no LF without CR.
pub(crate) fn has_only_crlf(bytes: &[u8]) -> bool {
    let bare = |(at, byte): (usize, &u8)| match byte {
        b'\r' => bytes.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || bytes[at - 1] != b'\r',
        _ => false,
    };
    !bytes.iter().enumerate().any(bare)
}

/// For bytes from a client that is not in a message.
pub(crate) fn check_commands(wire: &[u8]) {
    let whole = commands(wire, &[]);
    let lines = sasl(wire, &[]);
    for sizes in PIECES {
        assert_eq!(commands(wire, sizes), whole, "in pieces of {sizes:?}");
        assert_eq!(sasl(wire, sizes), lines, "in pieces of {sizes:?}");
    }
    for event in whole {
        let CommandEvent::Command(command) = event else { continue };
        let mut out = BytesMut::new();
        put(&mut out, &command);
        assert!(has_only_crlf(&out) && out.iter().filter(|byte| **byte == b'\n').count() == 1);
        assert_eq!(commands(&out, &[]), [CommandEvent::Command(command)]);
    }
}

/// A command written as Ravenry writes it to a frontend.
pub(crate) fn put(out: &mut BytesMut, command: &Command) {
    match command {
        Command::Lhlo { domain } => put_line(out, &[b"LHLO ", domain]),
        Command::Mail { from, parameters } => {
            put_line(out, &[b"MAIL FROM:<", from.as_bytes(), b"> ", parameters.as_bytes()]);
        }
        Command::Rcpt { to, parameters } => {
            put_line(out, &[b"RCPT TO:<", to.as_bytes(), b"> ", parameters.as_bytes()]);
        }
        Command::Auth { mechanism, initial: Some(initial) } => {
            put_line(out, &[b"AUTH ", mechanism, b" ", initial]);
        }
        Command::Auth { mechanism, initial: None } => put_line(out, &[b"AUTH ", mechanism]),
        Command::Data => put_line(out, &[b"DATA"]),
        Command::Rset => put_line(out, &[b"RSET"]),
        Command::Noop => put_line(out, &[b"NOOP"]),
        Command::Quit => put_line(out, &[b"QUIT"]),
        Command::Vrfy => put_line(out, &[b"VRFY x"]),
        Command::StartTls => put_line(out, &[b"STARTTLS"]),
    }
}

/// For bytes from a server.
pub(crate) fn check_replies(wire: &[u8]) {
    let whole = replies(wire, &[], REPLY_LIMITS);
    for sizes in PIECES {
        let pieces = replies(wire, sizes, REPLY_LIMITS);
        // A line that will be too long is known before it has ended, whole or not.
        assert_eq!(pieces, whole, "in pieces of {sizes:?}");
    }
    for reply in whole.0 {
        let mut out = BytesMut::new();
        put_reply(&mut out, &reply);
        assert!(has_only_crlf(&out));
        let wide = ReplyLimits::default();
        assert_eq!(replies(&out, &[], wide), (vec![reply], None));
    }
}

/// For bytes after DATA, and for any message.
pub(crate) fn check_data(bytes: &[u8]) {
    let (whole, ended, left) = message(bytes, &[]);
    for sizes in PIECES {
        assert_eq!(message(bytes, sizes), (whole.clone(), ended, left.clone()), "in pieces of {sizes:?}");
    }
    assert!(has_only_crlf(&whole), "{:?}", Bytes::from(whole));
    if ended {
        // Only these five bytes end a message, or three at its start.
        let used = &bytes[..bytes.len() - left.len()];
        assert!(used == b".\r\n" || used.ends_with(b"\r\n.\r\n"));
    }
    // What was read is written so that it is read again as what it is, whatever it is.
    for message_bytes in [&whole[..], bytes] {
        let wire = stuffed(message_bytes, &[]);
        for sizes in PIECES {
            assert_eq!(stuffed(message_bytes, sizes), wire, "in pieces of {sizes:?}");
        }
        assert!(has_only_crlf(&wire));
        let ends = wire.windows(5).filter(|five| five == b"\r\n.\r\n").count();
        assert_eq!(ends + usize::from(wire.starts_with(b".\r\n")), 1, "{wire:?}");
        let (again, ended, left) = message(&wire, &[]);
        assert!(ended && left.is_empty());
        if message_bytes == whole {
            let newline: &[u8] = if whole.is_empty() || whole.ends_with(b"\r\n") { b"" } else { b"\r\n" };
            assert_eq!(again, [&whole, newline].concat());
        }
    }
}
