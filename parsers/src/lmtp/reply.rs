//! What a server may answer.

use std::fmt;

use bytes::Bytes;

/// A reply of one or more lines with one code.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// What follows the code and its separator on each line; never empty, free of control bytes other than TAB.
    pub lines: Vec<Bytes>,
}

/// An enhanced status code, `5.1.1` (RFC 3463).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Enhanced(pub u8, pub u16, pub u16);

impl fmt::Display for Enhanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl Enhanced {
    /// From the front of a reply's text.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let word = text.split(|byte| *byte == b' ').next()?;
        let mut parts = std::str::from_utf8(word).ok()?.split('.');
        let mut number = |max: usize| {
            let part = parts.next()?;
            let digits = (1..=max).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse::<u16>().ok()).flatten()
        };
        let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
        let class = u8::try_from(class).ok().filter(|class| matches!(class, 2 | 4 | 5))?;
        parts.next().is_none().then_some(Self(class, subject, detail))
    }
}

impl Reply {
    /// A reply of our own, one line. Control bytes and what is not ASCII become `?`.
    pub fn new(code: u16, text: &str) -> Self {
        let clean = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let line: String = text.chars().map(clean).collect();
        Self { code, lines: vec![line.into()] }
    }

    /// 2xx
    pub fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// 4xx
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    /// 5xx
    pub fn is_permanent(&self) -> bool {
        (500..600).contains(&self.code)
    }

    /// The enhanced code: the last line's, since Cyrus writes none before its explanations. One of another class
    /// than the reply's is none (RFC 2034 §4).
    pub fn enhanced(&self) -> Option<Enhanced> {
        let enhanced = self.lines.iter().rev().find_map(|line| Enhanced::parse(line))?;
        (u16::from(enhanced.0) == self.code / 100).then_some(enhanced)
    }

    /// The text as one line, for people.
    pub fn text(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        lines.join(" / ")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text())
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a server offers in its reply to LHLO.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// RFC 2920
    pub pipelining: bool,
    /// RFC 6152
    pub eight_bit_mime: bool,
    /// RFC 2034
    pub enhanced_status_codes: bool,
    /// RFC 1870; `Some(0)` is an offer without a limit.
    pub size: Option<u64>,
    /// Cyrus's own parameter of RCPT.
    pub ignore_quota: bool,
    /// RFC 3207
    pub start_tls: bool,
    /// RFC 4954: the mechanisms.
    pub auth: Vec<String>,
}

impl Capabilities {
    /// From the reply to LHLO. The first line only greets; what is not known is passed over.
    pub fn of(reply: &Reply) -> Self {
        let mut offers = Self::default();
        for line in reply.lines.iter().skip(1) {
            let text = String::from_utf8_lossy(line);
            // `AUTH=PLAIN` is an old way to write it.
            let mut words = text.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "PIPELINING" => offers.pipelining = true,
                "8BITMIME" => offers.eight_bit_mime = true,
                "ENHANCEDSTATUSCODES" => offers.enhanced_status_codes = true,
                "SIZE" => offers.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                "IGNOREQUOTA" => offers.ignore_quota = true,
                "STARTTLS" => offers.start_tls = true,
                "AUTH" => {
                    for mechanism in words {
                        if !offers.auth.iter().any(|known| known.eq_ignore_ascii_case(mechanism)) {
                            offers.auth.push(mechanism.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        offers
    }
}
