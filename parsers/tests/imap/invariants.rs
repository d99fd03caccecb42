//! What holds for any bytes in any pieces; shared with the fuzz targets.

use ravenry_parsers::imap::{
    CapabilityFilter, ClientEvent, ClientFault, ClientFramer, Command, ReplyHead, ServerEvent, ServerFault,
    ServerFramer, Stop, Verb,
};

/// One thing that was sent, put together again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent<H> {
    pub(crate) head: H,
    pub(crate) bytes: Vec<u8>,
    pub(crate) whole: bool,
}

type ClientHead = (Vec<u8>, Verb);

/// Walks over pieces as a relay does, which keeps what was too little to tell.
fn walk<F, H, E>(
    pieces: &[&[u8]],
    mut framer: F,
    mut step: impl FnMut(&mut F, &mut &[u8], &mut Vec<Sent<H>>) -> Result<bool, E>,
) -> (Vec<Sent<H>>, Result<(), E>) {
    let (mut sent, mut kept) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        let mut input = kept.as_slice();
        loop {
            match step(&mut framer, &mut input, &mut sent) {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => return (sent, Err(fault)),
            }
        }
        kept = input.to_vec();
        assert!(kept.len() <= 1024, "{} bytes held back", kept.len());
    }
    (sent, Ok(()))
}

pub(crate) fn client(pieces: &[&[u8]]) -> (Vec<Sent<ClientHead>>, Result<(), ClientFault>) {
    walk(pieces, ClientFramer::default(), |framer, input, sent| {
        match framer.next(input)? {
            None | Some(ClientEvent::Partial) => return Ok(false),
            Some(ClientEvent::Begin { tag, verb }) => {
                sent.push(Sent { head: (tag.to_vec(), verb), bytes: Vec::new(), whole: false });
            }
            Some(ClientEvent::Part { bytes, stop }) => {
                let last = sent.last_mut().expect("a part belongs to a command");
                assert!(!last.whole);
                last.bytes.extend_from_slice(bytes);
                last.whole = stop == Stop::Command;
                assert_eq!(last.whole, framer.at_boundary());
            }
        }
        Ok(true)
    })
}

pub(crate) fn server(pieces: &[&[u8]]) -> (Vec<Sent<String>>, Result<(), ServerFault>) {
    walk(pieces, ServerFramer::default(), |framer, input, sent| {
        match framer.next(input)? {
            None | Some(ServerEvent::Partial) => return Ok(false),
            Some(ServerEvent::Begin(head)) => {
                if let ReplyHead::Data(word) = head {
                    assert!(word.len() <= 1024);
                }
                sent.push(Sent { head: format!("{head:?}"), bytes: Vec::new(), whole: false });
            }
            Some(ServerEvent::Part { bytes, end }) => {
                let last = sent.last_mut().expect("a part belongs to a reply");
                assert!(!last.whole);
                last.bytes.extend_from_slice(bytes);
                last.whole = end;
                assert_eq!(last.whole, framer.at_boundary());
            }
        }
        Ok(true)
    })
}

fn cut(wire: &[u8], size: usize) -> Vec<&[u8]> {
    wire.chunks(size.max(1)).collect()
}

/// In whatever pieces it comes, it is the same; nothing is lost and nothing invented.
pub(crate) fn check_client(wire: &[u8]) {
    let (whole, end) = client(&[wire]);
    for size in [1, 2, 3, 7, 64, 1000] {
        let (sent, ended) = client(&cut(wire, size));
        assert_eq!(ended, end, "in pieces of {size}");
        if end.is_ok() {
            assert_eq!(sent, whole, "in pieces of {size}");
        }
    }
    let passed: Vec<u8> = whole.iter().flat_map(|sent| sent.bytes.clone()).collect();
    assert!(wire.starts_with(&passed));
    for sent in whole.iter().filter(|sent| sent.whole) {
        let _ = Command::parse(&sent.bytes);
    }
}

/// The same for what a server sends.
pub(crate) fn check_server(wire: &[u8]) {
    let (whole, end) = server(&[wire]);
    for size in [1, 2, 3, 7, 64, 1000] {
        let (sent, ended) = server(&cut(wire, size));
        assert_eq!(ended, end, "in pieces of {size}");
        if end.is_ok() {
            assert_eq!(sent, whole, "in pieces of {size}");
        }
    }
    let passed: Vec<u8> = whole.iter().flat_map(|sent| sent.bytes.clone()).collect();
    assert!(wire.starts_with(&passed));
    for sent in &whole {
        let mut out = bytes::BytesMut::new();
        CapabilityFilter::after_login().put_reply(&mut out, &sent.bytes);
        assert!(out.len() <= sent.bytes.len(), "a filter only takes away");
    }
}
