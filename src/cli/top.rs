//! `vela top`: a running vela at a terminal.

mod ask;
mod draw;
mod interval;
mod view;

use super::CliError;
use ask::Server;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use view::{Sort, View};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// How soon a key has an effect at the latest.
const TICK: Duration = Duration::from_millis(100);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The vela to look at
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The file whose first line is its token; the variable VELA_TOKEN goes before it
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// Print what one interval showed, and end: for a pipe, or a terminal without a screen
    #[arg(long)]
    once: bool,
    /// Columns of what --once prints
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u16).range(60..=400), requires = "once")]
    width: u16,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let server = Server::new(&arguments.url, arguments.token_file.as_deref()).map_err(CliError::Failed)?;
    // The first look also tells whether anybody answers, before the screen is taken.
    let first = server.look().map_err(CliError::Failed)?;
    let mut view = View::new(server.name());
    view.take(Ok(first));
    if arguments.once {
        std::thread::sleep(INTERVAL);
        view.take(server.look());
        std::io::stdout().lock().write_all(draw::text(&view, arguments.width).as_bytes())?;
        return Ok(());
    }
    if !std::io::stdout().is_terminal() {
        let detail = "standard output is no terminal: `vela top --once` prints one look";
        return Err(CliError::Failed(detail.into()));
    }
    // Restores the terminal on a panic as well.
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut terminal, &server, &mut view);
    ratatui::restore();
    ended
}

/// Looks and draws until a key ends it. Looking is done here: a server that hangs delays keys by the time-out of a look.
fn watch(terminal: &mut ratatui::DefaultTerminal, server: &Server, view: &mut View) -> Result<(), CliError> {
    let mut next = Instant::now() + INTERVAL;
    loop {
        terminal.draw(|frame| draw::frame(view, frame))?;
        let now = Instant::now();
        if now >= next {
            next = now + INTERVAL;
            view.take(server.look());
            continue;
        }
        if event::poll(TICK.min(next - now))?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            match key.code {
                KeyCode::Char('c') if control => return Ok(()),
                // While a filter is typed, letters belong to it.
                code if view.typing => view.typed(code),
                KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                KeyCode::Char('/') => view.typing = true,
                KeyCode::Char('m') => view.models = !view.models,
                KeyCode::Char('n') => view.sort = Sort::Name,
                KeyCode::Char('r') => view.sort = Sort::Rate,
                KeyCode::Char('l') => view.sort = Sort::Latency,
                KeyCode::Char('e') => view.sort = Sort::Errors,
                KeyCode::Down | KeyCode::Char('j') => view.first = view.first.saturating_add(1),
                KeyCode::Up | KeyCode::Char('k') => view.first = view.first.saturating_sub(1),
                KeyCode::PageDown => view.first = view.first.saturating_add(20),
                KeyCode::PageUp => view.first = view.first.saturating_sub(20),
                _ => {}
            }
        }
    }
}
