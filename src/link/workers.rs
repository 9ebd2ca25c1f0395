//! A stage's workers: one rayon pool, built at its maximum, whose width changes while it runs.
//!
//! Each worker is one endless loop on one of the pool's threads. Growing starts loops; shrinking lets
//! loops return after their turn. Nothing is rebuilt, so a change costs a few hundred nanoseconds.

use super::carry;
use super::lanes::Wake;
use super::slice;
use super::stage::{Link, Stage};
use crossbeam::sync::WaitGroup;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The workers of one stage.
pub struct Workers<S: Stage> {
    link: Arc<Link<S>>,
    pool: rayon::ThreadPool,
    /// How many loops have to end before the width is what was asked for.
    excess: Arc<AtomicUsize>,
    /// Held by every running loop; taken when the workers stop.
    running: Mutex<Option<WaitGroup>>,
}

impl<S: Stage> Workers<S> {
    /// Builds the pool, its threads named `vela-NAME-N`, and starts `width` workers.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn start(
        name: &'static str,
        link: Arc<Link<S>>,
        workers_max: usize,
        width: usize,
    ) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(workers_max)
            .thread_name(move |n| format!("vela-{name}-{n}"))
            .build()?;
        let workers =
            Self { link, pool, excess: Arc::default(), running: Mutex::new(Some(WaitGroup::new())) };
        workers.set_width(width);
        Ok(workers)
    }

    /// The most workers there can be.
    pub fn width_max(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Changes how many workers run, to between 1 and the maximum; returns the width that it set.
    /// May be called at any moment; items in work are finished by whoever has them.
    pub fn set_width(&self, width: usize) -> usize {
        let running = self.running.lock();
        let Some(group) = running.as_ref() else { return 0 };
        let width = width.clamp(1, self.width_max());
        let before = self.link.width.swap(width, Ordering::Relaxed);
        for _ in before..width {
            // Keep a loop that was told to end and has not yet, before starting another.
            if !take_one(&self.excess) {
                let (link, excess, group) = (Arc::clone(&self.link), Arc::clone(&self.excess), group.clone());
                self.pool.spawn(move || {
                    work(&link, &excess);
                    drop(group);
                });
            }
        }
        if width < before {
            self.excess.fetch_add(before - width, Ordering::Relaxed);
            self.link.lanes().nudge(before - width);
        }
        width
    }

    /// Ends all workers after what was announced before, and waits for them.
    pub fn stop(&self) {
        let group = self.running.lock().take();
        if let Some(group) = group {
            self.link.lanes().stop(self.width_max());
            self.link.width.store(0, Ordering::Relaxed);
            group.wait();
        }
    }
}

/// Takes one from a counter, if there is one.
fn take_one(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

/// One worker.
fn work<S: Stage>(link: &Arc<Link<S>>, excess: &AtomicUsize) {
    // What may take long is not carried on, and need not be prompt.
    if link.stage().may_be_carried() {
        slice::shorten();
    }
    while !take_one(excess) {
        match link.lanes().wait() {
            Wake::Ready => carry::run(link.lanes().take(), || link.lanes().is_empty()),
            Wake::Nudge => {}
            Wake::Stop => return,
        }
    }
}
