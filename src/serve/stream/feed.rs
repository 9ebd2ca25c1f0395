//! From the engine's outlet into the newest outcomes: a thread of its own, so that the persist worker only hands over.

use super::super::recent::Recent;
use crate::domain::Outcome;
use crate::engine::Engine;
use crate::link::clock;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Outcomes that may wait for the thread; further ones are not shown, and slow nobody.
const WAITING_MAX: usize = 65_536;
/// How often the thread looks whether it is to end.
const TICK: Duration = Duration::from_millis(200);

/// The thread.
pub struct Feed {
    thread: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Feed {
    /// Takes every outcome of `engine` from now on into `recent`.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn start(engine: &Engine, recent: Arc<Recent>) -> std::io::Result<Self> {
        let (sender, outcomes) = bounded::<(Outcome, u64)>(WAITING_MAX);
        engine.subscribe_with(move |outcome| {
            // Full, or nobody listens any more: the store has it.
            let _ = sender.try_send((Outcome { reply: None, ..outcome.clone() }, clock::now_ns()));
        });
        let (stop, stopped) = bounded::<()>(0);
        let run = move || run(&outcomes, &stopped, &recent);
        let thread = std::thread::Builder::new().name("vela-stream".into()).spawn(run)?;
        Ok(Self { thread: Mutex::new(Some((stop, thread))) })
    }

    /// Ends the thread.
    pub fn stop(&self) {
        let Some((stop, thread)) = self.thread.lock().take() else { return };
        drop(stop);
        if thread.join().is_err() {
            tracing::error!("the stream of predictions panicked; the log has the message");
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(outcomes: &Receiver<(Outcome, u64)>, stopped: &Receiver<()>, recent: &Recent) {
    loop {
        match outcomes.recv_timeout(TICK) {
            Ok((outcome, stored_ns)) => {
                recent.push(outcome, stored_ns);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if stopped.try_recv() == Err(crossbeam::channel::TryRecvError::Disconnected) {
            return;
        }
    }
}
