//! Every way of getting a line wrong, and what is said to it.

use bytes::BytesMut;
use ravenry_parsers::mupdate::{
    CommandDecoder, CommandEvent, CommandFault, Limits, ReplyDecoder, ReplyFault, ReplyLimits,
};

use crate::fixture::Side::{Client, Server};
use crate::fixture::conversations;

/// What Cyrus's parser, as against its session, answers.
const PARSER_TEXTS: [&str; 6] = [
    "\"Need command\"",
    "\"Null command\"",
    "\"Unrecognized command\"",
    "\"Missing arguments\"",
    "\"Extra arguments\"",
    "\"Badly formed arguments\"",
];

/// Our parser refuses what real Cyrus refuses, in the same words, takes what it takes, and is in step again
/// at the same place. All releases from 3.2 to 3.12 agree.
#[test]
fn commands_are_judged_as_cyrus_judges_them() {
    let mut refused = 0;
    for file in ["answers-3.2.6.txt", "answers-3.6.1.txt"] {
        for conversation in conversations(file) {
            let mut decoder = CommandDecoder::new(Limits::default());
            let mut buf = BytesMut::new();
            let mut challenged = false;
            for turn in conversation.windows(2) {
                let [(Client, asked), (Server, answer)] = turn else {
                    continue;
                };
                let context = String::from_utf8_lossy(asked);
                buf.extend_from_slice(asked);
                let answer = String::from_utf8_lossy(answer);
                if challenged {
                    assert!(decoder.decode_sasl(&mut buf).unwrap().is_some(), "{context}");
                    challenged = false;
                    continue;
                }
                match decoder.decode(&mut buf).unwrap() {
                    Some(CommandEvent::Continue) => {
                        assert_eq!(answer, "+ go ahead\r\n", "{context}");
                        continue;
                    }
                    Some(CommandEvent::Bad { tag, text }) => {
                        let tag = tag.as_deref().unwrap_or(b"*");
                        let ours = format!("{} BAD \"{text}\"\r\n", String::from_utf8_lossy(tag));
                        // Cyrus asks for a login before it looks at arguments.
                        if !answer.contains("Please login first") {
                            assert_eq!(answer, ours, "{context}");
                            refused += 1;
                        }
                    }
                    Some(CommandEvent::Command(command)) => {
                        let unknown = PARSER_TEXTS.iter().any(|text| answer.contains(text));
                        // This master does not offer it.
                        let not_offered = context.starts_with("X STARTTLS");
                        assert!(!unknown || not_offered, "{context} is no command: {answer}");
                        challenged = answer == "\r\n";
                        let tag = String::from_utf8_lossy(&command.tag).into_owned();
                        assert!(challenged || answer.contains(&tag), "{context} has no tag {tag}");
                    }
                    None => panic!("nothing comes of {context}"),
                }
                assert_eq!(decoder.decode(&mut buf), Ok(None), "{context}");
                assert!(buf.is_empty(), "{context}");
            }
        }
    }
    assert!(refused > 100, "the fixtures have lost their refusals: {refused}");
}

fn outcome(wire: &[u8]) -> Vec<String> {
    let mut decoder = CommandDecoder::new(Limits::default());
    let mut buf = BytesMut::from(wire);
    let mut said = Vec::new();
    loop {
        match decoder.decode(&mut buf) {
            Ok(None) => return said,
            Ok(Some(CommandEvent::Command(command))) => said.push(format!("{:?}", command.body)),
            Ok(Some(CommandEvent::Bad { tag, text })) => said.push(format!("{tag:?} {text}")),
            Ok(Some(CommandEvent::Continue)) => said.push("+".into()),
            Err(fault) => {
                assert_eq!(decoder.decode(&mut buf), Err(fault), "a fault is for ever");
                assert_eq!(decoder.decode_sasl(&mut buf), Err(fault), "a fault is for ever");
                said.push(format!("{fault:?}"));
                return said;
            }
        }
    }
}

/// What could not be asked of real Cyrus, or is answered otherwise on purpose.
#[test]
fn commands_are_judged_where_cyrus_is_no_guide() {
    for (wire, expected) in [
        // Cyrus takes an empty tag, and would answer with one.
        (&b" NOOP\r\n"[..], &["None Need command"][..]),
        (b"\x01 NOOP\r\n", &["None Need command"]),
        (b"X\0 NOOP\r\n", &["None Need command"]),
        (b"X NO\0OP\r\n", &["Some(b\"X\") Unrecognized command"]),
        // NUL in a quoted string cuts it short in Cyrus; a backslash takes the line end into it.
        (b"X FIND \"a\0b\"\r\n", &["Some(b\"X\") Extra arguments"]),
        (b"X FIND \"a\\\r\nY NOOP\r\n", &["Some(b\"X\") Extra arguments", "NOOP"]),
        (b"X FIND \"a\rb\"\r\n", &["Some(b\"X\") Extra arguments"]),
        // A bare LF ends the announcement of a literal too, or its content would be commands.
        (b"X FIND {6+}\nA NOOP\nY NOOP\n", &["FIND(b\"A NOOP\")", "NOOP"]),
        // The literal is the rest of the refused line.
        (b"X FOO a {6+}\r\nA NOOP\r\nY NOOP\r\n", &["Some(b\"X\") Unrecognized command", "NOOP"]),
        (b"X FOO {3+}\nA N {8+}\n\r\nB NOOP\r\nY NOOP\r\n", &["Some(b\"X\") Unrecognized command", "NOOP"]),
        // And here it is none.
        (b"X FOO {6+} \r\nA NOOP\r\n", &["Some(b\"X\") Unrecognized command", "NOOP"]),
        (b"X FOO 6+}\r\nA NOOP\r\n", &["Some(b\"X\") Unrecognized command", "NOOP"]),
        (b"X FOO {+}\r\nA NOOP\r\n", &["Some(b\"X\") Unrecognized command", "NOOP"]),
        // Sizes: nothing is waited for, nothing set aside.
        (b"X FIND {4294967296+}\r\n", &["LiteralTooLarge"]),
        (b"X FIND {4294967301+}\r\nhello\r\n", &["LiteralTooLarge"]),
        (b"X FIND {18446744073709551617+}\r\nh\r\n", &["LiteralTooLarge"]),
        (b"X FIND {99999999999999999999999999999999}\r\n", &["LiteralTooLarge"]),
        (b"X FIND {2147483647+}\r\n", &["LiteralTooLarge"]),
        (b"X FIND {131073+}\r\n", &["LiteralTooLarge"]),
        (b"X FIND {131073}\r\n", &["LiteralTooLarge"]),
        (b"X FIND {131072+}\r\n", &[]),
        (b"X FIND {131072}\r\n", &["+"]),
        (b"X FIND {01+}\r\na\r\n", &["LiteralSize"]),
        (b"X FIND {00+}\r\n\r\n", &["LiteralSize"]),
        (b"X FIND {-1+}\r\n", &["Some(b\"X\") Extra arguments"]),
        (b"X FOO {4294967296+}\r\n", &["Some(b\"X\") Unrecognized command", "LiteralTooLarge"]),
        (b"X FOO {01+}\r\n", &["Some(b\"X\") Unrecognized command", "LiteralSize"]),
        // Within each argument's limit, beyond the command's.
        (b"X UPDATE {131072+}\r\n", &[]),
        (
            &[b"X ", &[b'F'; 300][..], b"\r\nX NOOP\r\n"].concat(),
            &["Some(b\"X\") Unrecognized command", "NOOP"],
        ),
        (&[&[b'T'; 65][..], b" NOOP\r\n"].concat(), &["TagTooLong"]),
        (&[&[b'T'; 64][..], b" NOOP\r\n"].concat(), &["NOOP"]),
        (&[b"X FIND \"", &[b'a'; 131_073][..], b"\"\r\n"].concat(), &["ArgumentTooLong"]),
    ] {
        let shown = String::from_utf8_lossy(wire.get(..60).unwrap_or(wire)).into_owned();
        assert_eq!(outcome(wire), expected, "{shown:?}");
    }
}

#[test]
fn a_command_may_be_as_long_as_the_limit_and_no_longer() {
    let limits = Limits { max_argument: 100, max_command: 64 };
    for (name, fits) in [(64 - "X FIND \"\"\r\n".len(), true), (65 - "X FIND \"\"\r\n".len(), false)] {
        let mut buf = BytesMut::from(format!("X FIND \"{}\"\r\n", "a".repeat(name)).as_str());
        let got = CommandDecoder::new(limits).decode(&mut buf);
        assert_eq!(got.is_ok(), fits, "{got:?}");
        assert!(fits || got == Err(CommandFault::CommandTooLong));
    }
    // Said when it is announced, not when it has come.
    let mut buf = BytesMut::from("X FIND {60+}\r\n");
    let got = CommandDecoder::new(limits).decode(&mut buf);
    assert_eq!(got, Err(CommandFault::CommandTooLong));
    // Also behind a refusal.
    let mut buf = BytesMut::from("X FOO {60+}\r\n");
    let mut decoder = CommandDecoder::new(limits);
    assert!(matches!(decoder.decode(&mut buf), Ok(Some(CommandEvent::Bad { .. }))));
    assert_eq!(decoder.decode(&mut buf), Err(CommandFault::CommandTooLong));
}

#[test]
fn limits_follow_the_login() {
    let mut decoder = CommandDecoder::new(Limits::BEFORE_LOGIN);
    let wire = format!("X FIND {{{}+}}\r\n", Limits::BEFORE_LOGIN.max_argument + 1);
    let mut buf = BytesMut::from(wire.as_str());
    decoder.set_limits(Limits::default());
    assert_eq!(decoder.decode(&mut buf), Ok(None));
    let mut buf = BytesMut::from(wire.as_str());
    let got = CommandDecoder::new(Limits::BEFORE_LOGIN).decode(&mut buf);
    assert_eq!(got, Err(CommandFault::LiteralTooLarge));
}

#[test]
fn every_fault_has_words_for_the_client_and_for_the_log() {
    for fault in [
        CommandFault::CommandTooLong,
        CommandFault::LiteralTooLarge,
        CommandFault::LiteralSize,
        CommandFault::ArgumentTooLong,
        CommandFault::TagTooLong,
    ] {
        assert!(fault.to_string().starts_with("the client "), "{fault}");
        assert!(fault.text().is_ascii() && !fault.text().is_empty());
    }
}

#[test]
fn what_is_no_reply_ends_the_connection() {
    for (wire, fault) in [
        (&b"\r\n"[..], ReplyFault::Malformed),
        (b" OK \"done\"\r\n", ReplyFault::Malformed),
        (b"T\r\n", ReplyFault::Malformed),
        (b"T FOO \"a\"\r\n", ReplyFault::Malformed),
        (b"T OKAY \"a\"\r\n", ReplyFault::Malformed),
        (b"\0T OK \"done\"\r\n", ReplyFault::Malformed),
        (b"T OK \"do\0ne\"\r\n", ReplyFault::Malformed),
        (b"T OK {3+}\r\na\0b\r\n", ReplyFault::Malformed),
        (b"T OK {3+}\r\nabcd\r\n", ReplyFault::Malformed),
        (b"T OK {x}\r\n", ReplyFault::Malformed),
        (b"* AUTH \"PLAIN\r\n", ReplyFault::Malformed),
        (b"* OK MUPDATE \"a\" \"b\"\r\n", ReplyFault::Malformed),
        (b"* OK MUPDATE {10+}\r\n\nT OK \"a\"\n\r\n", ReplyFault::Malformed),
        (b"* AUTH {5+}\r\nPLAIN\r\n", ReplyFault::Malformed),
        (&[&b"* AUTH"[..], &b" A".repeat(65), b"\r\n"].concat(), ReplyFault::Malformed),
        (b"U01 MAILBOX\r\n", ReplyFault::Malformed),
        (b"U01 MAILBOX a b c\r\n", ReplyFault::Malformed),
        (b"U01 MAILBOX \"a\" \"b\"\r\n", ReplyFault::Malformed),
        (b"U01 MAILBOX \"a\" \"b\" \"c\" \"d\"\r\n", ReplyFault::Malformed),
        (b"U01 RESERVE \"a\"\r\n", ReplyFault::Malformed),
        (b"U01 DELETE \"a\" \"b\"\r\n", ReplyFault::Malformed),
        (b"U01 DELETE {3+}\r\na\0b\r\n", ReplyFault::Malformed),
        (b"U01 DELETE {4294967297+}\r\n", ReplyFault::LiteralTooLarge),
        (b"U01 DELETE {18446744073709551617}\r\n", ReplyFault::LiteralTooLarge),
        (b"U01 DELETE {01+}\r\na\r\n", ReplyFault::LiteralSize),
        (&[&[b'T'; 65][..], b" OK \"\"\r\n"].concat(), ReplyFault::TagTooLong),
        (&[b"U01 DELETE \"", &[b'a'; 1 << 20][..], b"a\"\r\n"].concat(), ReplyFault::ArgumentTooLong),
        (&[b"T OK ", &[b'a'; 1 << 21][..]].concat(), ReplyFault::LineTooLong),
        (b"U01 MAILBOX {1048576+}\r\n", ReplyFault::LineTooLong),
    ] {
        let limits = ReplyLimits {
            max_line: if fault == ReplyFault::LineTooLong { 1 << 20 } else { 1 << 21 },
            ..ReplyLimits::default()
        };
        let mut decoder = ReplyDecoder::new(limits);
        let mut buf = BytesMut::from(wire);
        let shown = String::from_utf8_lossy(wire.get(..60).unwrap_or(wire)).into_owned();
        assert_eq!(decoder.decode(&mut buf), Err(fault), "{shown:?}");
        assert_eq!(decoder.decode(&mut buf), Err(fault), "a fault is for ever");
        assert!(fault.to_string().starts_with("the server "), "{fault}");
    }
}

#[test]
fn only_challenges_and_the_end_are_taken_while_logging_in() {
    for (wire, fault) in [
        (&b"not*base64\r\n"[..], ReplyFault::Challenge),
        (b"* AUTH \"PLAIN\"\r\n", ReplyFault::Malformed),
        (b"+ abcd\r\n", ReplyFault::Malformed),
        (b"A01 FOO\r\n", ReplyFault::Malformed),
        (&[b'a'; (1 << 20) + 2], ReplyFault::ArgumentTooLong),
    ] {
        let mut decoder = ReplyDecoder::new(ReplyLimits::default());
        let mut buf = BytesMut::from(wire);
        let got = decoder.decode_sasl(&mut buf);
        assert_eq!(got, Err(fault));
        assert_eq!(decoder.decode(&mut buf), Err(fault), "a fault is for ever");
    }
}
