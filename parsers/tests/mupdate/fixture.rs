//! Reads `fixtures/mupdate-wire` and `fixtures/mupdate`: conversations of real Cyrus, `C: ` from the client and `S: `
//! from the server, with `\r`, `\n`, `\t`, `\xNN` and `\\` for what they stand for. In the former a blank line stands
//! between connections, in the latter a server's banner begins one.

use std::fs;
use std::path::Path;

use Side::{Client, Server};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What was said on one connection, in turn.
pub(crate) type Conversation = Vec<(Side, Vec<u8>)>;

pub(crate) fn conversations(file: &str) -> Vec<Conversation> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/mupdate-wire").join(file);
    let text = fs::read_to_string(&path).unwrap();
    let conversations: Vec<Conversation> = text
        .split("\n\n")
        .map(|block| block.lines().filter_map(turn).collect())
        .filter(|conversation: &Conversation| !conversation.is_empty())
        .collect();
    assert!(!conversations.is_empty(), "nothing in {}", path.display());
    conversations
}

/// Every conversation in `fixtures/mupdate`, with the release and the name of its file.
pub(crate) fn captured() -> Vec<(String, Conversation)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/mupdate");
    let inside = |directory: &Path| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        inside(&root).filter(|path| path.is_dir()).flat_map(|path| inside(&path)).collect();
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            let name = file.strip_prefix(&root).unwrap().display().to_string();
            let text = fs::read_to_string(file).unwrap();
            by_banner(&text).into_iter().map(move |conversation| (name.clone(), conversation))
        })
        .collect()
}

fn by_banner(text: &str) -> Vec<Conversation> {
    let mut all: Vec<Conversation> = Vec::new();
    let mut in_banner = false;
    for line in text.lines() {
        let Some((side, said)) = turn(line) else { continue };
        let banner = side == Server && [&b"* AUTH"[..], b"* BYE"].iter().any(|start| said.starts_with(start));
        if banner && !in_banner {
            all.push(Vec::new());
        }
        in_banner = side == Server && (banner || in_banner && said.starts_with(b"* "));
        all.last_mut().unwrap_or_else(|| panic!("{line} comes before any banner")).push((side, said));
    }
    all
}

/// All that one side said.
pub(crate) fn said(conversation: &Conversation, side: Side) -> Vec<u8> {
    let by = conversation.iter().filter(|(who, _)| *who == side);
    by.flat_map(|(_, bytes)| bytes.clone()).collect()
}

fn turn(line: &str) -> Option<(Side, Vec<u8>)> {
    match line.split_once(": ") {
        Some(("C", text)) => Some((Client, unescaped(text))),
        Some(("S", text)) => Some((Server, unescaped(text))),
        _ => None,
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [b'\\', b'r', rest @ ..] => (bytes.push(b'\r'), rest).1,
            [b'\\', b'n', rest @ ..] => (bytes.push(b'\n'), rest).1,
            [b'\\', b't', rest @ ..] => (bytes.push(b'\t'), rest).1,
            [b'\\', b'\\', rest @ ..] => (bytes.push(b'\\'), rest).1,
            [b'\\', b'x', digits @ ..] => {
                let (digits, rest) = digits.split_at(2);
                let digits = std::str::from_utf8(digits).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest
            }
            [byte, rest @ ..] => (bytes.push(*byte), rest).1,
            [] => return bytes,
        };
    }
}
