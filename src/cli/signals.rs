//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the process at once.

use super::CliError;
use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The exit code of an interrupted process, as shells count it.
const INTERRUPTED: i32 = 130;

/// A channel that gets one message when the process is asked to stop.
pub(super) fn stop_requests() -> Result<Receiver<()>, CliError> {
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| CliError::Failed(format!("signals cannot be handled: {error}")))?;
    let (sender, receiver) = bounded(1);
    let wait = move || {
        for (count, _) in signals.forever().enumerate() {
            if count > 0 || sender.send(()).is_err() {
                std::process::exit(INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new()
        .name("vela-signal".into())
        .spawn(wait)
        .map_err(|error| CliError::Failed(format!("no thread for signals: {error}")))?;
    Ok(receiver)
}
