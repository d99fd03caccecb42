//! Rows, aims, and the table that docs/benchmarks.md holds.

use std::fmt;

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// The more the better.
    PerSecond,
    Seconds,
    Milliseconds,
    Mebibytes,
}

/// How rounds become one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fold {
    Median,
    Worst,
}

/// Whose figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    Cyrus,
    Following,
    StandingIn,
}

/// What we want to reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aim {
    /// So many times as good as Cyrus.
    Times(Who, f64),
    /// No more than this.
    AtMost(Who, f64),
}

/// One measure.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) what: String,
    pub(super) unit: Unit,
    pub(super) fold: Fold,
    pub(super) cyrus: Vec<f64>,
    pub(super) following: Vec<f64>,
    pub(super) standing_in: Vec<f64>,
    pub(super) aims: Vec<Aim>,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, unit: Unit, aims: &[Aim]) -> Self {
        Self {
            what: what.into(),
            unit,
            fold: Fold::Median,
            cyrus: Vec::new(),
            following: Vec::new(),
            standing_in: Vec::new(),
            aims: aims.to_vec(),
        }
    }

    pub(super) fn worst(self) -> Self {
        Self { fold: Fold::Worst, ..self }
    }

    pub(super) fn add(&mut self, who: Who, figure: f64) {
        match who {
            Who::Cyrus => self.cyrus.push(figure),
            Who::Following => self.following.push(figure),
            Who::StandingIn => self.standing_in.push(figure),
        }
    }

    fn of(&self, who: Who) -> &[f64] {
        match who {
            Who::Cyrus => &self.cyrus,
            Who::Following => &self.following,
            Who::StandingIn => &self.standing_in,
        }
    }

    /// The row's figure for one of the three.
    pub(super) fn figure(&self, who: Who) -> Option<f64> {
        let figures = self.of(who);
        match (self.fold, self.unit) {
            (Fold::Median, _) => median(figures.to_vec()),
            (Fold::Worst, Unit::PerSecond) => figures.iter().copied().reduce(f64::min),
            (Fold::Worst, _) => figures.iter().copied().reduce(f64::max),
        }
    }

    /// How many times as good as Cyrus.
    fn ratio(&self, who: Who) -> Option<f64> {
        let better = |ours: f64, theirs: f64| match self.unit {
            Unit::PerSecond => ours / theirs,
            Unit::Seconds | Unit::Milliseconds | Unit::Mebibytes => theirs / ours,
        };
        match self.fold {
            Fold::Median => median(
                self.of(who).iter().zip(&self.cyrus).map(|(ours, theirs)| better(*ours, *theirs)).collect(),
            ),
            Fold::Worst => Some(better(self.figure(who)?, self.figure(Who::Cyrus)?)),
        }
    }

    fn met(&self, aim: Aim) -> Option<bool> {
        Some(match aim {
            Aim::Times(who, wanted) => self.ratio(who)? >= wanted,
            Aim::AtMost(who, most) => self.figure(who)? <= most,
        })
    }

    fn cells(&self) -> [String; 7] {
        let figure = |who| self.figure(who).map_or("–".to_owned(), |figure| show(figure, self.unit));
        let ratio = |who| self.ratio(who).map_or("–".to_owned(), |ratio| format!("{}×", number(ratio)));
        let aims: Vec<String> = self
            .aims
            .iter()
            .map(|aim| {
                let met = match self.met(*aim) {
                    Some(true) => "met",
                    Some(false) => "**missed**",
                    None => "not measured",
                };
                format!("{}: {met}", self.aim(*aim))
            })
            .collect();
        [
            self.what.clone(),
            figure(Who::Cyrus),
            figure(Who::Following),
            figure(Who::StandingIn),
            ratio(Who::Following),
            ratio(Who::StandingIn),
            aims.join("; "),
        ]
    }

    fn aim(&self, aim: Aim) -> String {
        let word = |who| match who {
            Who::Cyrus => "Cyrus",
            Who::Following => "following",
            Who::StandingIn => "standing in",
        };
        match aim {
            Aim::Times(who, wanted) => format!("{} ≥ {}×", word(who), number(wanted)),
            Aim::AtMost(who, most) => format!("{} ≤ {}", word(who), show(most, self.unit)),
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) scale: &'static str,
    pub(super) machine: Vec<(&'static str, String)>,
    pub(super) cyrus: Option<String>,
    pub(super) rows: Vec<Row>,
}

impl Report {
    pub(super) fn new(scale: &'static str) -> Self {
        Self { scale, machine: Vec::new(), cyrus: None, rows: Vec::new() }
    }

    /// The names of the measures.
    pub fn measures(&self) -> Vec<&str> {
        self.rows.iter().map(|row| row.what.as_str()).collect()
    }

    /// Aims that were measured and missed.
    pub fn missed(&self) -> usize {
        self.rows
            .iter()
            .flat_map(|row| row.aims.iter().map(|aim| row.met(*aim)))
            .filter(|met| *met == Some(false))
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, is) in &self.machine {
            writeln!(f, "- {what}: {is}")?;
        }
        if let Some(cyrus) = &self.cyrus {
            writeln!(f, "- Cyrus: {cyrus}")?;
        }
        writeln!(f, "- scale: {}\n", self.scale)?;
        let head = ["measure", "Cyrus", "following", "standing in", "f/C", "s/C", "aim"].map(str::to_owned);
        let rows: Vec<[String; 7]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let mut widths = [3; 7];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (nth, row) in rows.iter().enumerate() {
            line(f, row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")))?;
            if nth == 0 {
                line(f, widths.iter().map(|width| "-".repeat(*width)))?;
            }
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, cells: impl Iterator<Item = String>) -> fmt::Result {
    writeln!(f, "| {} |", cells.collect::<Vec<_>>().join(" | "))
}

fn show(figure: f64, unit: Unit) -> String {
    let unit = match unit {
        Unit::PerSecond => "/s",
        Unit::Seconds => " s",
        Unit::Milliseconds => " ms",
        Unit::Mebibytes => " MiB",
    };
    format!("{}{unit}", number(figure))
}

/// Three digits that mean something.
fn number(figure: f64) -> String {
    let decimals = match figure.abs() {
        big if big >= 100.0 => 0,
        medium if medium >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{figure:.decimals$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut grouped = String::new();
    for (nth, digit) in whole.chars().enumerate() {
        if nth > 0 && (whole.len() - nth) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(rest) = rest.map(|rest| rest.trim_end_matches('0')).filter(|rest| !rest.is_empty()) {
        grouped.push('.');
        grouped.push_str(rest);
    }
    grouped
}

/// The middle one; `None` of nothing.
pub(super) fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    quantile(&figures, 0.5)
}

/// The figure below which a share of the sorted figures lies.
pub(super) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_round_and_say_how_much_better_we_are() {
        let mut row = Row::new("pairs", Unit::PerSecond, &[Aim::Times(Who::StandingIn, 5.0)]);
        row.cyrus = vec![100.0, 200.0, 50.0];
        row.standing_in = vec![600.0, 1000.0, 300.0];
        assert_eq!(row.ratio(Who::StandingIn), Some(6.0));
        assert!(row.cells().contains(&"standing in ≥ 5×: met".to_owned()));
        let mut row = Row::new("update", Unit::Seconds, &[Aim::AtMost(Who::Following, 1.0)]);
        (row.cyrus, row.following) = (vec![8.0], vec![2.0]);
        assert_eq!(row.ratio(Who::Following), Some(4.0));
        assert!(row.cells().contains(&"following ≤ 1 s: **missed**".to_owned()));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.914, 12.34, 5.0, 12345.6].map(number), ["0.91", "12.3", "5", "12,346"]);
    }
}
