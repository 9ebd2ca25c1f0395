//! The log: to a file that is rotated by size and day, and what is grave to the terminal as well.

mod rotation;

use crate::domain::Timestamp;
use rotation::Rotating;
use std::path::Path;
use std::sync::OnceLock;
use tracing::Level;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines that may wait for the file; what comes beyond is dropped rather than waited for, and counted.
const LINES_MAX: usize = 16_384;

/// Where the log goes.
#[derive(Clone, Debug)]
pub struct LogOptions<'a> {
    /// The file; `None`: only the terminal.
    pub file: Option<&'a Path>,
    /// What the file gets: this and all that is graver.
    pub level: Level,
    /// Whether each line of the file is a JSON object.
    pub json: bool,
    /// What the terminal gets.
    pub terminal_level: Level,
    /// The file is rotated when it has grown to this many bytes, and at midnight (UTC).
    pub file_bytes_max: u64,
    /// How many rotated files are kept beside it.
    pub files_max: usize,
}

/// Keeps the log's thread; what is buffered is written when this is dropped.
#[must_use]
pub struct LogGuard {
    _writer: Option<WorkerGuard>,
}

type SetLevel = Box<dyn Fn(Level) + Send + Sync>;

/// Changes what the log's file gets, where there is one: a process has one log.
static SET_LEVEL: OnceLock<Option<SetLevel>> = OnceLock::new();

/// Changes what the file gets, from now on; nothing where [`level_is_fixed`].
pub fn set_level(level: Level) {
    if let Some(Some(set_level)) = SET_LEVEL.get() {
        set_level(level);
    }
}

/// Why the level of this process's log is not what [`set_level`] says; `None` where it is, and in a program that embeds vela
/// and has a log of its own.
pub fn level_is_fixed() -> Option<String> {
    match (SET_LEVEL.get()?, chosen_filter()) {
        (None, _) => Some("nothing is logged to a file, since log.path is \"\"".to_owned()),
        (Some(_), None) => None,
        (Some(_), Some(filter)) => {
            let filter = filter.display();
            Some(format!("{FILTER_VARIABLE} = `{filter}` says what is logged as long as this process runs"))
        }
    }
}

/// The environment variable that says module by module what passes (`warn,vela::predict=debug`).
const FILTER_VARIABLE: &str = "VELA_LOG";

/// What `VELA_LOG` says, where it says something.
fn chosen_filter() -> Option<std::ffi::OsString> {
    std::env::var_os(FILTER_VARIABLE).filter(|text| !text.is_empty())
}

/// What passes: `VELA_LOG` says it, else `level` does.
fn filter(level: Level) -> EnvFilter {
    let chosen = chosen_filter().and_then(|text| EnvFilter::try_new(text.to_str()?).ok());
    chosen.unwrap_or_else(|| EnvFilter::new(level.as_str()))
}

/// A filter that cannot be read would be taken for none.
fn check_filter() -> std::io::Result<()> {
    let Some(text) = chosen_filter() else { return Ok(()) };
    let read =
        text.to_str().map(|text| EnvFilter::try_new(text).map(drop).map_err(|error| error.to_string()));
    read.unwrap_or_else(|| Err("it is no UTF-8".to_owned())).map_err(|error| {
        let text = text.display();
        let detail = format!(
            "{FILTER_VARIABLE} = `{text}`: {error}; levels by module are possible, such as `info,vela::predict=debug`"
        );
        std::io::Error::new(std::io::ErrorKind::InvalidInput, detail)
    })
}

/// Starts the process's log. Workers never write to the file themselves: a thread of the log's does.
///
/// # Errors
/// When the file or its folder cannot be made, or `VELA_LOG` cannot be read.
pub fn start(options: &LogOptions<'_>) -> std::io::Result<LogGuard> {
    check_filter()?;
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_filter(filter(options.terminal_level));
    let Some(path) = options.file else {
        // A second start (tests, an embedding program) leaves the first one's log in place.
        if tracing_subscriber::registry().with(terminal).try_init().is_ok() {
            let _ = SET_LEVEL.set(None);
        }
        return Ok(LogGuard { _writer: None });
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let rotating = Rotating::open(path, (options.file_bytes_max, options.files_max), Timestamp::now)?;
    let (writer, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .lossy(true)
        .thread_name("vela-log")
        .finish(rotating);
    let (level, handle) = reload::Layer::new(filter(options.level));
    let file = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let file = if options.json {
        // One object a line; what is said beside the message are members of their own.
        file.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    } else {
        file.boxed()
    };
    let file = file.with_filter(level);
    if tracing_subscriber::registry().with(terminal).with(file).try_init().is_ok() {
        // It fails only where the log is gone.
        let _ = SET_LEVEL.set(Some(Box::new(move |level| drop(handle.reload(filter(level))))));
    }
    Ok(LogGuard { _writer: Some(guard) })
}
