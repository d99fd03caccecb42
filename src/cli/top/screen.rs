//! What was seen, drawn.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table};

use super::sample::{Seen, Writes};
use crate::admin::status::{FrontendStatus, Status, span};
use crate::telemetry::metric::{COMMANDS, OUTCOMES};

/// Draws a look, or why there is none.
pub(super) fn draw(frame: &mut Frame<'_>, look: &Result<Seen, String>, colours: bool) {
    match look {
        Ok(seen) => seen_on(frame, seen, colours),
        Err(why) => {
            let style = if colours { Style::new().fg(Color::Red) } else { Style::new() };
            let lines =
                vec![Line::styled(why.clone(), style), Line::from("Asked again every second; q ends this.")];
            frame.render_widget(
                Paragraph::new(lines).block(Block::bordered().title("ravenry top")),
                frame.area(),
            );
        }
    }
}

fn seen_on(frame: &mut Frame<'_>, seen: &Seen, colours: bool) {
    let status = &seen.status;
    let frontends = frontends(status);
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).saturating_add(3);
    let tables = rows(frontends.len().max(status.stream_detail.len()).clamp(1, 12));
    let [head, numbers, middle, events] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Length(10),
        Constraint::Length(tables),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    frame.render_widget(state(status, colours), head);
    let [pending, writes, mail] = Layout::horizontal([
        Constraint::Percentage(30),
        Constraint::Percentage(40),
        Constraint::Percentage(30),
    ])
    .areas(numbers);
    frame.render_widget(pending_of(status), pending);
    writes_on(frame, writes, seen.writes.as_ref());
    frame.render_widget(mail_of(status), mail);
    let [streams, fronts] =
        Layout::horizontal([Constraint::Percentage(45), Constraint::Percentage(55)]).areas(middle);
    streams_on(frame, streams, status);
    let widths = [Constraint::Length(5), Constraint::Min(22), Constraint::Min(18)];
    let table = Table::new(frontends, widths).header(heading(["", "frontend", "health"]));
    frame.render_widget(table.block(Block::bordered().title(" frontends ")), fronts);
    frame.render_widget(events_of(status), events);
}

fn colour(state: &str) -> Color {
    match state {
        "following" => Color::Green,
        "replaying" => Color::Cyan,
        "standing-in" => Color::Yellow,
        _ => Color::Red,
    }
}

fn ago(status: &Status, at: u64) -> String {
    span(status.now.saturating_sub(at))
}

fn state(status: &Status, colours: bool) -> Paragraph<'static> {
    let mut bold = Style::new().add_modifier(Modifier::BOLD);
    if colours {
        bold = bold.fg(colour(&status.state));
    }
    let held = if status.held_by_operator { ", held by an operator" } else { "" };
    let first = Line::from(vec![
        Span::styled(status.state.clone(), bold),
        Span::from(format!("{held}, for {}: {}", ago(status, status.since), status.reason)),
    ]);
    let master = match (&status.master.version, &status.master.last_error) {
        (Some(version), _) if status.master.connected => format!("connected, Cyrus {version}"),
        (_, Some(error)) if !status.master.connected => error.clone(),
        _ if status.master.connected => "connected".to_owned(),
        _ => "not connected".to_owned(),
    };
    let lines = vec![
        first,
        Line::from(format!("master {}: {master}", status.master.address)),
        Line::from(format!("{} names in the list", status.entries)),
    ];
    let title = format!(" Ravenry {} · q: quit ", status.version);
    Paragraph::new(lines).block(Block::bordered().title(title))
}

fn numbers(title: &'static str, rows: Vec<(&str, String)>) -> Paragraph<'static> {
    let lines: Vec<Line<'_>> =
        rows.into_iter().map(|(name, value)| Line::from(format!("{name:<15}{value}"))).collect();
    Paragraph::new(lines).block(Block::bordered().title(title))
}

fn pending_of(status: &Status) -> Paragraph<'static> {
    let oldest = status.journal_detail.oldest.map_or("–".to_owned(), |at| ago(status, at));
    numbers(
        " pending ",
        vec![
            ("for master", status.journal.to_string()),
            ("oldest", oldest),
            ("to compare", status.replaying.to_string()),
            ("conflicts", status.conflicts.to_string()),
            ("unconfirmed", status.unconfirmed.to_string()),
            ("in doubt", status.doubts.to_string()),
            ("last barrier", status.last_barrier.map_or("never".to_owned(), |at| ago(status, at))),
        ],
    )
}

fn mail_of(status: &Status) -> Paragraph<'static> {
    let none = || "–".to_owned();
    let queue = status.queue.as_ref();
    let accepts = match queue {
        Some(queue) if queue.poisoned.is_some() || queue.full.is_some() => "NO",
        Some(_) => "yes",
        None => "–",
    };
    numbers(
        " mail ",
        vec![
            ("queued", queue.map_or_else(none, |queue| queue.messages.to_string())),
            ("bytes", queue.map_or_else(none, |queue| queue.bytes.to_string())),
            ("oldest", queue.and_then(|queue| queue.oldest).map_or_else(none, |at| ago(status, at))),
            ("accepts", accepts.to_owned()),
            ("LMTP sessions", status.lmtp.as_ref().map_or_else(none, |lmtp| lmtp.sessions.to_string())),
            ("IMAP sessions", status.imap.as_ref().map_or_else(none, |imap| imap.sessions.to_string())),
            (
                "ghosts removed",
                status.imap.as_ref().map_or_else(none, |imap| imap.ghosts_forgotten.to_string()),
            ),
        ],
    )
}

fn heading<const N: usize>(names: [&'static str; N]) -> Row<'static> {
    Row::new(names).style(Style::new().add_modifier(Modifier::BOLD))
}

fn writes_on(frame: &mut Frame<'_>, area: Rect, writes: Option<&Writes>) {
    let block = Block::bordered().title(" writes per second ");
    let Some(writes) = writes else {
        let none = "counted from the next second on, where [metrics] is configured";
        frame.render_widget(
            Paragraph::new(none).wrap(ratatui::widgets::Wrap { trim: true }).block(block),
            area,
        );
        return;
    };
    let rate = |command: &str, outcome: &str| {
        let rate = writes.get(&(command.to_owned(), outcome.to_owned()));
        format!("{:.1}", rate.copied().unwrap_or_default())
    };
    let rows = COMMANDS.iter().map(|command| {
        let rates = OUTCOMES.iter().map(|outcome| rate(command, outcome));
        Row::new(std::iter::once((*command).to_owned()).chain(rates))
    });
    let widths =
        [Constraint::Length(10), Constraint::Length(6), Constraint::Length(7), Constraint::Length(11)];
    let [done, refused, unavailable] = [0, 1, 2].map(|at| OUTCOMES.get(at).copied().unwrap_or_default());
    let table = Table::new(rows, widths).header(heading(["", done, refused, unavailable]));
    frame.render_widget(table.block(block), area);
}

fn streams_on(frame: &mut Frame<'_>, area: Rect, status: &Status) {
    let rows = status
        .stream_detail
        .iter()
        .map(|stream| Row::new([stream.peer.clone(), ago(status, stream.since), stream.lag.to_string()]));
    let widths = [Constraint::Min(21), Constraint::Length(8), Constraint::Length(8)];
    let table = Table::new(rows, widths).header(heading(["stream to", "for", "waiting"]));
    let title = format!(" {} streams ", status.streams);
    frame.render_widget(table.block(Block::bordered().title(title)), area);
}

fn frontends(status: &Status) -> Vec<Row<'static>> {
    let of = |face: &'static str, frontends: &[FrontendStatus]| -> Vec<Row<'static>> {
        let row = |frontend: &FrontendStatus| {
            let health = match (&frontend.down, frontend.drained) {
                (Some(why), _) => format!("DOWN: {why}"),
                (None, true) => format!("drained, {} in use", frontend.in_use),
                (None, false) => format!("up, {} in use", frontend.in_use),
            };
            Row::new([face.to_owned(), frontend.address.clone(), health])
        };
        frontends.iter().map(row).collect()
    };
    let lmtp = status.lmtp.iter().flat_map(|lmtp| of("LMTP", &lmtp.frontends));
    let imap = status.imap.iter().flat_map(|imap| of("IMAP", &imap.frontends));
    lmtp.chain(imap).collect()
}

fn events_of(status: &Status) -> Paragraph<'static> {
    let passages = status.history.iter().rev();
    let lines: Vec<Line<'_>> = passages
        .map(|passage| {
            Line::from(format!(
                "{:>8} ago  {:<12} {}",
                ago(status, passage.at),
                passage.state,
                passage.reason
            ))
        })
        .collect();
    Paragraph::new(lines).block(Block::bordered().title(" last events "))
}

/// The characters of a drawing, a line each.
pub(super) fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let lines = buffer.content.chunks(width);
    let lines =
        lines.map(|cells| cells.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn drawn(look: &Result<Seen, String>, width: u16, height: u16) -> String {
        let mut paper = Terminal::new(TestBackend::new(width, height)).unwrap();
        paper.draw(|frame| draw(frame, look, true)).unwrap();
        text(paper.backend().buffer())
    }

    fn look() -> Result<Seen, String> {
        let status = serde_json::json!({
            "state": "standing-in", "since": 1000, "reason": "the master is away: it hung up",
            "held_by_operator": false, "entries": 1234, "journal": 7, "conflicts": 2, "streams": 1, "unconfirmed": 3,
            "doubts": 4, "replaying": 5, "last_barrier": 990,
            "master": { "address": "mm:3905", "connected": false, "servername": null, "version": null, "last_error": "refused" },
            "journal_detail": { "records": 9, "oldest": 1010 }, "conflict_detail": [],
            "stream_detail": [{ "peer": "192.0.2.1:40", "identity": "murder", "since": 900, "written_seq": 1, "lag": 6 }],
            "store": { "seq": 1, "complete": true, "poisoned": null },
            "lmtp": null,
            "imap": { "sessions": 8, "ghosts_forgotten": 1, "without_master": {}, "frontends": [
                { "address": "fe1:143", "down": "no greeting", "down_since": 1000, "drained": false, "in_use": 0 }] },
            "queue": null, "history": [{ "at": 1000, "state": "standing-in", "reason": "the master is away" }],
            "version": "0.1.0", "started": 1, "now": 1060
        });
        let writes = Writes::from([(("reserve".to_owned(), "done".to_owned()), 12.5)]);
        Ok(Seen { status: serde_json::from_value(status).unwrap(), writes: Some(writes) })
    }

    #[test]
    fn everything_that_matters_is_on_one_screen() {
        let screen = drawn(&look(), 100, 30);
        for shown in [
            "standing-in, for 60 s: the master is away: it hung up",
            "master mm:3905: refused",
            "for master     7",
            "oldest         50 s",
            "conflicts      2",
            "reserve    12.5",
            "192.0.2.1:40",
            "IMAP  fe1:143",
            "DOWN: no greeting",
            "IMAP sessions  8",
            "60 s ago  standing-in",
        ] {
            assert!(screen.contains(shown), "{shown:?} is not on\n{screen}");
        }
    }

    #[test]
    fn a_small_terminal_and_a_silent_ravenry_are_drawn_too() {
        for (width, height) in [(20, 5), (1, 1), (80, 24)] {
            drawn(&look(), width, height);
        }
        assert!(drawn(&Err("no Ravenry answers".into()), 60, 10).contains("no Ravenry answers"));
    }
}
