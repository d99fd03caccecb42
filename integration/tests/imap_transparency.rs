//! What a mail client hears through Ravenry is what the frontend says, byte for byte, but for the capabilities that
//! Ravenry takes away.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use ravenry_integration::clients::Wire;
use ravenry_integration::murder::Plan;
use ravenry_integration::stage::{IMAP, Stage};

const MESSAGE: &str = "From: a@example.org\r\nTo: b@example.org\r\nSubject: one\r\nMessage-ID: <1@example.org>\r\n\
                       Date: Mon, 2 Nov 2026 10:00:00 +0000\r\n\r\na1 OK not a reply {5}\r\n* BYE\r\n";
const DATE: &str = "\" 2-Nov-2026 10:00:00 +0000\"";

/// What one client sends, command by command. Whatever a release does not know, it refuses in its own words, which
/// must come through as well.
fn script() -> Vec<String> {
    let literal = |text: &str| format!("{{{}+}}\r\n{text}", text.len());
    let append = format!("APPEND INBOX.t (\\Seen) {DATE} {}", literal(MESSAGE));
    let multi = format!("{append} (\\Flagged) {DATE} {}", literal(MESSAGE));
    let catenate =
        format!("APPEND INBOX.t {DATE} CATENATE (TEXT {} TEXT {})", literal(MESSAGE), literal("more\r\n"));
    let binary = format!("APPEND INBOX.t {DATE} ~{}", literal(MESSAGE));
    let mut lines: Vec<String> = [
        "CAPABILITY",
        "ID NIL",
        "NAMESPACE",
        "ENABLE CONDSTORE QRESYNC",
        "CREATE INBOX.t",
        "LIST \"\" \"*\" RETURN (SUBSCRIBED CHILDREN STATUS (MESSAGES UNSEEN))",
        "LIST (SUBSCRIBED) \"\" \"*\"",
        "LSUB \"\" \"*\"",
        "SUBSCRIBE INBOX.t",
        "SETACL INBOX.t anyone lr",
        "GETACL INBOX.t",
        "LISTRIGHTS INBOX.t anyone",
        "MYRIGHTS INBOX.t",
        "GETQUOTAROOT INBOX.t",
        "SETMETADATA INBOX.t (/private/comment \"x {5}\")",
        "GETMETADATA INBOX.t (/private/comment)",
        "NOTIFY SET (SELECTED (MessageNew))",
    ]
    .map(str::to_owned)
    .into();
    lines.extend([append, multi, catenate, binary]);
    lines.extend(
        [
            "SELECT INBOX.t",
            "FETCH 1:* (UID FLAGS BODY.PEEK[] ENVELOPE BODYSTRUCTURE INTERNALDATE RFC822.SIZE)",
            "FETCH 1 BINARY.PEEK[1]",
            "UID FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)] PREVIEW)",
            "SEARCH RETURN (ALL COUNT) SUBJECT one",
            "SORT (SUBJECT) UTF-8 ALL",
            "THREAD REFERENCES UTF-8 ALL",
            "STORE 1 +FLAGS.SILENT (\\Answered)",
            "UID STORE 2 (UNCHANGEDSINCE 1) +FLAGS (x)",
            "COPY 1 INBOX",
            "UID MOVE 2 INBOX",
            "REPLACE 1 INBOX.t {3+}\r\nabc",
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)",
            "EXPUNGE",
            "ESEARCH IN (mailboxes INBOX.t) RETURN (ALL) ALL",
            "STATUS INBOX.t (MESSAGES UIDNEXT UNSEEN SIZE)",
            "UNSELECT",
            "EXAMINE INBOX (QRESYNC (1 1))",
            "CLOSE",
            "IDLE",
            "GENURLAUTH bad INTERNAL",
            "UNKNOWN {4+}\r\nx y\r",
            "LIST {1+}\r\n\" {1+}\r\n*",
            "APPEND INBOX.t {1000000000000}",
            "NOOP",
            "RENAME INBOX.t INBOX.u",
            "UNSUBSCRIBE INBOX.t",
            "DELETE INBOX.u",
            "DELETE INBOX.none",
            "SELECT INBOX.none",
            "LOGIN again x",
            "AUTHENTICATE PLAIN",
            "STARTTLS x",
            "UIDBATCHES",
            "ENABLE UIDONLY",
            "ENABLE IMAP4rev2",
            "LOGOUT",
        ]
        .map(str::to_owned),
    );
    lines
}

/// What a replica is told (X-REPLICATION): a file without a `+`, in which everything may stand. No SYNCGET: of a mailbox
/// elsewhere it ends the session of a 3.12.4 frontend.
fn replication() -> Vec<String> {
    let file = "Subject: x\r\n\r\na COMPRESS DEFLATE\r\nb APPEND x {9}\r\n";
    let guid = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
    [
        "SYNCRESTART".to_owned(),
        format!("SYNCAPPLY MESSAGE (%{{default {guid} {}}}\r\n{file})", file.len()),
        "NOOP".to_owned(),
        "SYNCAPPLY NOTHING %(A 1)".to_owned(),
        "LOGOUT".to_owned(),
    ]
    .into()
}

/// Everything that was heard, with what a second run must have otherwise taken out.
async fn told(address: SocketAddr, user: &str, script: Vec<String>) -> Result<Vec<String>> {
    let mut wire = Wire::connect(address).await?;
    let mut heard = vec![wire.expect_line().await?];
    let login = format!("LOGIN {user} secret");
    for (number, command) in std::iter::once(login).chain(script).enumerate() {
        let tag = format!("t{number} ");
        wire.send(format!("{tag}{command}\r\n").as_bytes()).await?;
        loop {
            let frame = wire.frame().await.with_context(|| format!("{command}: {:?}", heard.last()))?;
            let Some(frame) = frame else {
                heard.push(format!("closed after {command}"));
                return Ok(heard);
            };
            let line = String::from_utf8_lossy(&frame).into_owned();
            let last = line.starts_with(&tag);
            heard.push(neutral(&line).replace(user, "USER"));
            // How the script goes on where the server wants it to.
            match command.as_str() {
                _ if !line.starts_with('+') => {}
                "IDLE" => wire.send(b"DONE\r\n").await?,
                _ => wire.send(b"*\r\n").await?,
            }
            if last {
                break;
            }
        }
    }
    Ok(heard)
}

/// Numbers and identifiers that are new every time.
fn neutral(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    const MARKS: [&str; 11] = [
        "(0.",
        " in 0.",
        "UIDVALIDITY ",
        "HIGHESTMODSEQ ",
        "MODSEQ (",
        "SESSIONID=<",
        "MAILBOXID (",
        "APPENDUID ",
        "COPYUID ",
        "MODSEQ ",
        "THREADID (",
    ];
    while let Some((at, mark)) = MARKS.iter().filter_map(|mark| Some((rest.find(mark)?, *mark))).min() {
        let (before, behind) = rest.split_at(at + mark.len());
        out.push_str(before);
        let end = behind
            .find(|c: char| !c.is_ascii_alphanumeric() && !"-.,: @_".contains(c))
            .unwrap_or(behind.len());
        let value = behind.split_at(end.max(1).min(behind.len()));
        out.push('…');
        rest = value.1;
        if mark == "APPENDUID " || mark == "COPYUID " {
            // The UIDVALIDITY is the first number; the UIDs behind it are compared.
            let (_, uids) = value.0.split_once(' ').unwrap_or((value.0, ""));
            out.push_str(uids);
        }
    }
    out + rest
}

/// What Ravenry takes away on purpose.
fn without_hidden(line: &str) -> String {
    let hidden = ["COMPRESS=DEFLATE", "MAILBOX-REFERRALS", "LOGIN-REFERRALS", "UNAUTHENTICATE", "STARTTLS"];
    hidden.iter().fold(line.to_owned(), |line, word| line.replace(&format!(" {word}"), ""))
}

fn differences(direct: &[String], other: &[String]) -> Vec<String> {
    let missing = String::new();
    let lines = direct.len().max(other.len());
    (0..lines)
        .map(|at| (direct.get(at).unwrap_or(&missing), other.get(at).unwrap_or(&missing)))
        .filter(|(direct, other)| without_hidden(direct) != without_hidden(other))
        .map(|(direct, other)| format!("{direct:?} became {other:?}"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_through_ravenry_is_the_session_with_the_frontend() -> Result<()> {
    let stage = Stage::start(Plan::chosen()?, IMAP).await?;
    // One user each, so that each finds the same.
    for user in ["alice", "bob", "carol"] {
        stage.murder.create_user(user, &stage.murder.be1).await?;
    }
    let direct = told(stage.murder.fe1.imap_address(), "alice", script()).await?;
    let again = told(stage.murder.fe1.imap_address(), "bob", script()).await?;
    let through = told(stage.imap(), "carol", script()).await?;
    let new_every_time = differences(&direct, &again);
    assert!(new_every_time.is_empty(), "is to be taken out before it is compared: {new_every_time:#?}");
    // Greeting and login: only the capabilities differ, and which of the frontends greets.
    assert!(through[0].starts_with("* OK [CAPABILITY IMAP4rev1 "), "{}", through[0]);
    let changed = differences(&direct[1..], &through[1..]);
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(direct.len() > 100, "the script said much: {}", direct.len());

    let direct = told(stage.murder.fe1.imap_address(), "cyrus", replication()).await?;
    let through = told(stage.imap(), "cyrus", replication()).await?;
    let changed = differences(&direct[1..], &through[1..]);
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(direct.iter().any(|line| line.starts_with("t2 OK")), "the file was not taken: {direct:#?}");
    stage.stop().await
}
