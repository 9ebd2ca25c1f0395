//! How a state and a time look on the screen of `vela top`.

use super::super::report::short_us;
use ratatui::style::{Color, Modifier, Style};

pub(super) const BAD: Style = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
pub(super) const WARN: Style = Style::new().fg(Color::Yellow);
pub(super) const GOOD: Style = Style::new().fg(Color::Green).add_modifier(Modifier::BOLD);

/// A time in µs, where there is one.
pub(super) fn us(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), short_us)
}
