//! A thread of an engine that does something at intervals, until it is told to end or its owner goes.

use crossbeam::channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::thread::JoinHandle;
use std::time::Duration;

/// The thread.
pub struct Routine {
    /// Sent to: count the interval anew. Dropped: end.
    running: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

impl Routine {
    /// Starts the thread `name`, which does `work` whenever `interval`, asked anew each time, is over.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        name: &str,
        interval: impl Fn() -> Duration + Send + 'static,
        mut work: impl FnMut() + Send + 'static,
    ) -> std::io::Result<Self> {
        let (wake, woken) = bounded(1);
        let run = move || {
            loop {
                match woken.recv_timeout(interval()) {
                    Err(RecvTimeoutError::Timeout) => work(),
                    // The interval may be another one now.
                    Ok(()) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { running: Mutex::new(Some((wake, thread))) })
    }

    /// Has it count the interval anew, from now on.
    pub fn wake(&self) {
        if let Some((wake, _)) = &*self.running.lock() {
            // Full: it was woken already.
            let _ = wake.try_send(());
        }
    }

    /// Ends it, and waits for what it is doing.
    pub fn stop(&self) {
        let Some((wake, thread)) = self.running.lock().take() else { return };
        drop(wake);
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if thread.join().is_err() {
            // It panics for defects only.
            tracing::error!(thread = name, "it panicked; the log has the message");
        }
    }
}

impl Drop for Routine {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    #[test]
    fn it_takes_another_interval_up_when_woken_and_does_nothing_once_it_ended() {
        let (interval_ms, done) = (Arc::new(AtomicU64::new(3_600_000)), Arc::new(AtomicU64::new(0)));
        let (of, count) = (Arc::clone(&interval_ms), Arc::clone(&done));
        let interval = move || Duration::from_millis(of.load(Ordering::SeqCst));
        let work = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let routine = Routine::start("vela-test", interval, work).unwrap();
        interval_ms.store(1, Ordering::SeqCst);
        routine.wake();
        let deadline = Instant::now() + Duration::from_secs(60);
        while done.load(Ordering::SeqCst) < 3 {
            assert!(Instant::now() < deadline, "it did not take the interval up");
            std::thread::yield_now();
        }
        routine.stop();
        let at_the_end = done.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(done.load(Ordering::SeqCst), at_the_end);
        routine.stop();
        routine.wake();
    }
}
