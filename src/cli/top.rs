//! `vela top`: a running vela at a terminal.

mod ask;
mod draw;
mod interval;
mod style;
mod tables;
mod view;

use super::CliError;
use ask::{Look, Server};
use crossbeam::channel::{Receiver, bounded};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use view::View;

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
    let looks = looks(server)?;
    // Restores the terminal on a panic as well.
    let mut terminal = ratatui::try_init()?;
    let ended = watch(&mut terminal, &looks, &mut view);
    ratatui::restore();
    ended
}

/// Looks at an interval, on a thread of its own: a server that hangs delays no key. It ends with the receiver, or the process.
fn looks(server: Server) -> std::io::Result<Receiver<Result<Look, String>>> {
    let (sender, receiver) = bounded(1);
    let work = move || {
        loop {
            std::thread::sleep(INTERVAL);
            if sender.send(server.look()).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("vela-look".into()).spawn(work)?;
    Ok(receiver)
}

/// Draws what was seen last until a key ends it.
fn watch(
    terminal: &mut ratatui::DefaultTerminal,
    looks: &Receiver<Result<Look, String>>,
    view: &mut View,
) -> Result<(), CliError> {
    loop {
        terminal.draw(|frame| draw::frame(view, frame))?;
        if event::poll(TICK)?
            && let Event::Key(key) = event::read()?
            && key.kind == KeyEventKind::Press
        {
            let control = key.modifiers.contains(KeyModifiers::CONTROL);
            if (control && key.code == KeyCode::Char('c')) || !view.pressed(key.code) {
                return Ok(());
            }
        }
        looks.try_iter().for_each(|look| view.take(look));
    }
}
