//! Where smtp-proto, a parser by others, and this one should agree.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use ravenry_parsers::lmtp::{Command, CommandEvent, Enhanced, Reply, ReplyLimits, put_reply};
use smtp_proto::request::receiver::DataReceiver;
use smtp_proto::{Request, response::parser::ResponseReceiver};

use crate::invariants::{commands, message, replies, stuffed};

fn local_part() -> impl Strategy<Value = String> {
    "[a-z0-9]([.+_-]?[a-z0-9]){0,10}"
}

fn domain() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,10}\\.[a-z]{2,5}"
}

proptest! {
    #[test]
    fn of_commands(local in local_part(), domain in domain(), size in 1u32..1_000_000) {
        let address = format!("{local}@{domain}");
        let mail = format!("MAIL FROM:<{address}> SIZE={size} BODY=8BITMIME\r\n");
        let Ok(Request::Mail { from }) = Request::parse(&mut mail.as_bytes().iter()) else { panic!("{mail}") };
        let events = commands(mail.as_bytes(), &[]);
        let [CommandEvent::Command(Command::Mail { from: ours, parameters })] = &events[..] else { panic!() };
        prop_assert_eq!(ours.as_bytes(), from.address.as_bytes());
        let ours = parameters.iter().find(|parameter| parameter.is("SIZE")).unwrap();
        prop_assert_eq!(ours.value.unwrap().parse::<usize>().unwrap(), from.size);

        let rcpt = format!("RCPT TO:<{address}>\r\n");
        let Ok(Request::Rcpt { to }) = Request::parse(&mut rcpt.as_bytes().iter()) else { panic!("{rcpt}") };
        let events = commands(rcpt.as_bytes(), &[]);
        let [CommandEvent::Command(Command::Rcpt { to: ours, .. })] = &events[..] else { panic!() };
        prop_assert_eq!(ours.as_bytes(), to.address.as_bytes());
    }

    /// What we write, they read. Bare line ends, which they keep, and a dot at the very start, which they do
    /// not undouble, are not given.
    #[test]
    fn of_messages(lines in proptest::collection::vec("[.a-z ]{0,10}", 1..20)) {
        let text: String = format!("Subject: x\r\n{}", lines.iter().map(|line| format!("{line}\r\n")).collect::<String>());
        let wire = stuffed(text.as_bytes(), &[]);
        let mut theirs = Vec::new();
        prop_assert!(DataReceiver::new().ingest(&mut wire.iter(), &mut theirs));
        let (ours, ended, _) = message(&wire, &[]);
        prop_assert!(ended);
        prop_assert_eq!(&ours, text.as_bytes());
        prop_assert_eq!(theirs, ours);
    }

    #[test]
    fn of_replies(code in 200u16..560, detail in 0u16..100, text in "[a-z]{1,20}( [a-z]{1,9}){0,3}") {
        let class = u8::try_from(code / 100).unwrap();
        prop_assume!(matches!(class, 2 | 4 | 5) && code % 100 < 60);
        let line = format!("{class}.1.{detail} {text}");
        let reply = Reply { code, lines: vec![Bytes::from(line)] };
        let mut wire = BytesMut::new();
        put_reply(&mut wire, &reply);
        let theirs = ResponseReceiver::default().parse(&mut wire.iter()).unwrap();
        let (ours, fault) = replies(&wire, &[], ReplyLimits::default());
        prop_assert_eq!(fault, None);
        prop_assert_eq!(ours[0].code, theirs.code);
        let Enhanced(class, subject, detail) = ours[0].enhanced().unwrap();
        prop_assert_eq!([u16::from(class), subject, detail], theirs.esc.map(u16::from));
    }
}
