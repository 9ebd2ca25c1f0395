//! The screen of `vela top`.

use super::super::report::{grouped, short_us};
use super::view::{Row, Sort, StageRow, View};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row as TableRow, Sparkline, Table, Widget as _};

const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
const WARN: Style = Style::new().fg(Color::Yellow);
const GOOD: Style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);

/// Draws onto a terminal.
pub(super) fn frame(view: &View, frame: &mut ratatui::Frame<'_>) {
    let area = frame.area();
    everything(view, area, frame.buffer_mut());
}

/// The same as lines of text, as many as there is something to show.
pub(super) fn text(view: &View, width: u16) -> String {
    let rows = u16::try_from(view.rows().len()).unwrap_or(u16::MAX).min(400);
    let height = FIXED + 2 + troubles(view).len() as u16 + rows;
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    everything(view, area, &mut buffer);
    let mut text = String::new();
    for y in 0..height {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Lines of headline, stages, course and keys.
const FIXED: u16 = 2 + 7 + 6 + 1;

fn everything(view: &View, area: Rect, buffer: &mut Buffer) {
    let troubles = troubles(view);
    let [head, stages, course, trouble, table, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(7),
        Constraint::Length(6),
        Constraint::Length(troubles.len() as u16),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    Paragraph::new(headline(view)).render(head, buffer);
    stage_table(view).render(stages, buffer);
    course_of(view, course, buffer);
    Paragraph::new(troubles).render(trouble, buffer);
    rows_of(view, table, buffer);
    Paragraph::new(help(view)).render(keys, buffer);
}

fn us(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), short_us)
}

fn uptime(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

fn headline(view: &View) -> Vec<Line<'static>> {
    let metrics = &view.now.metrics;
    let status = match &*view.now.health.status {
        _ if view.problem.is_some() => Span::styled("away", BAD),
        "healthy" => Span::styled("healthy", GOOD),
        "degraded" => Span::styled("degraded", WARN),
        "" => Span::raw("running"),
        other => Span::styled(other.to_owned(), BAD),
    };
    let system = &metrics.system;
    let first = Line::from(vec![
        Span::raw("vela ").bold(),
        Span::raw(format!("{} at {}  ", metrics.version, view.server)),
        status,
        Span::raw(format!(
            "  up {}  memory {:.0} of {} MiB  CPU {:.0} % of {} cores  sessions {} of {}  cache hits {:.0} %",
            uptime(metrics.performance.uptime_s),
            system.memory_usage_mb,
            system.memory_limit_mb,
            system.cpu_usage_percent,
            system.cores,
            metrics.model_pool.loaded,
            metrics.model_pool.max_size,
            metrics.feature_cache.hit_rate_percent,
        )),
    ]);
    let without: u64 = metrics.reasons.values().sum();
    let second = Line::raw(format!(
        "bars {}/s  predictions {}/s  arrived → stored p50 {}  p99 {}  late {}  without a prediction {}  alerts {}",
        grouped(view.per_s(|m| m.performance.total_bars) as u64),
        grouped(view.per_s(|m| m.performance.total_predictions) as u64),
        us(view.latency_us(0.5)),
        us(view.latency_us(0.99)),
        grouped(metrics.performance.late_predictions),
        grouped(without),
        grouped(metrics.alerts.values().sum()),
    ));
    vec![first, second]
}

/// Where it hurts, a line each.
fn troubles(view: &View) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    if let Some(problem) = &view.problem {
        lines.push(Line::styled(problem.clone(), BAD));
    }
    for reason in &view.now.health.reasons {
        lines.push(Line::styled(format!("{} {}: {}", reason.code, reason.subject, reason.detail), WARN));
    }
    let unsaved = view.now.metrics.performance.unsaved;
    if unsaved > 0 {
        lines.push(Line::styled(format!("{unsaved} outcomes are not stored"), BAD));
    }
    lines
}

fn stage_table(view: &View) -> Table<'static> {
    let budget_us = view.now.metrics.performance.budget_ms as f64 * 1e3;
    let row = |stage: StageRow| {
        let [wait50, wait99, work50, work99] = stage.quantiles_us;
        let full = stage.items_max > 0 && stage.depth * 10 >= stage.items_max * 9;
        let slow = wait99.is_some_and(|wait| wait > budget_us);
        let style = |bad: bool| if bad { BAD } else { Style::new() };
        TableRow::new([
            Cell::from(stage.name),
            Cell::from(format!("{}/s", grouped(stage.per_s as u64))),
            Cell::from(format!("{} of {}", stage.depth, grouped(stage.items_max as u64))).style(style(full)),
            Cell::from(format!("{} of {}", stage.workers, stage.workers_max)),
            Cell::from(us(wait50)),
            Cell::from(us(wait99)).style(style(slow)),
            Cell::from(us(work50)),
            Cell::from(us(work99)),
            Cell::from(stage.panics.to_string()).style(style(stage.panics > 0)),
        ])
    };
    let names =
        ["stage", "handled", "waiting", "workers", "wait p50", "wait p99", "work p50", "work p99", "panics"];
    let widths = [10, 12, 14, 9, 10, 10, 10, 10, 7].map(Constraint::Length);
    Table::new(view.stages().into_iter().map(row), widths)
        .header(TableRow::new(names).style(Style::new().dim()))
        .block(Block::bordered().title("pipeline, last interval"))
}

fn course_of(view: &View, area: Rect, buffer: &mut Buffer) {
    let block = Block::bordered().title("p99 of arrived → stored, an interval a column (logarithmic)");
    let inside = block.inner(area);
    block.render(area, buffer);
    // A logarithm of hundredths of a doubling: a spike does not flatten all else.
    let tall = |us: &u64| if *us == 0 { 0 } else { ((*us as f64).log2() * 100.0) as u64 + 1 };
    let width = usize::from(inside.width);
    let skip = view.course_us.len().saturating_sub(width);
    let data: Vec<u64> = view.course_us.iter().skip(skip).map(tall).collect();
    Sparkline::default().data(&data).style(Style::new().fg(Color::Cyan)).render(inside, buffer);
}

fn rows_of(view: &View, area: Rect, buffer: &mut Buffer) {
    let rows = view.rows();
    let count = rows.len();
    let first = view.first.min(count.saturating_sub(1));
    let row = |row: Row| {
        TableRow::new([
            row.name,
            grouped(row.predictions),
            format!("{:.1}", row.per_s),
            grouped(row.errors),
            short_us(row.latency_avg_ms * 1e3),
            short_us(row.latency_max_ms * 1e3),
        ])
    };
    let what = if view.models { "model" } else { "symbol" };
    let mark = |name: &str, sort: Sort| format!("{name}{}", if view.sort == sort { " ▾" } else { "" });
    let names = [
        mark(what, Sort::Name),
        "predictions".into(),
        mark("per s", Sort::Rate),
        mark("without", Sort::Errors),
        "mean latency".into(),
        mark("longest", Sort::Latency),
    ];
    let filter = if view.filter.is_empty() { String::new() } else { format!(" with `{}`", view.filter) };
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(13),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(13),
        Constraint::Length(11),
    ];
    let table = Table::new(rows.into_iter().skip(first).map(row), widths)
        .header(TableRow::new(names).style(Style::new().dim()))
        .block(Block::bordered().title(format!("{count} {what}s{filter}")));
    table.render(area, buffer);
}

fn help(view: &View) -> Line<'static> {
    if view.typing {
        return Line::raw(format!("filter: {}▏ (Enter keeps it, Esc clears it)", view.filter));
    }
    Line::raw("q quit  / filter  m models or symbols  order: n name, r rate, e without, l longest  ↑↓ scroll")
        .dim()
}

#[cfg(test)]
mod tests {
    use super::super::ask::Look;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    /// Draws onto nothing but memory.
    fn drawn(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|screen| frame(view, screen)).unwrap();
        terminal.backend().to_string()
    }

    fn look(handled: u64, status: &str) -> Look {
        let counts = |n: u64| serde_json::json!([0, n, 0]);
        let stage = |n| {
            serde_json::json!({"items": n, "depth": 3, "items_max": 1000, "workers": 2, "workers_max": 8,
                "queue_wait_buckets": counts(n), "service_buckets": counts(n)})
        };
        let tally = |n: u64, max: f64| serde_json::json!({"predictions_count": n, "errors_count": 1, "avg_latency_ms": 0.5, "max_latency_ms": max});
        let metrics = serde_json::json!({
            "version": "9.9.9", "bucket_bounds_us": [100.0, 200.0], "stage_order": ["ingest", "persist"],
            "stages": {"ingest": stage(handled), "persist": stage(handled)},
            "performance": {"total_bars": handled, "total_predictions": 2 * handled, "latency_buckets": counts(handled),
                "budget_ms": 5, "uptime_s": 7322.0},
            "symbols": {"BTCUSD": tally(handled, 1.0), "ETHUSD": tally(2 * handled, 9.0)},
            "a key of a newer version": 1,
        });
        let health = serde_json::json!({"status": status, "reasons": if status == "healthy" { vec![] } else {
            vec![serde_json::json!({"code": "store_away", "subject": "store", "detail": "42 rows wait"})] }});
        Look {
            metrics: serde_json::from_value(metrics).unwrap(),
            health: serde_json::from_value(health).unwrap(),
        }
    }

    #[test]
    fn a_screen_shows_the_last_interval_and_where_it_hurts() {
        let mut view = View::new("http://127.0.0.1:8080");
        view.take_after(look(100, "healthy"), 0.0);
        view.take_after(look(300, "degraded"), 2.0);
        let screen = drawn(&view, 130, 40);
        for shown in [
            "9.9.9",
            "degraded",
            "up 2 h 2 min",
            "bars 100/s",
            "predictions 200/s",
            "p50 150 µs",
            "3 of 1 000",
            "store_away store: 42 rows wait",
            "2 symbols",
            "BTCUSD",
            "ETHUSD",
        ] {
            assert!(screen.contains(shown), "{shown} is missing in\n{screen}");
        }
        view.sort = Sort::Latency;
        let names = |view: &View| view.rows().into_iter().map(|row| row.name).collect::<Vec<_>>();
        assert_eq!(names(&view), ["ETHUSD", "BTCUSD"]);
        "btc".chars().for_each(|letter| view.typed(KeyCode::Char(letter)));
        assert_eq!(names(&view), ["BTCUSD"]);
        view.take(Err("nobody answers".into()));
        let screen = drawn(&view, 130, 40);
        assert!(screen.contains("away") && screen.contains("nobody answers"), "{screen}");
    }

    #[test]
    fn any_size_of_a_terminal_can_be_drawn_on() {
        let mut view = View::new("x");
        view.take_after(look(5, "critical"), 1.0);
        for (width, height) in [(1, 1), (20, 5), (60, 24), (300, 90)] {
            drawn(&view, width, height);
        }
        assert!(text(&view, 120).lines().count() > 15);
    }
}
