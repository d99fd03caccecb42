//! What a hostile peer can make us hold.

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{
    Command, CommandBody, CommandDecoder, CommandEvent, CommandFault, Limits, ReplyDecoder, ReplyLimits,
    ServerLine,
};

/// How a connection reads: never more than this in one go.
const READ: usize = 4096;

/// Endless input of one kind: `start`, then `repeated` for ever.
struct Flood {
    start: &'static [u8],
    repeated: &'static [u8],
}

const FLOODS: [Flood; 9] = [
    Flood { start: b"", repeated: b"a" },
    Flood { start: b"", repeated: b" " },
    Flood { start: b"X ", repeated: b"a" },
    Flood { start: b"X FIND \"", repeated: b"a" },
    Flood { start: b"X FIND \"", repeated: b"\\\"" },
    Flood { start: b"X FIND {", repeated: b"1" },
    Flood { start: b"X FIND {8000+}\r\n", repeated: b"a" },
    Flood { start: b"X FOO ", repeated: b"{0+}\r\n" },
    Flood { start: b"X UPDATE", repeated: b" {1+}\r\na" },
];

/// Feeds the flood until the decoder has had enough; the most memory that was held on the way.
fn drown(flood: &Flood, mut decode: impl FnMut(&mut BytesMut) -> bool) -> usize {
    let mut input = flood.start.iter().chain(flood.repeated.iter().cycle());
    let mut buf = BytesMut::new();
    let mut most = 0;
    for _ in 0..10_000 {
        buf.extend(input.by_ref().take(READ));
        let open = decode(&mut buf);
        most = most.max(buf.capacity());
        if !open {
            return most;
        }
    }
    panic!("{:?} goes on for ever", String::from_utf8_lossy(flood.start));
}

/// Whether the connection goes on, after all events were taken.
fn drained(decoder: &mut CommandDecoder, buf: &mut BytesMut) -> bool {
    loop {
        match decoder.decode(buf) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

#[test]
fn before_login_nothing_takes_more_than_64_kib() {
    for flood in &FLOODS {
        let mut decoder = CommandDecoder::new(Limits::BEFORE_LOGIN);
        let most = drown(flood, |buf| drained(&mut decoder, buf));
        assert!(most <= 32 * 1024, "{most} bytes for {:?}", String::from_utf8_lossy(flood.start));
    }
    // The longest command there is, with its content still held when the next one is read.
    let limits = Limits::BEFORE_LOGIN;
    let mut decoder = CommandDecoder::new(limits);
    let wire = format!("X FIND {{{}+}}\r\n{}\r\n", limits.max_argument, "a".repeat(limits.max_argument));
    let mut buf = BytesMut::new();
    let mut held = 0;
    let mut command = None;
    for piece in wire.as_bytes().chunks(READ) {
        buf.extend_from_slice(piece);
        held = held.max(buf.capacity());
        command = command.or(decoder.decode(&mut buf).unwrap());
    }
    assert!(matches!(command, Some(CommandEvent::Command(_))));
    buf.extend_from_slice(&[b'X'; READ]);
    assert!(held + buf.capacity() <= 64 * 1024, "{held} and {}", buf.capacity());
}

#[test]
fn bad_lines_do_not_pile_up() {
    for repeated in
        [&b"X FOO\r\n"[..], b"\r\n", b"X FIND {3}\r\nabc\r\n", b"X FOO {20+}\r\n01234567890123456789\r\n"]
    {
        let mut decoder = CommandDecoder::new(Limits::BEFORE_LOGIN);
        let mut buf = BytesMut::new();
        let mut input = repeated.iter().cycle();
        for _ in 0..200 {
            buf.extend(input.by_ref().take(READ));
            assert!(drained(&mut decoder, &mut buf));
            assert!(buf.len() <= repeated.len());
            assert!(buf.capacity() <= 4 * READ);
        }
    }
}

#[test]
fn a_sasl_line_is_bounded_too() {
    for start in [&b""[..], b"A01 OK "] {
        let flood = Flood { start, repeated: b"a" };
        let mut decoder = CommandDecoder::new(Limits::BEFORE_LOGIN);
        let most = drown(&flood, |buf| decoder.decode_sasl(buf).is_ok());
        assert!(most <= 32 * 1024);
        let limits = ReplyLimits { max_argument: 8 * 1024, max_line: 16 * 1024 };
        let mut decoder = ReplyDecoder::new(limits);
        let most = drown(&flood, |buf| decoder.decode_sasl(buf).is_ok());
        assert!(most <= 64 * 1024);
    }
}

#[test]
fn a_server_is_bounded_too() {
    let limits = ReplyLimits { max_argument: 8 * 1024, max_line: 16 * 1024 };
    for (start, repeated) in [
        (&b""[..], &b"a"[..]),
        (b"U01 MAILBOX \"", b"a"),
        (b"U01 MAILBOX {8192+}\r\n", b"a"),
        (b"* AUTH", b" A"),
        (b"T OK ", b"a"),
        (b"+ ", b"a"),
    ] {
        let mut decoder = ReplyDecoder::new(limits);
        let most = drown(&Flood { start, repeated }, |buf| decoder.decode(buf).is_ok());
        assert!(most <= 64 * 1024, "{most} bytes for {:?}", String::from_utf8_lossy(start));
    }
}

/// Takes minutes if every byte has the whole argument looked at again.
#[test]
fn a_long_argument_may_come_byte_by_byte() {
    let long = "a".repeat(128 * 1024);
    for wire in [format!("X FIND \"{long}\"\r\n"), format!("X FIND {{{}+}}\r\n{long}\r\n", long.len())] {
        let mut decoder = CommandDecoder::new(Limits::default());
        let mut buf = BytesMut::new();
        let mut got = None;
        for byte in wire.bytes() {
            assert_eq!(got, None);
            buf.extend_from_slice(&[byte]);
            got = decoder.decode(&mut buf).unwrap();
        }
        let body = CommandBody::Find { mailbox: Bytes::from(long.clone()) };
        assert_eq!(got, Some(CommandEvent::Command(Command { tag: Bytes::from_static(b"X"), body })));
    }
    let wire = format!("X FOO {long}\r\n");
    let mut decoder = CommandDecoder::new(Limits::default());
    let mut buf = BytesMut::new();
    let bad = wire.bytes().filter(|byte| {
        buf.extend_from_slice(&[*byte]);
        decoder.decode(&mut buf).unwrap().is_some()
    });
    assert_eq!(bad.count(), 1);
}

/// A refused line of ever more literals costs its length once, too.
#[test]
fn many_small_literals_end_with_the_command_s_limit() {
    let flood = Flood { start: b"X FOO ", repeated: b"{0+}\r\n" };
    let mut decoder = CommandDecoder::new(Limits::default());
    let mut fault = None;
    drown(&flood, |buf| {
        loop {
            match decoder.decode(buf) {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(found) => {
                    fault = Some(found);
                    return false;
                }
            }
        }
    });
    assert_eq!(fault, Some(CommandFault::CommandTooLong));
}

#[test]
fn arguments_are_cut_out_of_the_buffer_uncopied() {
    let mut buf = BytesMut::from("U01 MAILBOX {6+}\r\nuser.a {4+}\r\nbe1! \"acl\"\r\n");
    let range = buf.as_ptr_range();
    let line = ReplyDecoder::new(ReplyLimits::default()).decode(&mut buf).unwrap();
    let Some(ServerLine::Mailbox { tag, mailbox, location, acl }) = line else {
        panic!("{line:?}");
    };
    for piece in [tag, mailbox, location, acl] {
        assert!(range.contains(&piece.as_ptr()), "{piece:?} was copied");
    }
}
