//! Capability lists without what would blind or bypass a proxy.

use bytes::{BufMut, BytesMut};

/// What a list loses and gains. Words that begin with one of `hidden` go, `added` are put at the end unless they
/// are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityFilter {
    hidden: Vec<&'static str>,
    /// Only these pass, when given: before the login nothing passes that the proxy does not understand.
    only: Option<&'static [&'static str]>,
    added: Vec<&'static str>,
}

impl CapabilityFilter {
    /// After the login: everything but compression, whose bytes we could not follow; referrals, which send
    /// clients past us; and a change of the user behind our back.
    pub fn after_login() -> Self {
        let hidden = vec!["COMPRESS=", "MAILBOX-REFERRALS", "LOGIN-REFERRALS", "UNAUTHENTICATE", "STARTTLS"];
        Self { hidden, only: None, added: Vec::new() }
    }

    /// Before the login: what the proxy itself takes part in, and what it can offer.
    pub fn before_login(added: Vec<&'static str>) -> Self {
        Self { hidden: Vec::new(), only: Some(&["IMAP4", "ID", "LITERAL", "SASL-IR", "ENABLE"]), added }
    }

    /// Whether a capability is shown.
    pub fn shows(&self, word: &[u8]) -> bool {
        let begins =
            |start: &str| word.get(..start.len()).is_some_and(|w| w.eq_ignore_ascii_case(start.as_bytes()));
        self.only.is_none_or(|only| only.iter().any(|start| begins(start)))
            && !self.hidden.iter().any(|start| begins(start))
    }

    /// Writes the words of a list, separated by spaces, as far as they are shown.
    pub fn put(&self, out: &mut BytesMut, list: &[u8]) {
        let shown = list.split(|byte| *byte == b' ').filter(|word| !word.is_empty() && self.shows(word));
        let mut first = true;
        for word in shown.chain(self.added.iter().map(|word| word.as_bytes())) {
            if !std::mem::take(&mut first) {
                out.put_u8(b' ');
            }
            out.put_slice(word);
        }
    }

    /// Rewrites a whole reply that lists capabilities: `* CAPABILITY …`, or `… [CAPABILITY …] text`. A reply
    /// without a list is written as it is.
    pub fn put_reply(&self, out: &mut BytesMut, reply: &[u8]) {
        let Some((before, list, behind)) = find_list(reply) else { return out.put_slice(reply) };
        out.put_slice(before);
        self.put(out, list);
        out.put_slice(behind);
    }
}

/// Where in a reply the list is. Only in the two places that it can be: text that merely looks like one is left
/// alone.
fn find_list(reply: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut spaces = memchr::memchr_iter(b' ', reply);
    let first = spaces.next()?;
    let word = reply.get(first + 1..)?;
    const NAME: &[u8] = b"CAPABILITY ";
    let named = |at: &[u8]| at.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME));
    let (start, stop): (usize, &[u8]) = if named(word) {
        (first + 1 + NAME.len(), b"\r\n")
    } else {
        let second = spaces.next()?;
        let code = reply.get(second + 1..)?.strip_prefix(b"[").filter(|code| named(code))?;
        (reply.len() - code.len() + NAME.len(), b"]\r\n")
    };
    let rest = reply.get(start..)?;
    let end = rest.iter().position(|byte| stop.contains(byte)).unwrap_or(rest.len());
    Some((reply.get(..start)?, rest.get(..end)?, rest.get(end..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reply: &str) -> String {
        let mut out = BytesMut::new();
        CapabilityFilter::after_login().put_reply(&mut out, reply.as_bytes());
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn lists_lose_what_would_blind_us_wherever_they_stand() {
        assert_eq!(
            after("* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE IDLE MAILBOX-REFERRALS X-REPLICATION\r\n"),
            "* CAPABILITY IMAP4rev1 IDLE X-REPLICATION\r\n"
        );
        assert_eq!(
            after("a1 OK [CAPABILITY IMAP4rev1 compress=deflate IDLE] User logged in SESSIONID=<x>\r\n"),
            "a1 OK [CAPABILITY IMAP4rev1 IDLE] User logged in SESSIONID=<x>\r\n"
        );
        assert_eq!(after("* OK [CAPABILITY COMPRESS=DEFLATE] hi\r\n"), "* OK [CAPABILITY ] hi\r\n");
    }

    #[test]
    fn text_is_left_alone() {
        for reply in
            ["* OK CAPABILITY COMPRESS=DEFLATE\r\n", "a OK done [CAPABILITY COMPRESS=DEFLATE]\r\n", "*\r\n"]
        {
            assert_eq!(after(reply), reply);
        }
    }

    #[test]
    fn before_the_login_only_what_we_know_is_shown() {
        let mut out = BytesMut::new();
        let filter = CapabilityFilter::before_login(vec!["STARTTLS", "LOGINDISABLED"]);
        filter.put(&mut out, b"IMAP4rev1 LITERAL+ ID AUTH=PLAIN STARTTLS X-NEW COMPRESS=DEFLATE SASL-IR");
        assert_eq!(&out[..], b"IMAP4rev1 LITERAL+ ID SASL-IR STARTTLS LOGINDISABLED");
    }
}
