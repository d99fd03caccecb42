//! Reports as an independent parser understands them.

use std::sync::Mutex;

use mail_parser::{Message as Parsed, MessageParser, MimeHeaders, PartType};

use super::*;
use crate::authority::master::BoxFuture;

type Report = (Envelope, Vec<u8>);

/// A server that refuses everybody, and a submission host that keeps what it is given.
#[derive(Clone, Default)]
struct Refusing {
    reply: Arc<Mutex<Option<Reply>>>,
    reports: Arc<Mutex<Vec<Report>>>,
}

impl Deliver for Refusing {
    fn deliver(&self, attempt: Attempt) -> BoxFuture<Vec<Verdict>> {
        let this = self.clone();
        Box::pin(async move {
            if attempt.destination == Destination::Submission {
                let text = read(&mut attempt.body.clone()).await;
                this.reports.lock().unwrap().push(((*attempt.envelope).clone(), text));
                return vec![Verdict::Delivered(Reply::own(250, [2, 0, 0], "thanks"))];
            }
            let reply = this.reply.lock().unwrap().clone().unwrap();
            let verdict = if reply.code < 500 { Verdict::Deferred(reply) } else { Verdict::Refused(reply) };
            vec![verdict; attempt.recipients.len()]
        })
    }
}

/// Queues a message that is refused, and returns the report's envelope and text.
async fn report(envelope: Envelope, text: Vec<u8>, reply: Reply, options: Options) -> (Envelope, Vec<u8>) {
    let (_, disk) = sim();
    let refusing = Refusing::default();
    *refusing.reply.lock().unwrap() = Some(reply);
    let reporter = Reporter { host: "rv.example.org".into(), from: "MAILER-DAEMON@example.org".into() };
    let spool = Spool::open_on(disk, Options { reporter, ..options }).unwrap();
    spool.start(Ways {
        backends: Arc::new(refusing.clone()),
        submission: Some(Arc::new(refusing.clone())),
        route: Arc::new(|_| Some("be1.example.org".into())),
    });
    spool.enqueue(envelope, Body::in_memory(text)).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while spool.stats().messages > 0 {
        assert!(tokio::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut reports = refusing.reports.lock().unwrap();
    assert_eq!(reports.len(), 1);
    reports.pop().unwrap()
}

/// Whether a message that is refused, and whose sender cannot be told, is kept where a person sees it.
async fn is_kept_visibly() -> bool {
    let (_, disk) = sim();
    let refusing = Refusing::default();
    *refusing.reply.lock().unwrap() = Some(unknown());
    let spool = Spool::open_on(disk, small()).unwrap();
    spool.start(Ways {
        backends: Arc::new(refusing),
        submission: None,
        route: Arc::new(|_| Some("be1.example.org".into())),
    });
    spool.enqueue(envelope(&["a"]), Body::in_memory(text(3, b'x'))).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let stats = spool.stats();
        if stats.messages == 0 || stats.failed == 1 {
            return stats.messages == 1;
        }
        assert!(tokio::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn rule_9_what_can_neither_be_delivered_nor_returned_is_kept_visibly() {
    assert!(is_kept_visibly().await);
}

#[tokio::test]
async fn without_rule_9_it_is_gone() {
    let _off = crate::rules::without(crate::rules::Rule::OursAfterAcceptance);
    assert!(!is_kept_visibly().await);
}

fn unknown() -> Reply {
    Reply::own(550, [5, 1, 1], "User unknown")
}

/// The fields of a delivery status: of the message, and of each recipient.
fn status(parsed: &Parsed<'_>) -> Vec<Vec<(String, String)>> {
    let part = parsed.part(2).unwrap();
    assert_eq!(part.content_type().unwrap().ctype(), "message");
    assert_eq!(part.content_type().unwrap().subtype(), Some("delivery-status"));
    let text = match &part.body {
        PartType::Text(text) => text.to_string(),
        PartType::Binary(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no field"));
        (name.to_owned(), value.to_owned())
    };
    text.trim_end().split("\r\n\r\n").map(|group| group.split("\r\n").map(field).collect()).collect()
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> &'a str {
    fields.iter().find(|field| field.0 == name).map_or("", |field| &field.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_names_who_did_not_get_it_and_why_and_brings_the_message_back() {
    let mut original = envelope(&["a", "b"]);
    original.recipients[0]
        .parameters
        .push(Parameter::new(b"ORCPT=rfc822;Al+2BX@example.org".to_vec()).unwrap());
    original.parameters.push(Parameter::new(b"ENVID=QQ+2B1".to_vec()).unwrap());
    let text = b"Message-ID: <x@example.org>\r\nSubject: caf\xc3\xa9\r\n\r\n.text\r\n".to_vec();
    let (to, report) = report(original.clone(), text.clone(), unknown(), small()).await;
    assert_eq!((to.sender, &to.recipients[0].address), (Address::null(), &original.sender));
    assert!(!report.windows(2).any(|two| two[1] == b'\n' && two[0] != b'\r'), "a bare LF");
    let parsed = MessageParser::default().parse(&report).unwrap();
    let kind = parsed.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    assert_eq!(parsed.header_raw("Auto-Submitted").map(str::trim), Some("auto-replied"));
    assert_eq!(parsed.to().unwrap().first().unwrap().address(), Some("sender@example.org"));
    assert_eq!(parsed.from().unwrap().first().unwrap().address(), Some("MAILER-DAEMON@example.org"));
    assert!(parsed.message_id().is_some() && parsed.date().is_some());
    assert!(parsed.body_text(0).unwrap().contains("<b@example.org>"));
    let status = status(&parsed);
    assert_eq!(status.len(), 3);
    assert_eq!(value(&status[0], "Reporting-MTA"), "dns; rv.example.org");
    assert_eq!(value(&status[0], "Original-Envelope-Id"), "QQ+1");
    assert_eq!(value(&status[0], "Arrival-Date"), "Tue, 24 Nov 2026 05:51:34 +0000");
    assert_eq!(value(&status[1], "Original-Recipient"), "rfc822;Al+X@example.org");
    assert_eq!(value(&status[2], "Final-Recipient"), "rfc822; b@example.org");
    for recipient in &status[1..] {
        assert_eq!(value(recipient, "Action"), "failed");
        assert_eq!(value(recipient, "Status"), "5.1.1");
        assert_eq!(value(recipient, "Remote-MTA"), "dns; be1.example.org");
        assert_eq!(value(recipient, "Diagnostic-Code"), "smtp; 550 5.1.1 User unknown");
    }
    let returned = parsed.part(3).unwrap();
    assert_eq!(returned.content_type().unwrap().subtype(), Some("rfc822"));
    let PartType::Message(returned) = &returned.body else { panic!("{returned:?}") };
    assert_eq!(returned.message_id(), Some("x@example.org"));
    assert!(report.windows(text.len() - 2).any(|part| part == &text[..text.len() - 2]), "byte for byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_long_message_only_the_header_comes_back() {
    let (_, report) = report(envelope(&["a"]), text(60_000, b'x'), unknown(), small()).await;
    assert!(report.len() < 5_000);
    let parsed = MessageParser::default().parse(&report).unwrap();
    let returned = parsed.part(3).unwrap();
    assert_eq!(returned.content_type().unwrap().subtype(), Some("rfc822-headers"));
    assert!(returned.text_contents().unwrap().contains("Message-ID: <x@example.org>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_says_so_and_what_was_said_last() {
    let policy = schedule::Policy { retry_min: 10, expiry: 30, ..schedule::Policy::default() };
    let reply = Reply::own(452, [4, 2, 2], "Over quota");
    let options = Options { policy, ..small() };
    let (_, report) = report(envelope(&["a"]), text(9, b'x'), reply, options).await;
    let parsed = MessageParser::default().parse(&report).unwrap();
    let status = status(&parsed);
    assert_eq!(value(&status[1], "Status"), "5.4.7");
    assert!(value(&status[1], "Diagnostic-Code").contains("452 4.2.2 Over quota"));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_write_into_a_report() {
    let mut original = envelope(&["a"]);
    original.sender = Address::new("s\u{e9}nder@example.org".as_bytes().to_vec()).unwrap();
    let reply = Reply::own(550, [5, 1, 1], "no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; x");
    let (_, report) = report(original, b"\n\rx\r\n.\n--_\n".to_vec(), reply, small()).await;
    assert!(!report.windows(2).any(|two| (two[1] == b'\n') != (two[0] == b'\r')), "a bare CR or LF");
    let parsed = MessageParser::default().parse(&report).unwrap();
    let status = status(&parsed);
    assert_eq!((status.len(), value(&status[1], "Action")), (2, "failed"));
}
