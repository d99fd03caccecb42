//! Spans of time and sizes as people write them: `"2s"`, `"256MiB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// A span of time: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(Duration);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn milliseconds(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The span.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// A number of bytes: a whole number and `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(usize);

impl Size {
    /// So many KiB.
    pub const fn kibibytes(kibibytes: usize) -> Self {
        Self(kibibytes << 10)
    }

    /// So many MiB.
    pub const fn mebibytes(mebibytes: usize) -> Self {
        Self(mebibytes << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> usize {
        self.0
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let milliseconds = split(&text).and_then(|(number, unit)| {
            let factor = match unit {
                "ms" => 1,
                "s" => 1_000,
                "m" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                _ => return None,
            };
            number.checked_mul(factor)
        });
        let span = milliseconds.map(|ms| Self(Duration::from_millis(ms)));
        span.ok_or_else(|| D::Error::custom(format!("{text:?} is no span of time such as \"2s\" or \"1h\"")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = split(&text).and_then(|(number, unit)| {
            let factor: u64 = match unit {
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            usize::try_from(number.checked_mul(factor)?).ok()
        });
        bytes.map(Self).ok_or_else(|| D::Error::custom(format!("{text:?} is no size such as \"256MiB\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct Both {
        span: Span,
        size: Size,
    }

    #[test]
    fn spans_and_sizes_have_units() {
        let both: Both = toml::from_str("span = \"500ms\"\nsize = \"256MiB\"").unwrap();
        assert_eq!((both.span.get(), both.size.get()), (Duration::from_millis(500), 256 << 20));
        for bad in ["span = \"5\"", "span = \"5 parsecs\"", "span = \"99999999999999999999d\"", "span = 5"] {
            let text = format!("{bad}\nsize = \"1KiB\"");
            assert!(toml::from_str::<Both>(&text).is_err(), "{bad}");
        }
    }
}
