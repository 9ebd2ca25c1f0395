//! The tables of `vela top`. Where the terminal is narrow, the columns that matter least are left out: one that is cut would
//! show another number.

use super::super::report::{grouped, short_us};
use super::style::{BAD, us};
use super::view::{Row, Sort, StageRow, View};
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Block, Cell, Row as TableRow, Table, Widget as _};

/// Columns that a name has at least.
const NAME_COLUMNS: u16 = 12;

/// A column of a table.
struct Column {
    name: String,
    /// The columns of the terminal that it takes.
    columns: u16,
    /// What matters most is 0.
    rank: u8,
}

/// A table in a frame of so many columns, which the first column fills.
fn table<const N: usize>(
    columns: [Column; N],
    rows: impl Iterator<Item = [Cell<'static>; N]>,
    width: u16,
) -> Table<'static> {
    let room = width.saturating_sub(2);
    let shown: [bool; N] = std::array::from_fn(|at| {
        // Together with all that matter more, each but one with a space behind it.
        let before = columns.iter().filter(|other| other.rank <= columns[at].rank);
        columns[at].rank == 0 || before.map(|column| column.columns + 1).sum::<u16>() <= room + 1
    });
    let row = |cells: [Cell<'static>; N]| {
        TableRow::new(cells.into_iter().zip(shown).filter(|(_, shown)| *shown).map(|(cell, _)| cell))
    };
    let widths = columns.iter().zip(shown).filter(|(_, shown)| *shown).map(|(column, _)| match column.rank {
        0 => Constraint::Min(column.columns.min(room)),
        _ => Constraint::Length(column.columns),
    });
    let widths: Vec<Constraint> = widths.collect();
    let names = columns.map(|column| Cell::from(column.name));
    Table::new(rows.map(row), widths).header(row(names).style(Style::new().dim()))
}

/// The stages, one a line.
pub(super) fn stage_table(view: &View, width: u16) -> Table<'static> {
    let budget_us = view.now.metrics.performance.budget_ms as f64 * 1e3;
    let columns = [
        Column { name: "stage".into(), columns: 10, rank: 0 },
        Column { name: "handled".into(), columns: 11, rank: 3 },
        Column { name: "waiting".into(), columns: 16, rank: 1 },
        Column { name: "workers".into(), columns: 9, rank: 5 },
        Column { name: "wait p50".into(), columns: 9, rank: 7 },
        Column { name: "wait p99".into(), columns: 9, rank: 2 },
        Column { name: "work p50".into(), columns: 9, rank: 8 },
        Column { name: "work p99".into(), columns: 9, rank: 4 },
        Column { name: "panics".into(), columns: 7, rank: 6 },
    ];
    let row = |stage: StageRow| {
        let [wait50, wait99, work50, work99] = stage.quantiles_us;
        let full = stage.items_max > 0 && stage.depth * 10 >= stage.items_max * 9;
        let slow = wait99.is_some_and(|wait| wait > budget_us);
        let style = |bad: bool| if bad { BAD } else { Style::new() };
        let waiting = format!("{} of {}", grouped(stage.depth as u64), grouped(stage.items_max as u64));
        [
            Cell::from(stage.name),
            Cell::from(format!("{}/s", grouped(stage.per_s as u64))),
            Cell::from(waiting).style(style(full)),
            Cell::from(format!("{} of {}", stage.workers, stage.workers_max)),
            Cell::from(us(wait50)),
            Cell::from(us(wait99)).style(style(slow)),
            Cell::from(us(work50)),
            Cell::from(us(work99)),
            Cell::from(stage.panics.to_string()).style(style(stage.panics > 0)),
        ]
    };
    table(columns, view.stages().into_iter().map(row), width)
        .block(Block::bordered().title("pipeline, last interval"))
}

/// The symbols or the models, from the first that is in sight.
pub(super) fn rows_of(view: &View, area: Rect, buffer: &mut Buffer) {
    let rows = view.rows();
    let count = rows.len();
    let first = view.first.min(count.saturating_sub(1));
    let row = |row: Row| {
        [
            Cell::from(row.name),
            Cell::from(grouped(row.predictions)),
            Cell::from(format!("{:.1}", row.per_s)),
            Cell::from(grouped(row.errors)),
            Cell::from(short_us(row.latency_avg_ms * 1e3)),
            Cell::from(short_us(row.latency_max_ms * 1e3)),
        ]
    };
    let what = if view.models { "model" } else { "symbol" };
    let mark = |name: &str, sort: Sort| format!("{name}{}", if view.sort == sort { " ▾" } else { "" });
    let columns = [
        Column { name: mark(what, Sort::Name), columns: NAME_COLUMNS, rank: 0 },
        Column { name: "predictions".into(), columns: 13, rank: 4 },
        Column { name: mark("per s", Sort::Rate), columns: 9, rank: 1 },
        Column { name: mark("without", Sort::Errors), columns: 11, rank: 2 },
        Column { name: "mean latency".into(), columns: 13, rank: 5 },
        Column { name: mark("longest", Sort::Latency), columns: 11, rank: 3 },
    ];
    let plural = if count == 1 { "" } else { "s" };
    let filter = if view.filter.is_empty() { String::new() } else { format!(" with `{}`", view.filter) };
    table(columns, rows.into_iter().skip(first).map(row), area.width)
        .block(Block::bordered().title(format!("{count} {what}{plural}{filter}")))
        .render(area, buffer);
}
