//! Modified UTF-7 (RFC 3501 §5.1.3), in which Cyrus keeps the names of mailboxes.

use std::borrow::Cow;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/// Text to modified UTF-7. Printable ASCII stays as it is, but for `&`.
pub fn encode_utf7(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '&' {
            out.push_str("&-");
            rest = rest.get(1..).unwrap_or_default();
            continue;
        }
        let shifted = !(' '..='~').contains(&first);
        let end = rest.find(|c: char| c == '&' || (' '..='~').contains(&c) == shifted).unwrap_or(rest.len());
        let (part, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if shifted {
            out.push('&');
            shift(part, &mut out);
            out.push('-');
        } else {
            out.push_str(part);
        }
        rest = behind;
    }
    Cow::Owned(out)
}

/// UTF-16 in base64 without padding, `,` for `/`.
fn shift(text: &str, out: &mut String) {
    let (mut bits, mut count) = (0u32, 0);
    let mut put = |value: u32| out.push(char::from(*ALPHABET.get((value & 63) as usize).unwrap_or(&b'A')));
    for unit in text.encode_utf16() {
        bits = bits << 16 | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            put(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        put(bits << (6 - count));
    }
}

/// Modified UTF-7 to text; `None` when it is not in its one canonical form, since two spellings of one name
/// would be two mailboxes.
pub fn decode_utf7(name: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((first, behind)) = rest.split_first() {
        match first {
            b'&' => {
                let end = behind.iter().position(|byte| *byte == b'-')?;
                let (shifted, behind) = behind.split_at_checked(end)?;
                if shifted.is_empty() {
                    out.push('&');
                } else {
                    unshift(shifted, &mut out)?;
                }
                rest = behind.get(1..)?;
            }
            b' '..=b'~' => {
                out.push(char::from(*first));
                rest = behind;
            }
            _ => return None,
        }
    }
    (encode_utf7(&out).as_bytes() == name).then_some(out)
}

fn unshift(shifted: &[u8], out: &mut String) -> Option<()> {
    let (mut bits, mut count) = (0u32, 0);
    let mut units = Vec::with_capacity(shifted.len() / 2);
    for byte in shifted {
        let value = ALPHABET.iter().position(|known| known == byte)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push(u16::try_from(bits >> count).ok()?);
            bits &= (1 << count) - 1;
        }
    }
    for decoded in char::decode_utf16(units) {
        out.push(decoded.ok()?);
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(encode_utf7("~peter/mail/台北/日本語"), "~peter/mail/&U,BTFw-/&ZeVnLIqe-");
        assert_eq!(decode_utf7(b"~peter/mail/&U,BTFw-/&ZeVnLIqe-").unwrap(), "~peter/mail/台北/日本語");
        assert_eq!(encode_utf7("été & x"), "&AOk-t&AOk- &- x");
        assert_eq!(decode_utf7(b"&Jjo!").as_deref(), None);
        assert_eq!(decode_utf7(b"&U,BTFw-&ZeVnLIqe-"), None, "one run too many");
        assert_eq!(decode_utf7(b"&AGE-").as_deref(), None, "a letter shifted for nothing");
    }

    proptest! {
        #[test]
        fn there_and_back(text in "\\PC{0,20}|[a-z&é😀]{0,20}") {
            let encoded = encode_utf7(&text).into_owned();
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(decode_utf7(encoded.as_bytes()), Some(text));
        }
    }
}
