//! What passes, what is rewritten, what is noticed: a conversation without sockets.

use proptest::prelude::*;

use crate::imap::conversation::{Conversation, Notice};
use crate::imap::outcome::Acted;
use crate::imap::output::Passed;

/// What one side sends, in pieces, and what comes out at the other; pieces held back are shown again.
fn run<E: std::fmt::Debug>(pieces: &[&[u8]], mut step: impl FnMut(&[u8]) -> Result<Passed, E>) -> String {
    let (mut out, mut held) = (Vec::new(), Vec::new());
    for piece in pieces {
        held.extend_from_slice(piece);
        let (bytes, taken) = match step(&held).unwrap() {
            Passed::AsIs(taken) => (held[..taken].to_vec(), taken),
            Passed::Instead(bytes, taken) => (bytes.to_vec(), taken),
        };
        out.extend_from_slice(&bytes);
        held.drain(..taken);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn client(conversation: &mut Conversation, text: &str) -> String {
    run(&[text.as_bytes()], |chunk| conversation.client_sent(chunk))
}

fn server(conversation: &mut Conversation, text: &str) -> String {
    run(&[text.as_bytes()], |chunk| conversation.server_sent(chunk))
}

#[test]
fn what_is_not_ours_passes_as_it_is() {
    let mut conversation = Conversation::default();
    for text in [
        "a NOOP\r\n",
        "a APPEND INBOX {5+}\r\nb COMPRESS DEFLATE\r\n",
        "a FETCH 1 (BODY.PEEK[])\r\nb UID SEARCH RETURN (ALL) 1:*\r\n",
        "a SETACL INBOX bob lrs\r\nc XSOMETHING {3}\r\nabc\r\n",
    ] {
        assert_eq!(client(&mut conversation, text), text);
    }
    for text in [
        "* 1 FETCH (BODY[] {12}\r\na OK [CAPABI)\r\n",
        "x OK done\r\n",
        "* OK Still here {4}\r\n",
        "+ idling\r\n",
    ] {
        assert_eq!(server(&mut conversation, text), text);
    }
}

#[test]
fn compression_is_refused_between_replies_and_never_reaches_the_frontend() {
    let mut conversation = Conversation::default();
    assert_eq!(server(&mut conversation, "* 1 FETCH (BODY[] {4}\r\nab"), "* 1 FETCH (BODY[] {4}\r\nab");
    assert_eq!(client(&mut conversation, "a COMPRESS DEFLATE\r\nb NOOP\r\n"), "b NOOP\r\n");
    assert_eq!(conversation.injected(), None, "not in the middle of a reply");
    assert_eq!(server(&mut conversation, "cd)\r\nb OK\r\n"), "cd)\r\na BAD Unrecognized command\r\nb OK\r\n");
    assert_eq!(client(&mut conversation, "c rlist \"\" {1}\r\n"), "");
    assert_eq!(conversation.injected().unwrap(), "c BAD Unrecognized command\r\n");
    assert_eq!(client(&mut conversation, "d NOOP\r\n"), "d NOOP\r\n", "the refused literal never came");
}

#[test]
fn confirmed_and_refused_changes_are_noticed() {
    let mut conversation = Conversation::default();
    client(&mut conversation, "a DELETE INBOX.x\r\nb CREATE {7}\r\n");
    server(&mut conversation, "+ go ahead\r\n");
    client(&mut conversation, "INBOX.y\r\nc RENAME \"INBOX.y\" INBOX.z\r\n");
    server(&mut conversation, "a OK Completed\r\n* 3 EXISTS\r\n");
    assert_eq!(
        server(&mut conversation, "b NO no connection to server\r\nc NO Permission denied\r\n"),
        "b NO [UNAVAILABLE] The mail system cannot do this right now, try again later (no connection to \
         server)\r\nc NO Permission denied\r\n"
    );
    let create = Acted::Create(b"INBOX.y".to_vec());
    assert_eq!(
        conversation.notices(),
        [
            Notice::Confirmed(Acted::Delete(b"INBOX.x".to_vec())),
            Notice::NoMaster(create, "no connection to server".into())
        ]
    );
    assert!(conversation.between_commands());
}

#[test]
fn whatever_is_refused_for_want_of_a_master_is_marked_and_told() {
    let box_x = || b"INBOX.x".to_vec();
    for (command, acted) in [
        ("CREATE INBOX.x", Acted::Create(box_x())),
        ("DELETE INBOX.x", Acted::Delete(box_x())),
        ("RENAME INBOX.x INBOX.z", Acted::Rename(box_x(), b"INBOX.z".to_vec())),
        ("SETACL INBOX.x bob lrs", Acted::Acl(box_x())),
        ("DELETEACL INBOX.x bob", Acted::Acl(box_x())),
    ] {
        for text in ["no connection to server", "unable to reserve mailbox on mupdate server"] {
            let mut conversation = Conversation::default();
            client(&mut conversation, &format!("a {command}\r\n"));
            let said = server(&mut conversation, &format!("a NO {text}\r\n"));
            let marked = format!(
                "a NO [UNAVAILABLE] The mail system cannot do this right now, try again later ({text})\r\n"
            );
            assert_eq!(said, marked, "{command}");
            assert_eq!(conversation.notices(), [Notice::NoMaster(acted.clone(), text.into())], "{command}");
        }
    }
    // Where nobody wants that, it is told all the same.
    let mut conversation = Conversation::new(false);
    client(&mut conversation, "a CREATE INBOX.x\r\n");
    assert_eq!(server(&mut conversation, "a NO mupdate\r\n"), "a NO mupdate\r\n");
    assert_eq!(conversation.notices(), [Notice::NoMaster(Acted::Create(box_x()), "mupdate".into())]);
    // Whatever else has those words in it is the server's own.
    let mut conversation = Conversation::default();
    client(&mut conversation, "a SELECT mupdate\r\n");
    assert_eq!(server(&mut conversation, "a NO mupdate\r\n"), "a NO mupdate\r\n");
    assert!(conversation.notices().is_empty());
}

#[test]
fn capabilities_lose_what_would_blind_us() {
    let mut conversation = Conversation::default();
    let sent =
        "* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE\r\na OK [CAPABILITY IMAP4rev1 COMPRESS=DEFLATE] x\r\n";
    assert_eq!(
        server(&mut conversation, sent),
        "* CAPABILITY IMAP4rev1 IDLE\r\na OK [CAPABILITY IMAP4rev1] x\r\n"
    );
}

#[test]
fn between_two_commands_is_where_nobody_waits() {
    let mut conversation = Conversation::default();
    assert!(conversation.between_commands());
    client(&mut conversation, "a SEARCH ALL\r\nb COMPRESS DEFLATE\r\nc NOOP\r\n");
    for said in ["* SEARCH 1 2\r\n", "a OK\r\n", "* 3 EXISTS\r\n"] {
        server(&mut conversation, said);
        assert!(!conversation.between_commands(), "{said}");
    }
    server(&mut conversation, "c OK\r\n");
    assert!(conversation.between_commands(), "what we refused ourselves is not waited for");
    // An answer without a tag, and one that nobody waits for.
    client(&mut conversation, "\r\n");
    server(&mut conversation, "* BAD Invalid tag\r\nz OK\r\n");
    assert!(conversation.between_commands());
    client(&mut conversation, "d IDLE\r\n");
    server(&mut conversation, "+ idling\r\n");
    assert!(!conversation.between_commands());
    client(&mut conversation, "DONE\r\n");
    server(&mut conversation, "d OK\r\n");
    assert!(conversation.between_commands());
}

#[test]
fn an_idle_session_holds_nothing() {
    let mut conversation = Conversation::default();
    client(&mut conversation, "a DELETE INBOX.x\r\nb NOOP\r\n");
    server(&mut conversation, "* CAPABILITY IMAP4rev1\r\na OK\r\nb OK\r\n");
    conversation.notices();
    assert_eq!(conversation.held(), 0);
    assert!(size_of::<Conversation>() <= 320, "{}", size_of::<Conversation>());
}

fn text(words: Vec<&'static str>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(words), 0..20).prop_map(|words| words.concat().into_bytes())
}

proptest! {
    /// In whatever pieces it comes, the same passes.
    #[test]
    fn pieces_make_no_difference(
        sent in text(vec!["a ", "NOOP\r\n", "COMPRESS X\r\n", "DELETE x\r\n", "{2+}\r\n", "IDLE\r\nDONE\r\n", "\r\n", "APPEND "]),
        answered in text(vec![
            "* ", "CAPABILITY COMPRESS=DEFLATE x\r\n", "a ", "NO mupdate\r\n", "OK [CAPABILITY COMPRESS=DEFLATE]\r\n",
            "1 FETCH {3}\r\n", "+ go\r\n", "\r\n",
        ]),
        size in 1usize..9,
    ) {
        let mut whole = Conversation::default();
        let mut cut = Conversation::default();
        let pieces: Vec<&[u8]> = sent.chunks(size).collect();
        prop_assert_eq!(
            run(&[&sent], |chunk| whole.client_sent(chunk)),
            run(&pieces, |chunk| cut.client_sent(chunk))
        );
        let pieces: Vec<&[u8]> = answered.chunks(size).collect();
        prop_assert_eq!(
            run(&[&answered], |chunk| whole.server_sent(chunk)),
            run(&pieces, |chunk| cut.server_sent(chunk))
        );
        prop_assert_eq!(whole.notices(), cut.notices());
    }
}
