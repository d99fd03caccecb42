//! A response taken apart: atoms, strings, literals and parentheses (RFC 3501, section 4).

/// A piece of a response.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Word {
    /// An atom, a flag, a number, or a string in any form.
    Text(Vec<u8>),
    /// `(`
    Open,
    /// `)`
    Close,
}

/// How many bytes of a literal follow the line, if it announces one.
fn announced(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|byte| *byte == b'{')?;
    let digits = std::str::from_utf8(inner.get(open + 1..)?).ok()?;
    digits.strip_suffix('+').unwrap_or(digits).parse().ok()
}

/// The words of an untagged reply, parentheses left out.
pub(super) fn texts(reply: &[u8]) -> Option<Vec<Vec<u8>>> {
    let reply = reply.strip_prefix(b"* ")?;
    let reply = reply.strip_suffix(b"\n").unwrap_or(reply);
    let words = words(reply.strip_suffix(b"\r").unwrap_or(reply))?;
    let text = |word| match word {
        Word::Text(text) => Some(text),
        Word::Open | Word::Close => None,
    };
    Some(words.into_iter().filter_map(text).collect())
}

/// Takes a response apart. A literal stands in it as `{n}CRLF` and its bytes. `None` where it is malformed.
fn words(mut rest: &[u8]) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        match first {
            b' ' => rest = after,
            b'(' | b')' => {
                words.push(if *first == b'(' { Word::Open } else { Word::Close });
                rest = after;
            }
            b'"' => {
                let (text, after) = quoted(after)?;
                words.push(Word::Text(text));
                rest = after;
            }
            b'{' => {
                let line = after.iter().position(|byte| *byte == b'\n')?;
                let size = announced(rest.get(..line)?)?; // up to the CR
                let from = after.get(line + 1..)?;
                let (text, after) = from.split_at_checked(size)?;
                words.push(Word::Text(text.to_vec()));
                rest = after;
            }
            _ => {
                let end = rest.iter().position(|byte| b" ()".contains(byte)).unwrap_or(rest.len());
                let (text, after) = rest.split_at_checked(end)?;
                words.push(Word::Text(text.to_vec()));
                rest = after;
            }
        }
    }
    Some(words)
}

fn quoted(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut text = Vec::new();
    loop {
        let (first, after) = rest.split_first()?;
        rest = after;
        match first {
            b'"' => return Some((text, rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                text.push(*escaped);
                rest = after;
            }
            byte => text.push(*byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Word {
        Word::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn real_responses() {
        assert_eq!(
            words(br#"LIST (\HasNoChildren) "." "user.alice.My Folder""#).unwrap(),
            [
                text("LIST"),
                Word::Open,
                text("\\HasNoChildren"),
                Word::Close,
                text("."),
                text("user.alice.My Folder")
            ]
        );
        assert_eq!(
            words(b"ACL {6}\r\na \"b\\c x y").unwrap(),
            [text("ACL"), text("a \"b\\c"), text("x"), text("y")]
        );
        assert_eq!(words(b"LIST \"unfinished"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = words(&bytes);
        }
    }
}
