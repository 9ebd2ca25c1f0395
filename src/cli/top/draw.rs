//! The screen of `vela top`.

use super::super::report::grouped;
use super::style::{BAD, GOOD, WARN, us};
use super::tables::{rows_of, stage_table};
use super::view::View;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, Widget as _};

/// Draws onto a terminal.
pub(super) fn frame(view: &View, frame: &mut ratatui::Frame<'_>) {
    let area = frame.area();
    everything(view, area, frame.buffer_mut());
}

/// The same as lines of text, as many as there is something to show.
pub(super) fn text(view: &View, width: u16) -> String {
    let rows = u16::try_from(view.rows().len()).unwrap_or(u16::MAX).min(400);
    let lines = headline(view, width, true).len() + troubles(view, width).len();
    let height = u16::try_from(lines).unwrap_or(u16::MAX) + stages_height(view) + COURSE + FRAME + rows + 1;
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

/// Lines of a table beside its rows: its frame, and its names.
const FRAME: u16 = 3;
/// Lines of the latency's course.
const COURSE: u16 = 6;
/// Lines of a table that are worth their frame.
const TABLE_MIN: u16 = FRAME + 2;
/// Lines of a terminal that has room for what is used as well.
const ROOMY: u16 = 20;
/// Lines of what hurts, where there are more.
const TROUBLES_MAX: usize = 8;

fn stages_height(view: &View) -> u16 {
    FRAME + view.now.metrics.stage_order.len() as u16
}

/// Where there is no room for all: what hurts goes before the stages, these before the table, that before the course.
fn everything(view: &View, area: Rect, buffer: &mut Buffer) {
    let head_lines = headline(view, area.width, area.height >= ROOMY);
    let troubles = troubles(view, area.width);
    let lines = (head_lines.len() + troubles.len() + 1) as u16;
    let room = area.height.saturating_sub(lines);
    let stages_height = stages_height(view).min(room);
    let room = room - stages_height;
    let course_height = if room >= TABLE_MIN + COURSE { COURSE } else { 0 };
    let [head, trouble, stages, course, table, keys] = Layout::vertical([
        Constraint::Length(head_lines.len() as u16),
        Constraint::Length(troubles.len() as u16),
        Constraint::Length(stages_height),
        Constraint::Length(course_height),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    Paragraph::new(head_lines).render(head, buffer);
    Paragraph::new(troubles).render(trouble, buffer);
    if stages.height > FRAME {
        stage_table(view, stages.width).render(stages, buffer);
    }
    if course.height == COURSE {
        course_of(view, course, buffer);
    }
    if table.height > FRAME {
        rows_of(view, table, buffer);
    }
    Paragraph::new(help(view, keys.width)).render(keys, buffer);
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

/// Puts parts beside each other, on as many lines as they need; a part is never cut in two.
fn flow(
    parts: impl IntoIterator<Item = Span<'static>>,
    between: &'static str,
    width: u16,
) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = vec![Line::default()];
    for part in parts {
        let line = &lines[lines.len() - 1];
        if line.width() > 0 && line.width() + between.len() + part.width() > usize::from(width) {
            lines.push(Line::default());
        }
        let last = lines.len() - 1;
        if lines[last].width() > 0 {
            lines[last].push_span(between);
        }
        lines[last].push_span(part);
    }
    lines
}

/// What it is and how it is; where there is room, what it uses as well.
fn headline(view: &View, width: u16, roomy: bool) -> Vec<Line<'static>> {
    let metrics = &view.now.metrics;
    let status = match &*view.now.health.status {
        _ if view.problem.is_some() => Span::styled("away", BAD),
        "healthy" => Span::styled("healthy", GOOD),
        "degraded" => Span::styled("degraded", WARN),
        "" => Span::raw("running"),
        other => Span::styled(other.to_owned(), BAD),
    };
    let system = &metrics.system;
    let mut parts = vec![
        Span::raw(format!("vela {}", metrics.version)).bold(),
        Span::raw(format!("at {}", view.server)),
        status,
        Span::raw(format!("up {}", uptime(metrics.performance.uptime_s))),
    ];
    let used = [
        Span::raw(format!("memory {:.0} of {} MiB", system.memory_usage_mb, system.memory_limit_mb)),
        Span::raw(format!("CPU {:.0} % of {} cores", system.cpu_usage_percent, system.cores)),
        Span::raw(format!("sessions {} of {}", metrics.model_pool.loaded, metrics.model_pool.max_size)),
        Span::raw(format!("cache hits {:.0} %", metrics.feature_cache.hit_rate_percent)),
    ];
    parts.extend(used.into_iter().filter(|_| roomy));
    if let Some(last) = &system.last_restart {
        let times =
            if system.generation == 1 { "once".into() } else { format!("{} times", system.generation) };
        // The clock of an RFC 3339 time.
        let clock = last.at.get(11..19).unwrap_or(&last.at);
        parts.push(Span::styled(format!("replaced itself {times}, at {clock} out of {}", last.cause), WARN));
        parts.push(Span::raw(last.detail.clone()));
    }
    let mut lines = flow(parts, "  ", width);
    let without: u64 = metrics.reasons.values().sum();
    let parts = [
        format!("bars {}/s", grouped(view.per_s(|m| m.performance.total_bars) as u64)),
        format!("predictions {}/s", grouped(view.per_s(|m| m.performance.total_predictions) as u64)),
        format!("arrived → stored p50 {}", us(view.latency_us(0.5))),
        format!("p99 {}", us(view.latency_us(0.99))),
        format!("late {}", grouped(metrics.performance.late_predictions)),
        format!("without a prediction {}", grouped(without)),
        format!("alerts {}", grouped(metrics.alerts.values().sum())),
    ];
    lines.extend(flow(parts.map(Span::raw), "  ", width));
    lines
}

/// Where it hurts, each on as many lines as it needs.
fn troubles(view: &View, width: u16) -> Vec<Line<'static>> {
    let mut all = Vec::new();
    if let Some(problem) = &view.problem {
        all.push((problem.clone(), BAD));
    }
    let unsaved = view.now.metrics.performance.unsaved;
    if unsaved > 0 {
        all.push((format!("{unsaved} outcomes are not stored"), BAD));
    }
    for reason in &view.now.health.reasons {
        let style = if reason.severity == "error" { BAD } else { WARN };
        all.push((format!("{} {}: {}", reason.code, reason.subject, reason.detail), style));
    }
    if all.len() > TROUBLES_MAX {
        let more = all.split_off(TROUBLES_MAX - 1).len();
        all.push((format!("and {more} more: /api/health has them all"), WARN));
    }
    let lines = all.into_iter().flat_map(|(text, style)| {
        let words: Vec<Span<'static>> =
            text.split_whitespace().map(|word| Span::styled(word.to_owned(), style)).collect();
        flow(words, " ", width)
    });
    lines.collect()
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

/// The keys, as many as there is room for.
fn help(view: &View, width: u16) -> Line<'static> {
    if view.typing {
        return Line::raw(format!("filter: {}▏ (Enter keeps it, Esc clears it)", view.filter));
    }
    let keys = [
        "q quit",
        "/ filter",
        "m models or symbols",
        "order: n name, r rate, e without, l longest",
        "↑↓ PgUp PgDn Home End",
    ];
    flow(keys.map(Span::raw), "  ", width).swap_remove(0).dim()
}

#[cfg(test)]
mod tests {
    use super::super::ask::Look;
    use super::super::view::Sort;
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
        let tally = |n: u64, max: f64| {
            let mut tally = serde_json::json!({"predictions_count": n, "errors_count": 1});
            tally["avg_latency_ms"] = 0.5.into();
            tally["max_latency_ms"] = max.into();
            tally
        };
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
        view.now.metrics.system.generation = 2;
        view.now.metrics.system.last_restart = serde_json::from_value(serde_json::json!(
            {"cause": "memory", "detail": "300 MiB", "at": "2026-01-05T12:13:14.500Z", "pause_ms": 80}
        ))
        .unwrap();
        let screen = drawn(&view, 130, 40);
        assert!(screen.contains("replaced itself 2 times, at 12:13:14 out of memory  300 MiB"), "{screen}");
        view.take(Err("nobody answers".into()));
        let screen = drawn(&view, 130, 40);
        assert!(screen.contains("away") && screen.contains("nobody answers"), "{screen}");
    }

    #[test]
    fn keys_do_what_the_last_line_says() {
        let mut view = View::new("x");
        view.take_after(look(5, "healthy"), 1.0);
        let keys = |view: &mut View, keys: &str| keys.chars().all(|key| view.pressed(KeyCode::Char(key)));
        assert!(keys(&mut view, "l") && view.sort == Sort::Latency);
        assert!(keys(&mut view, "jjjjj") && view.first == 1, "the last row stays in sight");
        assert!(view.pressed(KeyCode::Up) && view.first == 0);
        assert!(
            view.pressed(KeyCode::End) && view.first == 1 && view.pressed(KeyCode::Home) && view.first == 0
        );
        assert!(keys(&mut view, "/q") && view.filter == "q" && view.rows().is_empty());
        assert!(view.pressed(KeyCode::Backspace) && keys(&mut view, "btc") && view.pressed(KeyCode::Enter));
        assert_eq!((view.typing, view.rows().len()), (false, 1));
        assert!(view.pressed(KeyCode::Esc) && view.filter.is_empty(), "the first Esc ends the filter");
        assert!(keys(&mut view, "m") && view.models);
        assert!(!view.pressed(KeyCode::Esc) && !keys(&mut view, "q"));
    }

    #[test]
    fn any_size_of_a_terminal_can_be_drawn_on() {
        let mut view = View::new("x");
        view.take_after(look(5, "critical"), 1.0);
        for (width, height) in [(1, 1), (20, 5), (60, 24), (300, 90)] {
            drawn(&view, width, height);
        }
        // What there is no room for is left out whole: half a number would be another one.
        let narrow = drawn(&view, 40, 24);
        assert!(narrow.contains("3 of 1 000") && narrow.contains("wait p99"), "{narrow}");
        assert!(narrow.contains("BTCUSD") && narrow.contains("42 rows wait"), "{narrow}");
        assert!(!narrow.contains("work") && !narrow.contains("mean"), "{narrow}");
        let screen = drawn(&view, 60, 16);
        assert!(
            screen.contains("store_away") && screen.contains("wait p99"),
            "what matters most stays\n{screen}"
        );
        assert!(!screen.contains("logarithmic"), "{screen}");
        view.now.health.reasons = vec![view.now.health.reasons[0].clone(); 30];
        let screen = drawn(&view, 100, 40);
        assert!(screen.contains("and 23 more") && screen.contains("BTCUSD"), "{screen}");
        assert!(text(&view, 120).lines().count() > 15);
    }
}
