//! SIGINT and SIGTERM: the first asks for a clean stop, the second ends the process at once.

use super::CliError;
use crate::control::reexec;
use crossbeam::channel::{Receiver, bounded};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::pipe;
use std::io::Read as _;
use std::os::unix::net::UnixStream;

/// The exit code of an interrupted process, as shells count it.
const INTERRUPTED: i32 = 130;
/// The name under which requests to stop pass into the next image.
const KEPT: &str = "stop";

/// Requests to stop, also those that came while the process replaced itself.
pub(super) struct StopRequests {
    /// Gets one message when the process is asked to stop.
    pub(super) receiver: Receiver<()>,
    /// Has a byte for every request, from the very moment of its signal.
    asked: UnixStream,
}

impl StopRequests {
    /// Whether a stop was asked for by now: nothing that came before this call is missed.
    pub(super) fn is_asked(&self) -> bool {
        has_byte(&self.asked)
    }
}

/// A channel that gets one message when the process is asked to stop.
pub(super) fn stop_requests() -> Result<StopRequests, CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("signals cannot be handled: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (asked, asks) = UnixStream::pair().map_err(failed)?;
    asked.set_nonblocking(true).map_err(failed)?;
    for signal in [SIGINT, SIGTERM] {
        asks.try_clone().and_then(|asks| pipe::register(signal, asks)).map_err(failed)?;
    }
    // A request that the image before this one got at the very end, and could not act upon.
    let before = reexec::adopt(KEPT).is_some_and(|kept| has_byte(&UnixStream::from(kept)));
    reexec::keep(KEPT, &asked).map_err(failed)?;
    let (sender, receiver) = bounded(1);
    if before {
        // There is room: nobody sent before.
        let _ = sender.send(());
    }
    let wait = move || {
        for (count, _) in signals.forever().enumerate() {
            if count > 0 || before || sender.send(()).is_err() {
                std::process::exit(INTERRUPTED);
            }
        }
    };
    std::thread::Builder::new()
        .name("vela-signal".into())
        .spawn(wait)
        .map_err(|error| CliError::Failed(format!("no thread for signals: {error}")))?;
    Ok(StopRequests { receiver, asked })
}

/// Whether something was written; it is taken out.
fn has_byte(mut stream: &UnixStream) -> bool {
    stream.set_nonblocking(true).is_ok() && stream.read(&mut [0]).is_ok_and(|bytes| bytes > 0)
}
