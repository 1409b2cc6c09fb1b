//! Draws `lb top` on a terminal of any size.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style as Look},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph, Row, Table},
};

use super::{
    app::App,
    sheet::{self, Sheet, number},
};
use crate::{
    admin::{
        Status,
        wording::{PairInWords, Tone},
    },
    cli::table::{Align, Style},
};

/// Maximum number of rows in the table of dropped packets, which has a row for each reason.
const MOST_DROPS: usize = 5;
/// Minimum height of the terminal, in rows, at which the table of dropped packets is shown.
const ROOM_FOR_DROPS: u16 = 20;

const HELP: [&str; 7] = [
    "q       quit",
    "s       next order of the rows",
    "/       filter by name; Enter ends, Esc clears",
    "up down scroll the backends (also j, k)",
    "h ?     this help",
    "",
    "Rates are those of the last second.",
];

/// Draws the header, the tables and the footer of `lb top`.
pub(super) fn draw(app: &App, frame: &mut Frame<'_>) {
    let header = header(app);
    let services = sheet::services(&app.rates, app.sort, &app.filter);
    let mut backends = sheet::backends(&app.rates, app.sort, &app.filter);
    let scrolled = app.scroll.min(backends.rows.len());
    backends.rows.drain(..scrolled);
    let mut drops = sheet::drops(&app.rates);
    drops.rows.truncate(MOST_DROPS);
    let height = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX);
    let total = frame.area().height;
    let of_services = height(services.rows.len() + 3).min(total / 2);
    let of_drops = match drops.rows.len() {
        rows @ 1.. if total >= ROOM_FOR_DROPS => height(rows + 2),
        _ => 0,
    };
    let [top, first, second, third, bottom] = Layout::vertical([
        Constraint::Length(height(header.len())),
        Constraint::Length(of_services),
        Constraint::Fill(1),
        Constraint::Length(of_drops),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(header), top);
    table(&services, frame, first);
    table(&backends, frame, second);
    table(&drops, frame, third);
    frame.render_widget(Paragraph::new(footer(app)), bottom);
    if app.help {
        help(frame);
    }
}

fn header(app: &App) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(status) = &app.status {
        lines.push(host(status, app));
        lines.extend(PairInWords::of(status).as_ref().map(roles));
        let problems = status.problems.iter();
        lines.extend(problems.map(|problem| Line::styled(problem.clone(), look(Style::Red))));
    }
    if let Some(problem) = &app.problem {
        lines.push(Line::styled(problem.clone(), look(Style::Red)));
    }
    if lines.is_empty() {
        lines.push(Line::raw("waiting for the agent"));
    }
    lines
}

fn host(status: &Status, app: &App) -> Line<'static> {
    let uptime =
        humantime::format_duration(std::time::Duration::from_secs(status.uptime().as_secs()));
    Line::from(vec![
        Span::styled(status.node.clone(), look(Style::Bold)),
        Span::raw(format!("  lb {}  up {uptime}  ", status.version)),
        Span::raw(format!(
            "{}  {} packets/s",
            status.xdp.in_words(),
            number(app.rates.packets)
        )),
    ])
}

/// Returns a line of text with the roles of both hosts of the pair.
fn roles(pair: &PairInWords) -> Line<'static> {
    let mut spans = vec![Span::styled("pair", look(Style::Faint))];
    for host in &pair.hosts {
        let style = match host.role.0 {
            Tone::Plain => Style::Plain,
            Tone::Good => Style::Green,
            Tone::Odd => Style::Yellow,
            Tone::Bad => Style::Red,
        };
        spans.push(Span::raw(format!("  {} ", host.name)));
        spans.push(Span::styled(host.role.1.to_string(), look(style)));
    }
    Line::from(spans)
}

fn footer(app: &App) -> Line<'static> {
    if app.typing {
        return Line::raw(format!("filter: {}_", app.filter));
    }
    let mut text = format!("q quit  s order: {}  / filter", app.sort.as_str());
    if !app.filter.is_empty() {
        text.push_str(&format!(": {}", app.filter));
    }
    text.push_str("  h help");
    Line::styled(text, look(Style::Faint))
}

fn table(sheet: &Sheet, frame: &mut Frame<'_>, area: Rect) {
    let places = sheet.fitting(usize::from(area.width));
    let widths = sheet.widths();
    let cell = |place: usize, text: &str, style: Style| {
        let alignment = match sheet.columns[place].align {
            Align::Left => Alignment::Left,
            Align::Right => Alignment::Right,
        };
        let line = Line::styled(text.to_owned(), look(style));
        line.alignment(alignment)
    };
    let titles = places
        .iter()
        .map(|it| cell(*it, sheet.columns[*it].title, Style::Faint));
    let rows = sheet
        .rows
        .iter()
        .map(|row| Row::new(places.iter().map(|it| cell(*it, &row[*it].0, row[*it].1))));
    let constraints = places
        .iter()
        .map(|it| Constraint::Length(u16::try_from(widths[*it]).unwrap_or(u16::MAX)));
    let table = Table::new(rows, constraints)
        .header(Row::new(titles))
        .column_spacing(2)
        .block(Block::new().title(Line::styled(sheet.title, look(Style::Bold))));
    frame.render_widget(table, area);
}

fn help(frame: &mut Frame<'_>) {
    let width = HELP.iter().map(|line| line.len()).max().unwrap_or_default();
    let size = |length: usize| u16::try_from(length + 2).unwrap_or(u16::MAX);
    let area = frame.area().centered(
        Constraint::Max(size(width)),
        Constraint::Max(size(HELP.len())),
    );
    let text: Vec<_> = HELP.into_iter().map(Line::raw).collect();
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(text).block(Block::bordered().title("help")),
        area,
    );
}

fn look(style: Style) -> Look {
    match style {
        Style::Plain => Look::new(),
        Style::Bold => Look::new().add_modifier(Modifier::BOLD),
        Style::Faint => Look::new().add_modifier(Modifier::DIM),
        Style::Green => Look::new().fg(Color::Green),
        Style::Yellow => Look::new().fg(Color::Yellow),
        Style::Red => Look::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::admin::{DropStatus, Moment, examples_of_status as status};

    fn app() -> App {
        let mut app = App::default();
        app.update(Ok(status()));
        let mut next = status();
        next.now = Moment(next.now.0 + Duration::from_secs(1));
        next.services[0].connections += 1234;
        next.services[1].requests = Some(1087);
        next.xdp.drops = vec![DropStatus {
            reason: "no_neighbour".to_owned(),
            packets: 9,
        }];
        app.update(Ok(next));
        app
    }

    fn screen(app: &App, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal.draw(|frame| draw(app, frame)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let row = |y| {
            (0..width)
                .map(|x| buffer[(x, y)].symbol())
                .collect::<String>()
        };
        (0..height).map(|y| row(y).trim_end().to_owned()).collect()
    }

    #[test]
    fn a_screen_has_services_backends_drops_and_roles() {
        let screen = screen(&app(), 120, 30);
        let has = |words: &[&str]| {
            let found = screen
                .iter()
                .any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "{words:?} in:\n{}", screen.join("\n"));
        };
        has(&[
            "lb-a",
            "lb 0.1.0",
            "up 3days 2h",
            "native XDP on eth0 and eth1",
            "packets/s",
        ]);
        has(&["pair", "lb-a ", "master", "lb-b ", "backup"]);
        has(&[
            "SERVICE", "LISTEN", "NEW/S", "REQ/S", "IN B/S", "OUT B/S", "ERR/S",
        ]);
        has(&["http", "172.31.0.68:80", "1/3", "1.2k"]);
        has(&["https", "172.31.0.68:443", "1/3", "87"]);
        has(&["web/web1", "10.0.0.6:80", "up", "1.2 ms"]);
        has(&["web/web2", "draining"]);
        has(&["web/web3", "down", "connection refused"]);
        has(&["no_neighbour", "9.0", "9"]);
        has(&["q quit", "s order: configuration", "h help"]);
    }

    #[test]
    fn every_size_of_terminal_has_a_screen() {
        let mut app = app();
        for help in [false, true] {
            app.help = help;
            for (width, height) in [(1, 1), (10, 3), (40, 10), (80, 24), (300, 100)] {
                screen(&app, width, height);
            }
        }
        let narrow = screen(&app, 40, 24);
        assert!(
            narrow.iter().any(|line| line.contains("quit")),
            "{narrow:#?}"
        );
        app.help = false;
        let narrow = screen(&app, 40, 24);
        let row = narrow
            .iter()
            .find(|line| line.contains("web/web3"))
            .expect("a row");
        assert!(
            row.contains("down") && !row.contains("10.0.0.9"),
            "{narrow:#?}"
        );
    }

    #[test]
    fn a_problem_is_shown_beside_what_was_known() {
        let mut app = app();
        app.update(Err("the agent is not running".to_owned()));
        app.filter = "web2".to_owned();
        let screen = screen(&app, 100, 20).join("\n");
        assert!(
            screen.contains("the agent is not running") && screen.contains("web/web2"),
            "{screen}"
        );
        assert!(
            !screen.contains("web/web1") && screen.contains("/ filter: web2"),
            "{screen}"
        );
    }
}
