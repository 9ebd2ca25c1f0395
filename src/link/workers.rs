//! A stage's workers: one rayon pool, built at its maximum, whose width changes while it runs.
//!
//! Each worker is one endless loop on one of the pool's threads. Growing starts loops; shrinking lets
//! loops return after their turn. Nothing is rebuilt, so a change costs a few hundred nanoseconds.

use super::crew::Crew;
use super::stage::{Link, Stage};
use crossbeam::sync::WaitGroup;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The workers of one stage.
pub struct Workers<S: Stage> {
    crew: Arc<Crew<S>>,
    pool: rayon::ThreadPool,
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
        let crew = Arc::new(Crew::new(link, pool.current_num_threads()));
        let workers = Self { crew, pool, running: Mutex::new(Some(WaitGroup::new())) };
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
        let before = self.crew.link().width.swap(width, Ordering::Relaxed);
        for _ in 0..self.crew.want(width) {
            let (crew, group) = (Arc::clone(&self.crew), group.clone());
            self.pool.spawn(move || crew.work(group));
        }
        self.crew.link().lanes().nudge(before.saturating_sub(width));
        width
    }

    /// Ends all workers after what was announced before, and waits for them.
    pub fn stop(&self) {
        let group = self.running.lock().take();
        if let Some(group) = group {
            self.crew.link().lanes().stop(self.width_max());
            self.crew.link().width.store(0, Ordering::Relaxed);
            group.wait();
        }
    }
}
