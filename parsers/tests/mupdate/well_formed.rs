//! Conversations of real Cyrus are understood, and we would have written them the same, with their literals quoted.

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{
    BannerSpec, Command, CommandBody, CommandDecoder, CommandEvent, Limits, ReplyDecoder, ReplyLimits,
    SaslLine, SaslServerLine, ServerLine, Status, put_banner, put_command, put_delete, put_mailbox_tail,
    put_status,
};

use crate::fixture::Side::{Client, Server};
use crate::fixture::{Conversation, captured, conversations, said};
use crate::invariants::encoded;

fn b(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// What Cyrus wrote, with its literals as quoted strings.
fn quoted(wire: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    let mut rest = wire;
    while let Some((before, size, behind)) = rest.iter().position(|byte| *byte == b'{').and_then(|at| {
        let (size, behind) = std::str::from_utf8(&rest[at + 1..]).ok()?.split_once("+}\r\n")?;
        Some((&rest[..at], size.parse::<usize>().ok()?, behind.as_bytes()))
    }) {
        let (string, behind) = behind.split_at(size);
        let string = String::from_utf8_lossy(string).replace('\\', "\\\\").replace('"', "\\\"");
        out.extend_from_slice(before);
        out.extend_from_slice(format!("\"{string}\"").as_bytes());
        rest = behind;
    }
    out.extend_from_slice(rest);
    out
}

/// What Cyrus's clients sent leaves our encoder as it left theirs, with its literals quoted.
fn commands_are_written_alike(file: &str, conversations: &[Conversation]) -> Vec<Command> {
    let mut seen = Vec::new();
    for conversation in conversations {
        let wire = said(conversation, Client);
        let mut decoder = CommandDecoder::new(Limits::default());
        let mut buf = BytesMut::from(wire.as_slice());
        let mut written = BytesMut::new();
        while let Some(event) = decoder.decode(&mut buf).unwrap() {
            let CommandEvent::Command(command) = event else {
                panic!("{event:?} in {file}");
            };
            put_command(&mut written, &command.tag, &command.body);
            while matches!(command.body, CommandBody::Authenticate { .. }) && begins_a_response(&buf) {
                match decoder.decode_sasl(&mut buf).unwrap() {
                    Some(SaslLine::Response(response)) => written.extend_from_slice(&response),
                    other => panic!("{other:?} in {file}"),
                }
                written.extend_from_slice(b"\r\n");
            }
            seen.push(command);
        }
        assert_eq!(written, quoted(&wire), "in {file}");
        assert!(buf.is_empty());
    }
    seen
}

/// A response of SASL is a line without a space; no command is.
fn begins_a_response(buf: &[u8]) -> bool {
    buf.split(|byte| *byte == b'\n').next().is_some_and(|line| !line.is_empty() && !line.contains(&b' '))
}

/// What Cyrus's servers sent is understood to the last byte, and data lines and statuses leave our encoder
/// as they left theirs, with their literals quoted.
fn replies_are_written_alike(file: &str, conversations: &[Conversation]) -> Vec<ServerLine> {
    let mut seen = Vec::new();
    for conversation in conversations {
        let mut decoder = ReplyDecoder::new(ReplyLimits::default());
        let mut buf = BytesMut::new();
        let mut authenticating = 0;
        for (side, bytes) in conversation {
            if *side == Client {
                authenticating += bytes.windows(12).filter(|word| word == b"AUTHENTICATE").count();
                continue;
            }
            buf.extend_from_slice(bytes);
            loop {
                let before = buf.clone();
                let line = if authenticating > 0 && !buf.starts_with(b"* ") {
                    match decoder.decode_sasl(&mut buf).unwrap() {
                        None => break,
                        Some(SaslServerLine::Challenge(_)) => continue,
                        Some(SaslServerLine::Done { tag, status, text }) => {
                            authenticating -= 1;
                            ServerLine::Status { tag, status, text }
                        }
                    }
                } else {
                    match decoder.decode(&mut buf).unwrap() {
                        None => break,
                        Some(line) => line,
                    }
                };
                let consumed = &before[..before.len() - buf.len()];
                // Some of Cyrus's texts are bare; a slave would end the connection over ours.
                let bare = !consumed.contains(&b'"') && matches!(line, ServerLine::Status { .. });
                if let Some(written) = encoded(&line).filter(|_| !bare) {
                    assert_eq!(written, quoted(consumed), "in {file}");
                }
                seen.push(line);
            }
        }
        // A server that is full says a NUL behind its BYE.
        assert!(buf.is_empty() || buf == "\0", "{buf:?} is left in {file}");
    }
    seen
}

#[test]
fn a_murder_is_understood() {
    let commands = commands_are_written_alike("murder-3.6.1.txt", &conversations("murder-3.6.1.txt"));
    assert!(commands.contains(&Command {
        tag: b("X2"),
        body: CommandBody::Activate {
            mailbox: b("user.alice.Sent &APw-ber"),
            location: b("be1.murder.test!"),
            acl: b("alice\tlrswipkxtecdan\t"),
        },
    }));
    assert!(commands.contains(&Command { tag: b("U01"), body: CommandBody::Update { hosts: Vec::new() } }));

    let replies = replies_are_written_alike("murder-3.6.1.txt", &conversations("murder-3.6.1.txt"));
    assert!(replies.contains(&ServerLine::Delete { tag: b("U01"), mailbox: b("user.alice.Sent") }));
    assert!(replies.contains(&ServerLine::Reserve {
        tag: b("U01"),
        mailbox: b("user.a"),
        location: b("be1!default"),
    }));
}

#[test]
fn a_login_with_scram_is_understood() {
    let commands = commands_are_written_alike("scram-3.6.1.txt", &conversations("scram-3.6.1.txt"));
    assert!(commands.iter().any(|command| matches!(
        &command.body,
        CommandBody::Authenticate { mechanism, initial: Some(initial) }
            if mechanism == "SCRAM-SHA-256" && initial.starts_with(b"bixhPW11cmRlcixu")
    )));
    let replies = replies_are_written_alike("scram-3.6.1.txt", &conversations("scram-3.6.1.txt"));
    assert!(replies.contains(&ServerLine::Mechanisms(vec![b("SCRAM-SHA-256")])));
    assert!(replies.contains(&ServerLine::Status {
        tag: Some(b("A01")),
        status: Status::Ok,
        text: b("Authenticated"),
    }));
}

#[test]
fn every_answer_is_understood() {
    for (file, version) in [
        ("answers-3.2.6.txt", "3.2.6-Debian-3.2.6-2+deb11u2"),
        ("answers-3.6.1.txt", "3.6.1-Debian-3.6.1-4+deb12u4"),
    ] {
        let replies = replies_are_written_alike(file, &conversations(file));
        assert!(replies.contains(&ServerLine::Banner {
            servername: b("mm.murder.test"),
            product: b("Cyrus IMAP"),
            version: b(version),
            role: b("(master)"),
        }));
        for (status, text) in [
            (Status::No, "Client canceled authentication"),
            (Status::No, "Unknown COMPRESS algorithm: NONE"),
            (Status::No, "mailbox already exists"),
            (Status::Bad, "Please login first"),
            (Status::Bad, "not legal when streaming"),
            (Status::Ok, "streaming starts"),
        ] {
            assert!(
                replies.iter().any(|line| matches!(
                    line,
                    ServerLine::Status { status: s, text: t, .. } if *s == status && t == text
                )),
                "{status} {text} in {file}"
            );
        }
    }
}

/// What a script of ours asked, rightly and wrongly, and so not in the form that Cyrus's clients have.
const SCRIPTED: [&str; 8] = [
    "auth.txt",
    "before-login.txt",
    "commands.txt",
    "partial-update.txt",
    "slave-as-server.txt",
    "syntax.txt",
    "too-many.txt",
    "update.txt",
];

#[test]
fn every_capture_is_understood_and_written_alike() {
    let (mut commands, mut replies) = (0, 0);
    for (file, conversation) in captured() {
        let conversation = [conversation];
        replies += replies_are_written_alike(&file, &conversation).len();
        if !SCRIPTED.iter().any(|scripted| file.ends_with(scripted)) {
            commands += commands_are_written_alike(&file, &conversation).len();
        }
    }
    assert!(commands > 70 && replies > 450, "captures are missing: {commands} commands, {replies} replies");
}

#[test]
fn a_banner_is_written_as_cyrus_writes_it() {
    let conversations = conversations("murder-3.6.1.txt");
    let (Server, theirs) = &conversations[0][0] else {
        panic!("the server speaks first");
    };
    let mut ours = BytesMut::new();
    put_banner(
        &mut ours,
        &BannerSpec {
            mechanisms: &["PLAIN"],
            starttls: false,
            partial_update: true,
            servername: "mm.murder.test",
            product: "Cyrus IMAP",
            version: "3.6.1-Debian-3.6.1-4+deb12u4",
            role: "(master)",
        },
    );
    let without_compress = theirs.to_vec();
    let without_compress = String::from_utf8(without_compress).unwrap();
    assert_eq!(ours, without_compress.replace("* COMPRESS \"DEFLATE\"\r\n", "").as_bytes());
}

fn replies(wire: &'static str) -> Vec<ServerLine> {
    let mut decoder = ReplyDecoder::new(ReplyLimits::default());
    let mut buf = BytesMut::from(wire);
    let mut lines = Vec::new();
    while let Some(line) = decoder.decode(&mut buf).unwrap() {
        lines.push(line);
    }
    lines
}

#[test]
fn the_lines_that_no_capture_has() {
    let status = |tag: Option<&'static str>, status, text| ServerLine::Status {
        tag: tag.map(b),
        status,
        text: b(text),
    };
    for (wire, line) in [
        // RFC 3656's form of the mechanisms, and none at all.
        ("* AUTH KERBEROS_V4 GSSAPI\r\n", ServerLine::Mechanisms(vec![b("KERBEROS_V4"), b("GSSAPI")])),
        ("* AUTH\r\n", ServerLine::Mechanisms(Vec::new())),
        ("* STARTTLS\r\n", ServerLine::StartTls),
        ("* PARTIAL-UPDATE\r\n", ServerLine::PartialUpdate),
        ("* COMPRESS \"DEFLATE\"\r\n", ServerLine::Compress),
        ("* COMPRESS \"ZSTD\"\r\n", ServerLine::OtherCapability(b("COMPRESS \"ZSTD\""))),
        ("* ENABLE \"X\" Y\r\n", ServerLine::OtherCapability(b("ENABLE \"X\" Y"))),
        ("+ go ahead\r\n", ServerLine::Continue),
        ("+\n", ServerLine::Continue),
        (
            "S01 OK Begin TLS negotiation now\r\n",
            status(Some("S01"), Status::Ok, "Begin TLS negotiation now"),
        ),
        ("Z01 OK DEFLATE active\r\n", status(Some("Z01"), Status::Ok, "DEFLATE active")),
        ("T ok {4}\r\n\"a\"b\r\n", status(Some("T"), Status::Ok, "\"a\"b")),
        ("T NO {4+}\r\na\r\nb\r\n", status(Some("T"), Status::No, "a\r\nb")),
        ("T BAD \"a\\\"b\\\\\"\n", status(Some("T"), Status::Bad, "a\"b\\")),
        ("T NO \"a\" b\r\n", status(Some("T"), Status::No, "\"a\" b")),
        ("T OK\r\n", status(Some("T"), Status::Ok, "")),
        (
            "* BYE \"no longer ready for connections\"\r\n",
            status(None, Status::Bye, "no longer ready for connections"),
        ),
        ("* OK still here\r\n", status(None, Status::Ok, "still here")),
        ("* OK MUPDATE is fine\r\n", status(None, Status::Ok, "MUPDATE is fine")),
        ("U01 delete \"user.a\"\r\n", ServerLine::Delete { tag: b("U01"), mailbox: b("user.a") }),
    ] {
        assert_eq!(replies(wire), [line], "{wire}");
    }
}

#[test]
fn the_stray_nul_behind_a_bye_is_not_taken_for_anything() {
    let expected = ServerLine::Status { tag: None, status: Status::Bye, text: b("Server Unable") };
    assert_eq!(replies("* BYE \"Server Unable\"\r\n\0"), [expected]);
}

#[test]
fn a_status_is_always_quoted_or_a_literal() {
    let written = |text| {
        let mut out = BytesMut::new();
        put_status(&mut out, Some(b"T"), Status::No, text);
        out
    };
    assert_eq!(written("done"), "T NO \"done\"\r\n");
    assert_eq!(written(""), "T NO \"\"\r\n");
    assert_eq!(written("say \"a\\b\""), "T NO \"say \\\"a\\\\b\\\"\"\r\n");
    assert_eq!(written("a\nb"), "T NO {3+}\r\na\nb\r\n");
    assert_eq!(written("a\0b"), "T NO \"a b\"\r\n");
}

#[test]
fn one_tail_serves_every_tag() {
    let mut tail = BytesMut::new();
    put_mailbox_tail(&mut tail, b"user.a", b"be1!default", b"a\tlrs\t");
    assert_eq!(tail, " MAILBOX \"user.a\" \"be1!default\" \"a\tlrs\t\"\r\n");
}

#[test]
fn a_literal_is_written_only_where_a_quoted_string_will_not_do() {
    let written = |name: &str| {
        let mut out = BytesMut::new();
        put_delete(&mut out, b"U01", name.as_bytes());
        String::from_utf8(out.to_vec()).unwrap()
    };
    assert_eq!(written("user.a b"), "U01 DELETE \"user.a b\"\r\n");
    assert_eq!(written(r#"user."a\b"#), "U01 DELETE \"user.\\\"a\\\\b\"\r\n");
    assert_eq!(written("user.a\r\nb"), "U01 DELETE {9+}\r\nuser.a\r\nb\r\n");
    let (short, long) = ("n".repeat(16_384), "n".repeat(16_385));
    assert_eq!(written(&short), format!("U01 DELETE \"{short}\"\r\n"));
    assert_eq!(written(&long), format!("U01 DELETE {{16385+}}\r\n{long}\r\n"));
}

#[test]
fn an_empty_initial_response_is_an_equals_sign_however_it_comes() {
    for form in [" =", " \"\"", " {0+}\r\n", " \"=\""] {
        let mut decoder = CommandDecoder::new(Limits::default());
        let mut buf = BytesMut::from(format!("A01 AUTHENTICATE \"EXTERNAL\"{form}\r\n").as_str());
        let event = decoder.decode(&mut buf).unwrap();
        let body = CommandBody::Authenticate { mechanism: b("EXTERNAL"), initial: Some(b("=")) };
        assert_eq!(event, Some(CommandEvent::Command(Command { tag: b("A01"), body })), "{form}");
    }
    let mut out = BytesMut::new();
    let body = CommandBody::Authenticate { mechanism: b("EXTERNAL"), initial: Some(b("=")) };
    put_command(&mut out, b"A01", &body);
    assert_eq!(out, "A01 AUTHENTICATE \"EXTERNAL\" =\r\n");
}

#[test]
fn no_secret_is_printed() {
    let body: CommandBody =
        CommandBody::Authenticate { mechanism: b("PLAIN"), initial: Some(b("AG11cmRlcgBzZWNyZXQ=")) };
    let command = Command { tag: b("A01"), body };
    assert_eq!(format!("{command:?}"), r#"Command { tag: b"A01", body: AUTHENTICATE(b"PLAIN") }"#);
    assert!(!format!("{:?}", SaslLine::Response(b("AG11cmRlcgBzZWNyZXQ="))).contains("AG11"));
    assert!(!format!("{:?}", SaslServerLine::Challenge(b("cj1xeWtJ"))).contains("cj1x"));
}
