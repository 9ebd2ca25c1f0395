//! Creating sessions on threads that can be given up.
//!
//! ONNX Runtime cannot be told to stop creating a session, and some files keep it busy for ever. So nobody does
//! it on a thread of his own: it is done on one of these, and waited for until a deadline. One that hangs is
//! given up: it keeps its thread, whoever asked goes on, and others are created on others. Its content is not
//! tried again while it hangs, so that no content costs more than one thread.

use crate::link::compute_aside;
use crossbeam::channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// So many creations may hang; where they do, only what was loaded before is loaded.
const GIVEN_UP_MAX: usize = 16;
/// How long a thread waits for the next creation before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The threads that create sessions: as many as are asked at once, and those that were given up.
pub(super) struct Creators {
    /// Holds nothing: whoever is idle takes a job from the one who has it.
    jobs: (Sender<Job>, Receiver<Job>),
    /// The contents whose creation was given up, each until it ends after all.
    given_up: Mutex<Vec<(u64, Weak<()>)>>,
    /// Dropped when nothing is to be waited for any longer.
    patience: Mutex<Option<Sender<()>>>,
    impatient: Receiver<()>,
}

impl Default for Creators {
    fn default() -> Self {
        let (patience, impatient) = bounded(0);
        let (given_up, patience) = (Mutex::default(), Mutex::new(Some(patience)));
        Self { jobs: bounded(0), given_up, patience, impatient }
    }
}

impl Creators {
    /// What `create` gives, within `deadline`. `content` is the number of what it is created from, and
    /// `proven` says that this was done before.
    ///
    /// # Errors
    /// Why it was not tried, or not waited for.
    pub(super) fn run<T: Send + 'static>(
        &self,
        (content, proven): (u64, bool),
        deadline: Duration,
        create: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        self.may_try(content, proven)?;
        let alive = Arc::new(());
        let (done, created) = bounded(1);
        let job = {
            let alive = Arc::clone(&alive);
            move || {
                let created = create();
                drop(alive);
                // Given up meanwhile: it goes again, here.
                let _ = done.send(created);
            }
        };
        self.start(Box::new(job))?;
        let why = select! {
            recv(created) -> created => {
                return created.map_err(|_| "loading it panicked: the log has the message".to_owned());
            }
            recv(self.impatient) -> _ => "loading it is not waited for: the engine stops".to_owned(),
            default(deadline) => format!(
                "loading it takes longer than {} ms and was given up (predict.load_deadline_ms)",
                deadline.as_millis()
            ),
        };
        self.given_up.lock().push((content, Arc::downgrade(&alive)));
        Err(why)
    }

    fn may_try(&self, content: u64, proven: bool) -> Result<(), String> {
        let mut given_up = self.given_up.lock();
        given_up.retain(|(_, alive)| alive.strong_count() > 0);
        if given_up.iter().any(|(hangs, _)| *hangs == content) {
            return Err("loading it was given up, and has not ended since".to_owned());
        }
        if given_up.len() >= GIVEN_UP_MAX && !proven {
            return Err(format!(
                "{GIVEN_UP_MAX} other files hang while they are loaded, no further new one is tried: \
                 withdraw them and restart"
            ));
        }
        Ok(())
    }

    fn start(&self, job: Job) -> Result<(), String> {
        let Err(job) = self.jobs.0.try_send(job) else { return Ok(()) };
        let (mut job, jobs) = (job.into_inner(), self.jobs.1.clone());
        let work = move || {
            compute_aside();
            loop {
                job();
                match jobs.recv_timeout(IDLE) {
                    Ok(next) => job = next,
                    Err(_) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("vela-session".into()).spawn(work);
        thread.map(drop).map_err(|error| format!("the system gives no thread to load it ({error})"))
    }

    /// Ends the waiting for whatever is being created, now and from now on.
    pub(super) fn give_up(&self) {
        drop(self.patience.lock().take());
    }

    /// How many creations were given up and have not ended.
    pub(super) fn hanging(&self) -> usize {
        self.given_up.lock().iter().filter(|(_, alive)| alive.strong_count() > 0).count()
    }
}

/// What `create` gives, within `deadline`, for whoever has no pool: one that hangs keeps its thread.
///
/// # Errors
/// Why it was not waited for.
pub(in crate::predict) fn in_time<T: Send + 'static>(
    deadline: Duration,
    create: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    Creators::default().run((0, false), deadline, create)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(60);

    /// A creation that hangs until the other side is dropped.
    fn hang(until: &Receiver<()>) -> impl FnOnce() + Send + use<> {
        let until = until.clone();
        move || {
            // It ends with an error, and that is the sign.
            let _ = until.recv();
        }
    }

    #[test]
    fn what_hangs_costs_one_thread_and_others_go_on() {
        let creators = Creators::default();
        let (end, hangs) = bounded(0);
        let error = creators.run((1, false), SOON, hang(&hangs)).unwrap_err();
        assert!(error.contains("longer than 20 ms") && error.contains("load_deadline_ms"), "{error}");
        assert_eq!(creators.hanging(), 1);
        // It is not tried again, and at once says so.
        let begin = Instant::now();
        let error = creators.run((1, true), LATE, || ()).unwrap_err();
        assert!(error.contains("has not ended") && begin.elapsed() < LATE / 2, "{error}");
        assert_eq!(creators.run((2, false), LATE, || 7), Ok(7));
        // It ends after all: what it is of can be tried again.
        drop(end);
        while creators.hanging() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(creators.run((1, false), LATE, || 8), Ok(8));
    }

    #[test]
    fn so_many_hang_and_no_more_and_what_was_loaded_before_is_loaded_still() {
        let creators = Creators::default();
        let (end, hangs) = bounded(0);
        for content in 0..GIVEN_UP_MAX as u64 {
            creators.run((content, false), Duration::ZERO, hang(&hangs)).unwrap_err();
        }
        let error = creators.run((99, false), LATE, || ()).unwrap_err();
        assert!(error.contains("16 other files hang"), "{error}");
        assert_eq!(creators.run((100, true), LATE, || 1), Ok(1));
        drop(end);
        while creators.hanging() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(creators.run((99, false), LATE, || 2), Ok(2));
    }

    #[test]
    fn a_stop_does_not_wait_and_a_panic_is_told() {
        let creators = Creators::default();
        let error = creators.run((1, false), LATE, || panic!("as the test wants it")).unwrap_err();
        assert!(error.contains("panicked"), "{error}");
        let (end, hangs) = bounded::<()>(0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| creators.run((2, false), LATE, hang(&hangs)));
            creators.give_up();
            assert!(waiting.join().unwrap().unwrap_err().contains("the engine stops"));
        });
        drop(end);
    }
}
