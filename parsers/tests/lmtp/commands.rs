//! What MTAs send, and what nobody should.

use bytes::Bytes;
use proptest::prelude::*;
use ravenry_parsers::lmtp::{Command, CommandEvent, Parameters, Path, Refusal, SaslLine};

use crate::invariants::{check_commands, commands, sasl};

fn one(line: &str) -> CommandEvent {
    let mut events = commands(format!("{line}\r\n").as_bytes(), &[]);
    assert_eq!(events.len(), 1, "{line}");
    events.remove(0)
}

fn refused(line: &str) -> Refusal {
    match one(line) {
        CommandEvent::Refused(refusal) => refusal,
        CommandEvent::Command(command) => panic!("{line} is taken for {command:?}"),
    }
}

fn rcpt(line: &str) -> (Path, Parameters) {
    match one(line) {
        CommandEvent::Command(Command::Rcpt { to, parameters }) => (to, parameters),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_session_of_postfix() {
    let wire = b"LHLO mta.example.org\r\nMAIL FROM:<a@example.org> SIZE=321 BODY=8BITMIME\r\n\
        RCPT TO:<alice@example.org>\r\nRCPT TO:<bob+x@example.org> IGNOREQUOTA\r\nDATA\r\nQUIT\r\n";
    let path = |text: &str| Path::new(Bytes::from(text.to_owned())).unwrap();
    let parameters = |text: &str| Parameters::new(Bytes::from(text.to_owned())).unwrap();
    let expected = [
        Command::Lhlo { domain: "mta.example.org".into() },
        Command::Mail { from: path("a@example.org"), parameters: parameters("SIZE=321 BODY=8BITMIME") },
        Command::Rcpt { to: path("alice@example.org"), parameters: parameters("") },
        Command::Rcpt { to: path("bob+x@example.org"), parameters: parameters("IGNOREQUOTA") },
        Command::Data,
        Command::Quit,
    ];
    assert_eq!(commands(wire, &[]), expected.map(CommandEvent::Command));
    check_commands(wire);
}

#[test]
fn case_and_spaces_are_forgiven_where_clients_need_it() {
    for line in ["mail from:<>", "MAIL FROM: <>", "Mail  From:<> ", "MAIL FROM:<>  BODY=7BIT"] {
        assert!(
            matches!(one(line), CommandEvent::Command(Command::Mail { from, .. }) if from.is_null()),
            "{line}"
        );
    }
    for line in ["NOOP", "noop x y", "NOOP "] {
        assert_eq!(one(line), CommandEvent::Command(Command::Noop));
    }
    assert_eq!(one("data "), CommandEvent::Command(Command::Data));
}

#[test]
fn addresses_come_apart_at_the_last_at_sign_and_lose_their_route() {
    let (path, _) = rcpt("RCPT TO:<@a.example,@b.example:\"odd @ > one\"@example.org>");
    assert_eq!(path.mailbox(), b"\"odd @ > one\"@example.org");
    assert_eq!(path.parts(), (&b"\"odd @ > one\""[..], Some(&b"example.org"[..])));
    assert_eq!(rcpt("RCPT TO:<alice>").0.parts(), (&b"alice"[..], None));
}

#[test]
fn what_is_no_command_has_its_reply() {
    for (line, refusal) in [
        ("", Refusal::Unknown),
        (" NOOP", Refusal::Unknown),
        ("FROB", Refusal::Unknown),
        ("MAILFROM:<>", Refusal::Unknown),
        ("HELO x", Refusal::NotLmtp),
        ("EHLO x", Refusal::NotLmtp),
        ("LHLO", Refusal::Syntax),
        ("LHLO a b", Refusal::Syntax),
        ("MAIL FROM:a@example.org", Refusal::Syntax),
        ("MAIL FROM:<a@example.org", Refusal::Syntax),
        ("MAIL FROM:<a@example.org>SIZE=1", Refusal::Syntax),
        ("MAIL FROM:<a@example.org> SIZE=", Refusal::Syntax),
        ("MAIL FROM:<a@example.org> =1", Refusal::Syntax),
        ("MAIL FROM:<a@example.org> SIZE=\u{e9}", Refusal::Syntax),
        ("MAIL TO:<a@example.org>", Refusal::Syntax),
        ("RCPT TO:<>", Refusal::Syntax),
        ("RCPT TO:<@a:>", Refusal::Syntax),
        ("RCPT TO:<a b@example.org>", Refusal::Syntax),
        ("RCPT TO:<\"a@example.org>", Refusal::Syntax),
        ("RCPT TO:<a@example.org> x\ty", Refusal::Syntax),
        ("DATA now", Refusal::Syntax),
        ("QUIT now", Refusal::Syntax),
        ("AUTH", Refusal::Syntax),
        ("AUTH PLAIN a b", Refusal::Syntax),
        ("NO\0OP", Refusal::Stray),
        ("NOOP\nQUIT", Refusal::Stray),
        ("NOOP\rQUIT", Refusal::Stray),
    ] {
        assert_eq!(refused(line), refusal, "{line:?}");
    }
}

#[test]
fn nothing_but_crlf_ends_a_command() {
    let wire = b"NOOP\nRCPT TO:<a@b>\r\nNOOP\rQUIT\r\nNOOP\r\r\nNOOP\r\n";
    let stray = CommandEvent::Refused(Refusal::Stray);
    assert_eq!(
        commands(wire, &[]),
        [stray.clone(), stray.clone(), stray, CommandEvent::Command(Command::Noop)]
    );
    check_commands(wire);
}

#[test]
fn a_login_line_is_base64_or_a_star() {
    let lines = sasl(b"AGEAYg==\r\n*\r\n\r\na b\r\n", &[]);
    let response = |text: &'static str| SaslLine::Response(Bytes::from_static(text.as_bytes()));
    assert_eq!(lines, [response("AGEAYg=="), SaslLine::Cancelled, response(""), SaslLine::Garbled]);
}

proptest! {
    #[test]
    fn any_bytes(wire in proptest::collection::vec(any::<u8>(), 0..400)) {
        check_commands(&wire);
    }

    #[test]
    fn nearly_right_bytes(parts in proptest::collection::vec(
        prop_oneof![
            Just("MAIL FROM:<"), Just("RCPT TO:<"), Just("a@b"), Just("> "), Just(">"), Just("\r\n"), Just("\r"),
            Just("\n"), Just(" "), Just("\""), Just("\\"), Just("SIZE=1"), Just("@a,@b:"), Just("LHLO x"),
            Just("AUTH PLAIN "), Just("DATA"), Just("="), Just("."), Just("\0"),
        ], 0..30)) {
        check_commands(parts.concat().as_bytes());
    }
}
