//! What is encoded is decoded, however it arrives; and what nobody encodes keeps the invariants.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use ravenry_parsers::mupdate::{
    BannerSpec, Command, CommandBody, CommandEvent, Limits, ReplyLimits, ServerLine, Status, put_banner,
    put_command,
};

use crate::invariants::{check_commands, check_replies, commands, encoded, replies};

fn string() -> impl Strategy<Value = Bytes> {
    vec(1u8.., 0..80).prop_map(Bytes::from)
}

fn tag() -> impl Strategy<Value = Bytes> {
    "[A-Za-z0-9*.]{1,12}".prop_map(Bytes::from)
}

fn body() -> impl Strategy<Value = CommandBody> {
    let pair = || (string(), string());
    prop_oneof![
        (string(), proptest::option::of("[A-Za-z0-9+/]{1,40}=|=")).prop_map(|(mechanism, initial)| {
            CommandBody::Authenticate { mechanism, initial: initial.map(Bytes::from) }
        }),
        (string(), string(), string()).prop_map(|(mailbox, location, acl)| CommandBody::Activate {
            mailbox,
            location,
            acl
        }),
        pair().prop_map(|(mailbox, location)| CommandBody::Reserve { mailbox, location }),
        pair().prop_map(|(mailbox, location)| CommandBody::Deactivate { mailbox, location }),
        string().prop_map(|mailbox| CommandBody::Delete { mailbox }),
        string().prop_map(|mailbox| CommandBody::Find { mailbox }),
        proptest::option::of(string()).prop_map(|prefix| CommandBody::List { prefix }),
        vec("[a-z.]{1,20}".prop_map(Bytes::from), 0..=30).prop_map(|hosts| CommandBody::Update { hosts }),
        Just(CommandBody::Noop),
        Just(CommandBody::Logout),
        Just(CommandBody::StartTls),
        string().prop_map(|algorithm| CommandBody::Compress { algorithm }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    (tag(), body()).prop_map(|(tag, body)| Command { tag, body })
}

fn line() -> impl Strategy<Value = ServerLine> {
    let status = prop_oneof![Just(Status::Ok), Just(Status::No), Just(Status::Bad), Just(Status::Bye)];
    // A tag `*` is none.
    let tag = || "[A-Za-z0-9]{1,12}".prop_map(Bytes::from);
    prop_oneof![
        (tag(), string(), string(), string()).prop_map(|(tag, mailbox, location, acl)| {
            ServerLine::Mailbox { tag, mailbox, location, acl }
        }),
        (tag(), string(), string()).prop_map(|(tag, mailbox, location)| ServerLine::Reserve {
            tag,
            mailbox,
            location
        }),
        (tag(), string()).prop_map(|(tag, mailbox)| ServerLine::Delete { tag, mailbox }),
        (proptest::option::of(tag()), status, "[^\0]{0,40}")
            .prop_map(|(tag, status, text)| { ServerLine::Status { tag, status, text: Bytes::from(text) } }),
    ]
}

/// The forms a client may write a string in.
#[derive(Clone, Copy, Debug)]
enum Form {
    Quoted,
    Escaped,
    Literal,
    Announced,
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Quoted), Just(Form::Escaped), Just(Form::Literal), Just(Form::Announced)]
}

fn put_string(wire: &mut Vec<u8>, form: Form, string: &[u8]) {
    match form {
        Form::Quoted | Form::Escaped => {
            wire.push(b'"');
            for byte in string {
                if matches!(form, Form::Escaped) || matches!(byte, b'"' | b'\\') {
                    wire.push(b'\\');
                }
                wire.push(*byte);
            }
            wire.push(b'"');
        }
        Form::Literal => wire.extend(format!("{{{}+}}\r\n", string.len()).bytes()),
        Form::Announced => wire.extend(format!("{{{}}}\r\n", string.len()).bytes()),
    }
    if matches!(form, Form::Literal | Form::Announced) {
        wire.extend(string);
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(1usize..90, 1..20)
}

proptest! {
    #[test]
    fn commands_come_out_as_they_went_in(sent in vec(command(), 1..8), sizes in sizes()) {
        let mut wire = BytesMut::new();
        for command in &sent {
            put_command(&mut wire, &command.tag, &command.body);
        }
        let expected: Vec<_> = sent.into_iter().map(CommandEvent::Command).collect();
        for sizes in [&[][..], &[1], &sizes] {
            let got = commands(&wire, sizes, Limits::default());
            prop_assert_eq!(&got.events, &expected);
            prop_assert_eq!(got.left, 0);
        }
    }

    #[test]
    fn replies_come_out_as_they_went_in(sent in vec(line(), 1..8), sizes in sizes()) {
        let wire: Vec<u8> = sent.iter().flat_map(|line| encoded(line).unwrap()).collect();
        for sizes in [&[][..], &[1], &sizes] {
            let got = replies(&wire, sizes, ReplyLimits::default());
            prop_assert_eq!(&got.events, &sent);
            prop_assert_eq!(got.left, 0);
        }
    }

    #[test]
    fn every_form_of_a_string_is_the_same_string(
        strings in vec(("[^\0\r\n]{0,30}", form()), 3),
        word in "(?i)ACTIVATE",
        line_feed in any::<bool>(),
        sizes in sizes(),
    ) {
        let mut wire = format!("X7 {word}").into_bytes();
        for (string, form) in &strings {
            wire.push(b' ');
            put_string(&mut wire, *form, string.as_bytes());
        }
        wire.extend(if line_feed { &b"\n"[..] } else { b"\r\n" });
        let announced = strings.iter().filter(|(_, form)| matches!(form, Form::Announced)).count();
        let [mailbox, location, acl] = [0, 1, 2].map(|nth: usize| Bytes::from(strings[nth].0.clone()));
        let mut expected = vec![CommandEvent::Continue; announced];
        expected.push(CommandEvent::Command(Command {
            tag: Bytes::from_static(b"X7"),
            body: CommandBody::Activate { mailbox, location, acl },
        }));
        for sizes in [&[][..], &[1], &sizes] {
            prop_assert_eq!(&commands(&wire, sizes, Limits::default()).events, &expected);
        }
    }

    #[test]
    fn a_banner_says_what_was_put_in(
        mechanisms in vec("[A-Z0-9-]{1,20}", 0..5),
        starttls in any::<bool>(),
        partial_update in any::<bool>(),
        texts in vec("[^\0]{0,30}", 4),
    ) {
        let names: Vec<&str> = mechanisms.iter().map(String::as_str).collect();
        let mut wire = BytesMut::new();
        put_banner(&mut wire, &BannerSpec {
            mechanisms: &names,
            starttls,
            partial_update,
            servername: &texts[0],
            product: &texts[1],
            version: &texts[2],
            role: &texts[3],
        });
        let mut expected = vec![ServerLine::Mechanisms(mechanisms.into_iter().map(Bytes::from).collect())];
        expected.extend(starttls.then_some(ServerLine::StartTls));
        expected.extend(partial_update.then_some(ServerLine::PartialUpdate));
        let [servername, product, version, role] = [0, 1, 2, 3].map(|nth: usize| Bytes::from(texts[nth].clone()));
        expected.push(ServerLine::Banner { servername, product, version, role });
        prop_assert_eq!(replies(&wire, &[1], ReplyLimits::default()).events, expected);
    }

    #[test]
    fn nearly_commands_keep_the_invariants(
        parts in vec(prop_oneof![
            "X[0-9]? ?", " ", "\r?\n", "(?i)noop|find|list|update|activate|reserve|authenticate",
            "\"[a-c\\\\]{0,60}\"", "\\{[0-9]{0,3}\\+?\\}\r?\n[a-c]{0,9}", "[ -~]{0,4}", "[\\x00-\\xff]{0,3}", "=",
        ], 0..40),
    ) {
        check_commands(parts.concat().as_bytes());
    }

    #[test]
    fn nearly_replies_keep_the_invariants(
        parts in vec(prop_oneof![
            "[*+X] ?", " ", "\r?\n", "(?i)ok|no|bad|bye|mailbox|reserve|delete|auth|starttls|compress", " MUPDATE",
            " \"[a-c\\\\]{0,60}\"", " \\{[0-9]{0,3}\\+?\\}\r?\n[a-c]{0,9}", "[ -~]{0,4}", "[\\x00-\\xff]{0,3}",
        ], 0..40),
    ) {
        check_replies(parts.concat().as_bytes());
    }
}
