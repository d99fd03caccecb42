//! What Cyrus answers, and what nobody should.

use proptest::prelude::*;
use ravenry_parsers::lmtp::{Capabilities, Enhanced, ReplyFault, ReplyLimits};

use crate::invariants::{check_replies, replies};

#[test]
fn the_replies_of_cyrus() {
    let wire = b"220 fe1.murder.test Cyrus LMTP 3.6.1-Debian server ready\r\n\
        250-fe1.murder.test\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-PIPELINING\r\n250-SIZE 2147483647\r\n\
        250-STARTTLS\r\n250-AUTH SCRAM-SHA-512 PLAIN\r\n250-AUTH=PLAIN\r\n250 IGNOREQUOTA\r\n\
        550-Mailbox unknown.  Either there is no mailbox associated with this\r\n\
        550-name or you do not have authorization to see it.\r\n550 5.1.1 User unknown\r\n354 go ahead\r\n\
        430 Authentication required\r\n250 2.1.5 Success SESSIONID=<cyrus-1>\r\n";
    let (replies, fault) = replies(wire, &[], ReplyLimits::default());
    assert_eq!(fault, None);
    let codes: Vec<u16> = replies.iter().map(|reply| reply.code).collect();
    assert_eq!(codes, [220, 250, 550, 354, 430, 250]);
    let offers = Capabilities::of(&replies[1]);
    let expected = Capabilities {
        pipelining: true,
        eight_bit_mime: true,
        enhanced_status_codes: true,
        size: Some(2_147_483_647),
        ignore_quota: true,
        start_tls: true,
        auth: vec!["SCRAM-SHA-512".into(), "PLAIN".into()],
    };
    assert_eq!(offers, expected);
    assert_eq!(replies[2].enhanced(), Some(Enhanced(5, 1, 1)));
    assert_eq!(replies[4].enhanced(), None);
    assert_eq!(replies[5].enhanced(), Some(Enhanced(2, 1, 5)));
    check_replies(wire);
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    for (wire, expected) in [
        (&b"hello\r\n"[..], ReplyFault::NoReply),
        (b"25 x\r\n", ReplyFault::NoReply),
        (b"250+x\r\n", ReplyFault::NoReply),
        (b"150 x\r\n", ReplyFault::NoReply),
        (b"600 x\r\n", ReplyFault::NoReply),
        (b"250 a\nb\r\n", ReplyFault::NoReply),
        (b"250-x\r\n251 x\r\n", ReplyFault::MixedCodes),
    ] {
        assert_eq!(replies(wire, &[], ReplyLimits::default()).1, Some(expected), "{wire:?}");
    }
    let limits = ReplyLimits { max_line: 10, max_lines: 2 };
    assert_eq!(replies(b"250-\r\n250-\r\n250 \r\n", &[], limits).1, Some(ReplyFault::TooManyLines));
    assert_eq!(replies(b"250 0123456\r\n", &[], limits).1, Some(ReplyFault::LineTooLong));
    assert_eq!(replies(b"250 0123456789", &[], limits).1, Some(ReplyFault::LineTooLong));
}

#[test]
fn an_enhanced_code_is_three_numbers_of_the_reply_s_class() {
    for (text, code) in [
        ("5.1.1 x", Some(Enhanced(5, 1, 1))),
        ("4.123.456", Some(Enhanced(4, 123, 456))),
        ("3.1.1 x", None),
        ("5.1 x", None),
        ("5.1.1.1 x", None),
        ("5.1234.1", None),
        ("+5.1.1", None),
        ("5.1.", None),
        ("", None),
    ] {
        assert_eq!(Enhanced::parse(text.as_bytes()), code, "{text}");
    }
    let (replies, _) = replies(b"550 4.1.1 x\r\n", &[], ReplyLimits::default());
    assert_eq!(replies[0].enhanced(), None);
}

proptest! {
    #[test]
    fn any_bytes(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_replies(&wire);
    }

    #[test]
    fn nearly_right_bytes(parts in proptest::collection::vec(
        prop_oneof![Just("250"), Just("550"), Just("-"), Just(" "), Just("5.1.1"), Just("\r\n"), Just("\n"), Just("text")],
        0..30)) {
        check_replies(parts.concat().as_bytes());
    }
}
