//! Where commands and replies begin and end.

use proptest::prelude::*;
use ravenry_parsers::imap::{ClientEvent, ClientFault, ClientFramer, Stop, Verb};

use crate::invariants::{Sent, check_client, check_server, client, server};

fn commands(wire: &str) -> Vec<(String, Verb, String)> {
    let (sent, end) = client(&[wire.as_bytes()]);
    assert_eq!(end, Ok(()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    sent.into_iter().map(|Sent { head, bytes, .. }| (text(&head.0), head.1, text(&bytes))).collect()
}

fn replies(wire: &str) -> Vec<String> {
    let (sent, end) = server(&[wire.as_bytes()]);
    assert_eq!(end, Ok(()));
    sent.into_iter().map(|sent| String::from_utf8_lossy(&sent.bytes).into_owned()).collect()
}

#[test]
fn a_literal_is_part_of_its_command_whatever_it_holds() {
    let append = "a1 APPEND INBOX (\\Seen) {11+}\r\nb2 LOGOUT\r\n {3+}\r\nabc\r\n";
    let wire = format!("{append}c3 NOOP\r\n");
    let found = commands(&wire);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0], ("a1".into(), Verb::Other, append.into()));
    assert_eq!(found[1], ("c3".into(), Verb::Noop, "c3 NOOP\r\n".into()));
}

#[test]
fn after_idle_one_line_is_no_command() {
    let found = commands("a IDLE\r\nDONE\r\nb DELETE x\r\n");
    assert_eq!(found[0].2, "a IDLE\r\nDONE\r\n");
    assert_eq!(found[1].1, Verb::Delete);
}

#[test]
fn answers_to_challenges_are_no_commands_until_the_server_has_answered() {
    let mut framer = ClientFramer::default();
    let mut input: &[u8] = b"a AUTHENTICATE PLAIN\r\nAGFsaWNlAHNlY3JldA==\r\nb DELETE x\r\n";
    let mut stops = Vec::new();
    while let Some(event) = framer.next(&mut input).unwrap() {
        if let ClientEvent::Part { stop, .. } = event {
            stops.push(stop);
        }
    }
    assert_eq!(stops, [Stop::Exchange; 3], "pipelined behind a login it is an answer too");
    framer.answered();
    let mut input: &[u8] = b"c NOOP\r\n";
    assert_eq!(framer.next(&mut input).unwrap(), Some(ClientEvent::Begin { tag: b"c", verb: Verb::Noop }));
}

#[test]
fn a_literal_that_the_server_refuses_never_comes() {
    let mut framer = ClientFramer::default();
    let mut input: &[u8] = b"a APPEND INBOX {999999}\r\n";
    framer.next(&mut input).unwrap();
    let Some(ClientEvent::Part { stop, .. }) = framer.next(&mut input).unwrap() else { panic!() };
    assert_eq!(stop, Stop::Announced(999_999));
    framer.answered();
    let mut input: &[u8] = b"b NOOP\r\n";
    assert_eq!(framer.next(&mut input).unwrap(), Some(ClientEvent::Begin { tag: b"b", verb: Verb::Noop }));
}

#[test]
fn a_server_text_that_looks_like_an_announcement_is_text() {
    let wire =
        "* OK see {5}\r\na NO [ALERT] {3}\r\n+ {7}\r\n* 1 FETCH (BODY[] {6}\r\n* OK\r\n)\r\na OK {1}\r\n";
    let found = replies(wire);
    assert_eq!(
        found,
        [
            "* OK see {5}\r\n",
            "a NO [ALERT] {3}\r\n",
            "+ {7}\r\n",
            "* 1 FETCH (BODY[] {6}\r\n* OK\r\n)\r\n",
            "a OK {1}\r\n"
        ]
    );
}

#[test]
fn a_beginning_without_end_is_a_fault_and_not_kept() {
    let endless = vec![b'x'; 4096];
    assert_eq!(client(&[&endless]).1, Err(ClientFault::NoTag));
    assert_eq!(client(&[b"a APPEND x {99999999999999999999}\r\n"]).1, Err(ClientFault::LiteralSize));
}

fn session() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "a1 ",
        "NOOP",
        "APPEND x ",
        "{3}\r\n",
        "{12+}\r\n",
        "~{2}\r\n",
        "\r\n",
        "abc",
        "IDLE\r\n",
        "DONE\r\n",
        "\"q\" ",
        "AUTHENTICATE PLAIN\r\n",
        "* ",
        "OK ",
        "[CAPABILITY ",
        "IMAP4rev1]",
        "12 FETCH (",
        ")",
        "+ ",
        "BYE",
        " ",
        "{",
        "}",
        "* CAPABILITY COMPRESS=DEFLATE x\r\n",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #[test]
    fn pieces_make_no_difference(wire in session()) {
        check_client(&wire);
        check_server(&wire);
    }

    #[test]
    fn nor_for_any_bytes(wire in prop::collection::vec(any::<u8>(), 0..200)) {
        check_client(&wire);
        check_server(&wire);
    }
}
