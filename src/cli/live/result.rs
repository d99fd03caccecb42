//! What was found.

use std::fmt::Write as _;

use serde::Serialize;

/// Who was asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Who {
    /// `master`, `frontend`, `backend`, `listen` …
    pub(super) part: &'static str,
    /// The key of the configuration that names it.
    pub(super) key: &'static str,
    /// `host:port`
    pub(super) address: String,
}

impl Who {
    pub(super) fn new(part: &'static str, key: &'static str, address: impl Into<String>) -> Self {
        Self { part, key, address: address.into() }
    }
}

/// How it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Warning,
    Error,
}

/// One thing that was tried.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Result {
    #[serde(flatten)]
    pub(super) who: Who,
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
    /// So many seconds its clock is ahead of ours, where it shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) clock_ahead: Option<i64>,
    /// The exit code, if it is an error.
    #[serde(skip)]
    pub(super) code: u8,
}

impl Result {
    pub(super) fn ok(who: &Who, text: impl Into<String>) -> Self {
        let (verdict, text) = (Verdict::Ok, text.into());
        Self { who: who.clone(), verdict, text, advice: None, clock_ahead: None, code: 0 }
    }

    pub(super) fn error(who: &Who, text: impl Into<String>, code: u8, advice: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, code, advice: Some(advice.into()), ..Self::ok(who, text) }
    }

    /// It works, but somebody should know.
    pub(super) fn but(mut self, text: &str, advice: impl Into<String>) -> Self {
        self.text = format!("{}; {text}", self.text);
        self.verdict = self.verdict.max_with(Verdict::Warning);
        let advice = advice.into();
        self.advice = Some(match self.advice {
            Some(before) => format!("{before} {advice}"),
            None => advice,
        });
        self
    }
}

impl Verdict {
    fn max_with(self, other: Self) -> Self {
        if self == Self::Error { self } else { other }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Error => "ERROR",
        }
    }

    /// As a terminal is told: green, yellow, red.
    fn colour(self) -> u8 {
        match self {
            Self::Ok => 32,
            Self::Warning => 33,
            Self::Error => 31,
        }
    }
}

/// The table for people.
pub(super) fn table(results: &[Result], colours: bool) -> String {
    let mut out = String::new();
    for Result { who, verdict, text, advice, .. } in results {
        let word = format!("{:<8}", verdict.word());
        let word = if colours { format!("\x1b[{}m{word}\x1b[0m", verdict.colour()) } else { word };
        let _ = writeln!(out, "{word} {:<9} {:<32} {text}", who.part, who.address);
        if let Some(advice) = advice {
            let _ = writeln!(out, "{:8} {:9} → {} ({})", "", "", advice, who.key);
        }
    }
    out
}
