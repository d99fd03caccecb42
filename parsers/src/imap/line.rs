//! Line ends and literal announcements, in bytes that arrive in any pieces.

use memchr::memchr;

/// The longest announcement with what must stand before it: ` ~{18446744073709551615+}` and a CR.
const KEPT: usize = 28;

/// Of a GUID, at the least: a size has at most ten digits, and a space, a brace and a CR follow.
const IN_SIGHT: usize = KEPT - 13;

/// The end of a line that has not ended yet: enough of it to recognise an announcement when it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    bytes: [u8; KEPT],
    len: u8,
}

/// A literal announced at the end of a line (RFC 9051 §4.3, RFC 7888, RFC 3516).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    /// How many bytes follow.
    pub(super) size: u64,
    /// They are sent only after the server said `+`.
    pub(super) waits: bool,
}

/// The announced size is no number that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeOverflow;

impl Tail {
    /// Takes bytes of a line. When the line ends among them, answers how many bytes that is, its LF included,
    /// and what it announces.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(usize, Option<Announcement>)>, SizeOverflow> {
        let Some(at) = memchr(b'\n', bytes) else {
            self.push(bytes);
            return Ok(None);
        };
        self.push(bytes.get(..at).unwrap_or_default());
        let announced = announcement(self.known())?;
        *self = Self::default();
        Ok(Some((at + 1, announced)))
    }

    fn known(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn push(&mut self, bytes: &[u8]) {
        let new = bytes.get(bytes.len().saturating_sub(KEPT)..).unwrap_or_default();
        let old = KEPT - new.len();
        let old = self.known().len().min(old);
        let mut joined = [0; KEPT];
        let kept = self.known().iter().rev().take(old).rev().chain(new);
        for (slot, byte) in joined.iter_mut().zip(kept) {
            *slot = *byte;
        }
        self.bytes = joined;
        self.len = u8::try_from(old + new.len()).unwrap_or_default();
    }
}

/// Reads an announcement off the end of a line given without its LF.
///
/// It must stand where an argument can begin: after a space, an opening parenthesis, or the `~` of a literal8.
/// Inside an atom `{5}` is only text, for Cyrus too.
fn announcement(line: &[u8]) -> Result<Option<Announcement>, SizeOverflow> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let Some(inside) = line.strip_suffix(b"}") else { return Ok(None) };
    let (inside, waits) = match inside.strip_suffix(b"+").or_else(|| inside.strip_suffix(b"-")) {
        Some(inside) => (inside, false),
        None => (inside, true),
    };
    let digits = inside.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let Some((before, digits)) = inside.split_at_checked(inside.len() - digits) else { return Ok(None) };
    if waits && is_behind_guid(before) && !digits.is_empty() {
        return Ok(Some(Announcement { size: number(digits)?, waits: false }));
    }
    let Some(before) = before.strip_suffix(b"{").filter(|_| !digits.is_empty()) else {
        // So many digits that the brace before them is out of sight.
        return if before.is_empty() && digits.len() > 20 { Err(SizeOverflow) } else { Ok(None) };
    };
    let before = before.strip_suffix(b"~").unwrap_or(before);
    if !matches!(before.last(), None | Some(b' ' | b'(')) {
        return Ok(None);
    }
    Ok(Some(Announcement { size: number(digits)?, waits }))
}

fn number(digits: &[u8]) -> Result<u64, SizeOverflow> {
    let add = |size: u64, digit: &u8| size.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add).ok_or(SizeOverflow)
}

/// A file of Cyrus's replication (X-REPLICATION), which is sent at once: `%{partition GUID size}`. Its GUID has forty
/// digits, so that nothing else is in sight, however large the size.
fn is_behind_guid(before: &[u8]) -> bool {
    let digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    before.strip_suffix(b" ").is_some_and(|guid| guid.len() >= IN_SIGHT && guid.iter().all(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Option<Announcement>, SizeOverflow> {
        let mut whole = Tail::default();
        let found = whole.scan(format!("{line}\r\n").as_bytes()).map(|end| end.and_then(|(_, found)| found));
        // Byte by byte it is the same.
        let mut tail = Tail::default();
        let mut last = Ok(None);
        for byte in line.bytes().chain(*b"\r\n") {
            last = tail.scan(&[byte]);
        }
        assert_eq!(last.map(|end| end.and_then(|(_, found)| found)), found, "{line}");
        found
    }

    fn literal(size: u64, waits: bool) -> Result<Option<Announcement>, SizeOverflow> {
        Ok(Some(Announcement { size, waits }))
    }

    #[test]
    fn announcements() {
        assert_eq!(of("a LOGIN {5}"), literal(5, true));
        assert_eq!(of("a APPEND x (\\Seen) {310+}"), literal(310, false));
        assert_eq!(of("a APPEND x {310-}"), literal(310, false));
        assert_eq!(of("a APPEND x ~{4096}"), literal(4096, true));
        assert_eq!(of("a APPEND x CATENATE (TEXT {7+}"), literal(7, false));
        assert_eq!(of("* 1 FETCH (BODY[] {18446744073709551615}"), literal(u64::MAX, true));
        assert_eq!(of("{3}"), literal(3, true), "the line goes on after a literal");
    }

    /// What `sync_client` and its server send to each other.
    #[test]
    fn files_of_the_replication() {
        const GUID: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(of(&format!("s1 SYNCAPPLY MESSAGE (%{{default {GUID} 310}}")), literal(310, false));
        assert_eq!(of(&format!("* MESSAGE %{{p {GUID} 4294967295}}")), literal(4_294_967_295, false));
        assert_eq!(of(&format!("%{{default {GUID} 0}}")), literal(0, false), "the next one of several");
        for text in [format!("a X {GUID} 5"), format!("a X {} 5}}", &GUID[..12]), format!("a X {GUID}5}}")] {
            assert_eq!(of(&text), Ok(None), "{text}");
        }
    }

    #[test]
    fn text() {
        for line in
            ["a LOGIN user pass{5}", "a X \"{5}\"", "a X {}", "a X {+}", "a X {5", "a X {-5}", "a X {5 }", ""]
        {
            assert_eq!(of(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn sizes_that_are_none() {
        assert_eq!(of("a APPEND x {18446744073709551616}"), Err(SizeOverflow));
        assert_eq!(of(&format!("a APPEND x {{{}+}}", "9".repeat(200))), Err(SizeOverflow));
    }
}
