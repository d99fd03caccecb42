//! Where imap-codec, a parser by others, and this one must agree: in everything that it understands. Shared with the
//! fuzz targets `imap_client_oracle` and `imap_server_oracle`.

use std::str::from_utf8;

use arbitrary::{Arbitrary, Unstructured};
use imap_codec::decode::Decoder;
use imap_codec::encode::Encoder;
use imap_codec::imap_types::command::{Command as TheirCommand, CommandBody as TheirBody};
use imap_codec::imap_types::extensions::namespace::Namespace as TheirNamespace;
use imap_codec::imap_types::flag::FlagNameAttribute;
use imap_codec::imap_types::mailbox::Mailbox;
use imap_codec::imap_types::response::{Code, Data, Response, Status, StatusKind};
use imap_codec::{CommandCodec, ResponseCodec};
use ravenry_parsers::imap::{
    CapabilityFilter, ClientEvent, ClientFramer, Command, CommandBody, Condition, Listed, Namespace,
    ReplyHead, ServerEvent, ServerFramer, Stop, Verb,
};

/// Tags and names beyond what we look at are refused, however well they are formed.
const LONG: usize = 200;
/// So are sizes with more digits than any has, be they zeros.
const LONG_NUMBER: usize = 20;

/// Any bytes as what a client sends; and as the recipe of a command that is well-formed. How many were understood.
pub(crate) fn check_client(bytes: &[u8]) -> usize {
    let mut agreed = agree_on_commands(bytes);
    if let Ok(command) = TheirCommand::arbitrary(&mut Unstructured::new(bytes)) {
        let mut wire = CommandCodec::default().encode(&command).dump();
        wire.extend_from_slice(b"next NOOP\r\n");
        agreed += agree_on_commands(&wire);
    }
    agreed
}

/// The same of what a server sends.
pub(crate) fn check_server(bytes: &[u8]) -> usize {
    let mut agreed = agree_on_responses(bytes);
    if let Ok(response) = Response::arbitrary(&mut Unstructured::new(bytes)) {
        let mut wire = ResponseCodec::default().encode(&response).dump();
        wire.extend_from_slice(b"* OK next\r\n");
        agreed += agree_on_responses(&wire);
    }
    agreed
}

fn agree_on_commands(wire: &[u8]) -> usize {
    let (mut rest, mut agreed) = (wire, 0);
    while let Ok((behind, theirs)) = CommandCodec::default().decode(rest) {
        let (whole, _) = rest.split_at(rest.len() - behind.len());
        let tag = theirs.tag.inner().as_bytes();
        if tag.len() > LONG || has_long_number(whole) {
            break;
        }
        assert_eq!(first_command(rest, tag), whole.len(), "{}", whole.escape_ascii());
        rest = behind;
        let Some(ours) = Command::parse(whole) else {
            assert!(is_empty_response(&theirs.body, whole), "not ours: {}", whole.escape_ascii());
            continue;
        };
        assert_eq!(ours.tag, tag);
        same_command(&ours.body, &theirs.body, whole);
        agreed += 1;
    }
    agreed
}

fn has_long_number(whole: &[u8]) -> bool {
    whole.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > LONG_NUMBER)
}

/// An empty initial response is written `=` (RFC 4959, section 3); they take nothing for one, too.
fn is_empty_response(theirs: &TheirBody<'_>, whole: &[u8]) -> bool {
    matches!(theirs, TheirBody::Authenticate { initial_response: Some(_), .. }) && whole.ends_with(b" \r\n")
}

/// Where our framer ends the first command, or its first line if the server is to speak then.
fn first_command(wire: &[u8], expected: &[u8]) -> usize {
    let mut framer = ClientFramer::default();
    let mut input = wire;
    loop {
        match framer.next(&mut input) {
            Ok(Some(ClientEvent::Begin { tag, .. })) => assert_eq!(tag, expected),
            Ok(Some(ClientEvent::Part { stop: Stop::Command | Stop::Exchange, .. })) => {
                return wire.len() - input.len();
            }
            Ok(Some(ClientEvent::Part { .. })) => {}
            other => panic!("{other:?} in {}", wire.escape_ascii()),
        }
    }
}

fn same_command(ours: &CommandBody<'_>, theirs: &TheirBody<'_>, whole: &[u8]) {
    let context = whole.escape_ascii();
    match (ours, theirs) {
        (CommandBody::Login { user, password }, TheirBody::Login { username, password: secret }) => {
            assert_eq!(user.as_ref(), username.as_ref(), "{context}");
            assert_eq!(password.as_ref(), secret.declassify().as_ref(), "{context}");
        }
        (
            CommandBody::Authenticate { mechanism, initial },
            TheirBody::Authenticate { mechanism: named, initial_response },
        ) => {
            assert!(mechanism.eq_ignore_ascii_case(named.as_ref().as_bytes()), "{context}");
            assert_eq!(initial.is_some(), initial_response.is_some(), "{context}");
        }
        (CommandBody::Create(name), TheirBody::Create { mailbox })
        | (CommandBody::Delete(name), TheirBody::Delete { mailbox }) => same_name(name, mailbox, whole),
        (CommandBody::Rename { from, to }, TheirBody::Rename { from: old, to: new }) => {
            same_name(from, old, whole);
            same_name(to, new, whole);
        }
        (CommandBody::Enable(words), TheirBody::Enable { capabilities }) => {
            let named: Vec<String> = capabilities.as_ref().iter().map(ToString::to_string).collect();
            assert_eq!(words.len(), named.len(), "{context}");
            for (word, named) in words.iter().zip(named) {
                assert!(word.eq_ignore_ascii_case(named.as_bytes()), "{context}");
            }
        }
        (CommandBody::Plain(verb), theirs) => {
            assert_eq!(*verb, Verb::of(theirs.name().as_bytes()), "{context}")
        }
        _ => panic!("{ours:?} and {theirs:?}: {context}"),
    }
}

/// They write every form of INBOX as one.
fn same_name(ours: &[u8], theirs: &Mailbox<'_>, whole: &[u8]) {
    match theirs {
        Mailbox::Inbox => assert!(ours.eq_ignore_ascii_case(b"INBOX"), "{}", whole.escape_ascii()),
        Mailbox::Other(name) => assert_eq!(ours, name.as_ref(), "{}", whole.escape_ascii()),
    }
}

fn agree_on_responses(wire: &[u8]) -> usize {
    let (mut rest, mut agreed) = (wire, 0);
    while let Ok((behind, theirs)) = ResponseCodec::default().decode(rest) {
        let (whole, _) = rest.split_at(rest.len() - behind.len());
        let line = whole.split(|byte| *byte == b'\n').next().unwrap_or_default();
        // More of the beginning than we look at: nobody's tag or response code is as long, nor a number.
        if line.len() > LONG && matches!(theirs, Response::Status(_)) || has_long_number(whole) {
            break;
        }
        let mut framer = ServerFramer::default();
        let mut input = rest;
        loop {
            match framer.next(&mut input) {
                Ok(Some(ServerEvent::Begin(head))) => same_head(head, &theirs, whole),
                Ok(Some(ServerEvent::Part { end: true, .. })) => break,
                Ok(Some(ServerEvent::Part { .. })) => {}
                other => panic!("{other:?} in {}", rest.escape_ascii()),
            }
        }
        assert_eq!(rest.len() - input.len(), whole.len(), "{}", whole.escape_ascii());
        if let Response::Data(data) = &theirs {
            same_data(data, whole);
        }
        rest = behind;
        agreed += 1;
    }
    agreed
}

fn same_head(ours: ReplyHead<'_>, theirs: &Response<'_>, whole: &[u8]) {
    let context = whole.escape_ascii();
    let kind = |kind| match kind {
        StatusKind::Ok => Condition::Ok,
        StatusKind::No => Condition::No,
        StatusKind::Bad => Condition::Bad,
    };
    let (tag, condition, code) = match (ours, theirs) {
        (ReplyHead::Continue, Response::CommandContinuationRequest(_)) => return,
        (ReplyHead::Data(word), Response::Data(data)) => {
            assert!(word.eq_ignore_ascii_case(word_of(data).as_bytes()), "{context}");
            return;
        }
        (ReplyHead::Status { .. }, Response::Status(Status::Untagged(body))) => {
            (None, kind(body.kind), &body.code)
        }
        (ReplyHead::Status { .. }, Response::Status(Status::Tagged(tagged))) => {
            (Some(tagged.tag.inner().as_bytes()), kind(tagged.body.kind), &tagged.body.code)
        }
        (ReplyHead::Status { .. }, Response::Status(Status::Bye(bye))) => (None, Condition::Bye, &bye.code),
        _ => panic!("{ours:?} and {theirs:?}: {context}"),
    };
    let ReplyHead::Status { tag: our_tag, condition: our_condition, code: our_code } = ours else { return };
    assert_eq!((our_tag, our_condition), (tag, condition), "{context}");
    // What they call "other" begins like a code that they know, too, when the rest of it is not well-formed.
    if let Some(code) = code.as_ref().filter(|code| !matches!(code, Code::Other(_))) {
        let lists = our_code.is_some_and(|code| code.eq_ignore_ascii_case(b"CAPABILITY"));
        assert_eq!(lists, matches!(code, Code::Capability(_)), "{context}");
        assert!(our_code.is_some(), "{context}");
    }
}

fn word_of(data: &Data<'_>) -> &'static str {
    match data {
        Data::Capability(_) => "CAPABILITY",
        Data::List { .. } => "LIST",
        Data::Lsub { .. } => "LSUB",
        Data::Status { .. } => "STATUS",
        Data::Search(..) => "SEARCH",
        Data::Sort(..) => "SORT",
        Data::Thread(_) => "THREAD",
        Data::Flags(_) => "FLAGS",
        Data::Exists(_) => "EXISTS",
        Data::Recent(_) => "RECENT",
        Data::Expunge(_) => "EXPUNGE",
        Data::Fetch { .. } => "FETCH",
        Data::Enabled { .. } => "ENABLED",
        Data::Quota { .. } => "QUOTA",
        Data::QuotaRoot { .. } => "QUOTAROOT",
        Data::Id { .. } => "ID",
        Data::Metadata { .. } => "METADATA",
        Data::Vanished { .. } => "VANISHED",
        Data::Namespace { .. } => "NAMESPACE",
    }
}

fn same_data(theirs: &Data<'_>, whole: &[u8]) {
    let context = whole.escape_ascii();
    match theirs {
        Data::List { items, delimiter, mailbox } => {
            let ours = Listed::parse(whole).unwrap_or_else(|| panic!("not ours: {context}"));
            same_name(&ours.name, mailbox, whole);
            assert_eq!(ours.separator.map(char::from), delimiter.map(|quoted| quoted.inner()), "{context}");
            let missing = |item: &FlagNameAttribute<'_>| {
                let name = item.to_string();
                name.eq_ignore_ascii_case("\\Noselect") || name.eq_ignore_ascii_case("\\NonExistent")
            };
            assert_eq!(ours.exists(), !items.iter().any(missing), "{context}");
        }
        Data::Capability(all) => {
            let filter = CapabilityFilter::after_login();
            let mut out = bytes::BytesMut::new();
            filter.put_reply(&mut out, whole);
            let words: Vec<String> = all.as_ref().iter().map(ToString::to_string).collect();
            let shown: Vec<&str> =
                from_utf8(&out).unwrap_or_default().split_ascii_whitespace().skip(2).collect();
            let wanted = words.iter().filter(|word| filter.shows(word.as_bytes()));
            assert!(
                wanted.map(|word| word.to_ascii_uppercase()).eq(shown.iter().map(|w| w.to_ascii_uppercase())),
                "{context}"
            );
        }
        Data::Namespace { personal, other, shared } => {
            // Of Cyrus's form alone, which has one of these separators.
            let ours = Namespace::parse(whole, b"alice", false);
            let Some(ours) = ours.filter(|ours| matches!(ours.separator, b'.' | b'/')) else { return };
            let first =
                |class: &[TheirNamespace<'_>]| class.first().map(|first| first.prefix.as_ref().to_vec());
            let theirs = (first(personal), first(other), first(shared));
            assert_eq!((Some(ours.personal), ours.others, ours.shared), theirs, "{context}");
            let separator = personal.first().and_then(|first| first.delimiter).map(|quoted| quoted.inner());
            assert_eq!(Some(char::from(ours.separator)), separator, "{context}");
        }
        _ => {}
    }
}
