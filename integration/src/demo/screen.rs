//! What is shown: a timeline of two columns, and the progress of what takes long.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Narrower, replies would be cut into pieces; wider, the eye loses its row.
const WIDTHS: std::ops::RangeInclusive<usize> = 80..=132;
/// The seconds at the beginning of each line.
const TIME: usize = 7;
/// Between columns.
const GAP: usize = 2;
/// How often a long wait says that it goes on, where nobody sees a line being rewritten.
const REMINDER: u64 = 15;

/// What one murder answered.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// As the user sees it.
    pub(super) text: String,
    /// Whether the user is content; `None` where that is not the question.
    pub(super) good: Option<bool>,
}

impl Told {
    pub(super) fn good(text: impl Into<String>) -> Self {
        Self { text: text.into(), good: Some(true) }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self { text: text.into(), good: Some(false) }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), good: None }
    }
}

/// Where the timeline appears. Colours, and lines that are rewritten, only where a person watches.
#[derive(Debug)]
pub(super) struct Screen {
    start: Instant,
    terminal: bool,
    colours: bool,
    width: usize,
}

impl Screen {
    pub(super) fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let width = terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0));
        Self {
            start: Instant::now(),
            terminal,
            colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: width.clamp(*WIDTHS.start(), *WIDTHS.end()),
        }
    }

    /// A paragraph of plain text.
    pub(super) fn paragraph(&self, text: &str) {
        for line in wrapped(text, self.width) {
            println!("{line}");
        }
        println!();
    }

    /// The columns' names.
    pub(super) fn head(&self) {
        let [what, without, _] = self.columns();
        let (happens, left, right) = ("what happens", "WITHOUT RAVENRY", "WITH RAVENRY");
        println!("{:>TIME$}  {happens:what$}  {left:without$}  {right}", "seconds");
        println!("{}", "─".repeat(self.width));
    }

    /// A new act of the play.
    pub(super) fn act(&self, title: &str) {
        println!("{}", self.painted(&format!("{}  {title}", self.clock()), "1"));
    }

    /// Lines across both columns, as they are.
    pub(super) fn note(&self, text: &str) {
        for line in text.lines() {
            println!("{:TIME$}  {line}", "");
        }
    }

    /// Runs a step, and where a person watches shows that it goes on; [`Screen::row`] then writes over it.
    pub(super) async fn step<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let [width, ..] = self.columns();
        let first = wrapped(what, width).into_iter().next().unwrap_or_default();
        self.ticking(&first, work, |_| {}).await
    }

    /// What happened, and what each of the two made of it.
    pub(super) fn row(&self, what: &str, without: &Told, with: &Told) {
        let widths = self.columns();
        let cells = [wrapped(what, widths[0]), marked(without, widths[1]), marked(with, widths[2])];
        let height = cells.iter().map(Vec::len).max().unwrap_or_default();
        self.rewind();
        for line in 0..height {
            let time = if line == 0 { self.clock() } else { " ".repeat(TIME) };
            let mut text = time;
            for ((cell, width), told) in cells.iter().zip(widths).zip([None, Some(without), Some(with)]) {
                let piece = cell.get(line).map_or("", String::as_str);
                let colour = match told.and_then(|told| told.good) {
                    Some(true) => "32",
                    Some(false) => "31",
                    None => "0",
                };
                text.push_str(&" ".repeat(GAP));
                text.push_str(&self.painted(piece, colour));
                text.push_str(&" ".repeat(width.saturating_sub(piece.chars().count())));
            }
            println!("{}", text.trim_end());
        }
    }

    /// Runs something that takes long, and shows that it goes on.
    pub(super) async fn during<T>(&self, what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        if !self.terminal {
            println!("{}  {what} …", self.clock());
        }
        let remind = |seconds: u64| {
            if seconds > 0 && seconds.is_multiple_of(REMINDER) {
                println!("{}  … {what}: {seconds} s so far", self.clock());
            }
        };
        let done = self.ticking(what, work, remind).await;
        self.rewind();
        let how = if done.is_ok() { "done" } else { "failed" };
        println!("{}  {what}: {how} after {:.1} s\n", self.clock(), begun.elapsed().as_secs_f64());
        done
    }

    /// Rewrites a line every second, or where there is no terminal, calls `otherwise`.
    async fn ticking<T>(&self, what: &str, work: impl Future<Output = T>, otherwise: impl Fn(u64)) -> T {
        let begun = Instant::now();
        let mut work = std::pin::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = tick.tick() => {
                    let seconds = begun.elapsed().as_secs();
                    if self.terminal {
                        print!("\r\x1b[K{}  {what} … {seconds} s", self.clock());
                        flush();
                    } else {
                        otherwise(seconds);
                    }
                }
            }
        }
    }

    /// Good news in green, bad news in red, where there are colours.
    pub(super) fn verdict(&self, good: bool, text: &str) {
        for line in wrapped(text, self.width) {
            println!("{}", self.painted(&line, if good { "32" } else { "31" }));
        }
    }

    fn rewind(&self) {
        if self.terminal {
            print!("\r\x1b[K");
        }
    }

    fn clock(&self) -> String {
        format!("{:TIME$.1}", self.start.elapsed().as_secs_f64())
    }

    fn columns(&self) -> [usize; 3] {
        let free = self.width.saturating_sub(TIME + 3 * GAP);
        let what = free * 3 / 8;
        let side = (free - what) / 2;
        [what, side, side]
    }

    fn painted(&self, text: &str, code: &str) -> String {
        if self.colours && code != "0" && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn flush() {
    // A terminal that has gone away is no reason to end: the murders are still to be removed.
    let _ = std::io::stdout().flush();
}

/// The text behind a sign, so that the difference is not one of colour alone.
fn marked(told: &Told, width: usize) -> Vec<String> {
    let sign = match told.good {
        Some(true) => "+ ",
        Some(false) => "✗ ",
        None => "  ",
    };
    let lines = wrapped(&told.text, width.saturating_sub(2));
    lines.iter().enumerate().map(|(n, line)| format!("{}{line}", if n == 0 { sign } else { "  " })).collect()
}

/// Lines of at most `width` characters, broken between words where that is possible.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let (have, more) = (line.chars().count(), word.chars().count());
        if have > 0 && have + 1 + more > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        for letter in word.chars() {
            if line.chars().count() >= width.max(1) {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::wrapped;

    #[test]
    fn text_is_broken_between_words_and_long_words_anywhere() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrapped("", 5), [""]);
    }
}
