//! What holds for any bytes whatever. Shared by the property tests, the corpus replay and the fuzz targets.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use ravenry_parsers::mupdate::{
    Command, CommandDecoder, CommandEvent, CommandFault, Limits, ReplyDecoder, ReplyFault, ReplyLimits,
    ServerLine, put_command, put_delete, put_mailbox, put_reserve, put_status,
};

/// Small enough that fuzzed bytes reach every limit.
const LIMITS: Limits = Limits { max_argument: 48, max_command: 160 };
const REPLY_LIMITS: ReplyLimits = ReplyLimits { max_argument: 48, max_line: 160 };
/// Room for what is encoded anew, whose strings are quoted and escaped and so may be longer than they came.
const WIDE: Limits = Limits { max_argument: 1 << 10, max_command: 1 << 14 };
const WIDE_REPLY: ReplyLimits = ReplyLimits { max_argument: 1 << 10, max_line: 1 << 14 };

/// What came out of a decoder, and the bytes it has left.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Decoded<T, F> {
    pub(crate) events: Vec<T>,
    pub(crate) fault: Option<F>,
    pub(crate) left: usize,
}

/// Feeds `wire` to a decoder in pieces of the given sizes, over and over.
pub(crate) fn feed<T, F>(
    wire: &[u8],
    sizes: &[usize],
    bound: usize,
    mut decode: impl FnMut(&mut BytesMut) -> Result<Option<T>, F>,
) -> Decoded<T, F> {
    let mut sizes = sizes.iter().cycle();
    let mut rest = wire;
    let mut buf = BytesMut::new();
    let mut events = Vec::new();
    while !rest.is_empty() {
        let size = sizes.next().map_or(rest.len(), |size| (*size).clamp(1, rest.len()));
        let (piece, behind) = rest.split_at(size);
        rest = behind;
        buf.extend_from_slice(piece);
        loop {
            match decode(&mut buf) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(fault) => {
                    return Decoded { events, fault: Some(fault), left: buf.len() };
                }
            }
        }
        assert!(buf.len() <= bound, "{} bytes are held, {bound} are allowed", buf.len());
    }
    Decoded { events, fault: None, left: buf.len() }
}

pub(crate) fn commands(wire: &[u8], sizes: &[usize], limits: Limits) -> Decoded<CommandEvent, CommandFault> {
    let mut decoder = CommandDecoder::new(limits);
    feed(wire, sizes, limits.max_command, |buf| decoder.decode(buf))
}

pub(crate) fn replies(wire: &[u8], sizes: &[usize], limits: ReplyLimits) -> Decoded<ServerLine, ReplyFault> {
    let mut decoder = ReplyDecoder::new(limits);
    feed(wire, sizes, limits.max_line, |buf| decoder.decode(buf))
}

/// However bytes arrive, the same comes out. Only the last thing may come earlier when more arrives at once:
/// what cannot become right is known before its line has ended.
fn same_in_pieces<T, F>(mut in_pieces: impl FnMut(&[usize]) -> Decoded<T, F>)
where
    T: PartialEq + Debug,
    F: PartialEq + Debug,
{
    let whole = in_pieces(&[]);
    for sizes in [[1, 1], [2, 3], [1, 7], [5, 64]] {
        let pieces = in_pieces(&sizes);
        let (said, more) = whole
            .events
            .split_at_checked(pieces.events.len())
            .expect("more comes out of pieces than of the whole");
        assert_eq!(said, pieces.events, "in pieces of {sizes:?}");
        if pieces.fault.is_some() {
            assert_eq!((more.len(), &whole.fault), (0, &pieces.fault), "in pieces of {sizes:?}");
        } else {
            let early = more.len() + usize::from(whole.fault.is_some());
            assert!(early <= 1, "{more:?} and {:?} come too early", whole.fault);
        }
    }
}

/// For bytes from a client.
pub(crate) fn check_commands(wire: &[u8]) {
    same_in_pieces(|sizes| commands(wire, sizes, LIMITS));
    same_in_pieces(|sizes| {
        let mut decoder = CommandDecoder::new(LIMITS);
        feed(wire, sizes, LIMITS.max_argument + 2, |buf| decoder.decode_sasl(buf))
    });
    for event in commands(wire, &[], LIMITS).events {
        match event {
            CommandEvent::Command(command) => encodes_to_itself(command),
            CommandEvent::Bad { tag, text } => {
                assert!(tag.is_none_or(|tag| is_tag(&tag)));
                assert!(!text.is_empty());
            }
            CommandEvent::Continue => {}
        }
    }
}

fn encodes_to_itself(command: Command) {
    assert!(is_tag(&command.tag));
    let mut wire = BytesMut::new();
    put_command(&mut wire, &command.tag, &command.body);
    let again = commands(&wire, &[], WIDE);
    assert_eq!(again.events, [CommandEvent::Command(command)]);
    assert_eq!(again.left, 0);
}

/// For bytes from a server.
pub(crate) fn check_replies(wire: &[u8]) {
    same_in_pieces(|sizes| replies(wire, sizes, REPLY_LIMITS));
    same_in_pieces(|sizes| {
        let mut decoder = ReplyDecoder::new(REPLY_LIMITS);
        feed(wire, sizes, REPLY_LIMITS.max_line, |buf| decoder.decode_sasl(buf))
    });
    for line in replies(wire, &[], REPLY_LIMITS).events {
        if let Some(wire) = encoded(&line) {
            let again = replies(&wire, &[], WIDE_REPLY);
            assert_eq!(again.events, [line]);
            assert_eq!(again.left, 0);
        }
    }
}

/// A line written as we write it, if we can.
pub(crate) fn encoded(line: &ServerLine) -> Option<BytesMut> {
    let mut out = BytesMut::new();
    match line {
        ServerLine::Mailbox { tag, mailbox, location, acl } => {
            put_mailbox(&mut out, tag, mailbox, location, acl)
        }
        ServerLine::Reserve { tag, mailbox, location } => put_reserve(&mut out, tag, mailbox, location),
        ServerLine::Delete { tag, mailbox } => put_delete(&mut out, tag, mailbox),
        ServerLine::Status { tag, status, text } => {
            put_status(&mut out, tag.as_deref(), *status, std::str::from_utf8(text).ok()?);
        }
        _ => return None,
    }
    Some(out)
}

fn is_tag(tag: &Bytes) -> bool {
    !tag.is_empty() && !tag.iter().any(|b| b.is_ascii_control() || b" ()\"".contains(b))
}
