//! What a hostile peer can make us hold, and how long it can make us look.

use bytes::BytesMut;
use ravenry_parsers::lmtp::{
    CommandDecoder, CommandEvent, DataDecoder, DataEvent, MAX_LINE, Refusal, ReplyDecoder, ReplyLimits,
};

const READ: usize = 4096;

#[test]
fn an_endless_line_is_refused_once_and_never_held() {
    let mut decoder = CommandDecoder::default();
    let mut buf = BytesMut::new();
    for _ in 0..1000 {
        buf.extend_from_slice(&[b'a'; READ]);
        assert_eq!(decoder.decode(&mut buf), None);
        assert!(buf.capacity() <= 2 * MAX_LINE + 2 * READ, "{}", buf.capacity());
    }
    buf.extend_from_slice(b"\r\nNOOP\r\n");
    assert_eq!(decoder.decode(&mut buf), Some(CommandEvent::Refused(Refusal::TooLong)));
    assert!(matches!(decoder.decode(&mut buf), Some(CommandEvent::Command(_))));
}

#[test]
fn an_endless_reply_is_a_fault() {
    for repeated in [&b"a"[..], b"250-x\r\n", b"250-"] {
        let mut decoder = ReplyDecoder::new(ReplyLimits::default());
        let mut buf = BytesMut::new();
        let mut input = repeated.iter().cycle();
        let fault = (0..100).find_map(|_| {
            buf.extend(input.by_ref().take(READ));
            decoder.decode(&mut buf).err()
        });
        assert!(fault.is_some(), "{repeated:?}");
    }
}

/// Takes minutes if every byte has the whole line looked at again.
#[test]
fn long_lines_may_come_byte_by_byte() {
    let mut decoder = CommandDecoder::default();
    let mut buf = BytesMut::new();
    let wire = format!("NOOP {}\r\n", "a".repeat(MAX_LINE - 5));
    let events = wire.bytes().filter(|byte| {
        buf.extend_from_slice(&[*byte]);
        decoder.decode(&mut buf).is_some()
    });
    assert_eq!(events.count(), 1);
}

#[test]
fn a_message_is_not_held_back() {
    for repeated in [&b"a"[..], b"a\r\n", b"\n", b"\r", b"..\r\n", b"\n."] {
        let mut decoder = DataDecoder::default();
        let mut buf = BytesMut::new();
        let mut input = repeated.iter().cycle();
        for _ in 0..200 {
            buf.extend(input.by_ref().take(READ));
            while let Some(event) = decoder.decode(&mut buf) {
                assert!(matches!(event, DataEvent::Chunk(_)));
            }
            assert!(buf.len() <= 3);
        }
    }
}

#[test]
fn an_ordinary_message_is_not_copied() {
    let mut buf = BytesMut::from("Subject: x\r\n\r\nSome text,\r\nand more.\r\n.\r\n");
    let range = buf.as_ptr_range();
    let Some(DataEvent::Chunk(chunk)) = DataDecoder::default().decode(&mut buf) else { panic!() };
    assert_eq!(&chunk[..], b"Subject: x\r\n\r\nSome text,\r\nand more.\r\n");
    assert!(range.contains(&chunk.as_ptr()));
}
