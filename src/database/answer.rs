//! An answer that one thread gives and another waits for, asleep from the start.
//!
//! A channel's own waiting calls `sched_yield` a few times first. Whoever asks has just woken the connection's thread, which
//! often waits for the very processor that is held so, and the answer takes longer than any yielding.

use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Instant;

/// What is known of it.
enum State<T> {
    Wanted,
    Given(T),
    /// Whoever was to give it is gone, or it was taken.
    Gone,
}

type Shared<T> = Arc<(Mutex<State<T>>, Condvar)>;

/// Gives it; dropped without, there will be none.
pub(super) struct Giver<T>(Shared<T>);

/// Waits for it.
pub(super) struct Answer<T>(Shared<T>);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Not yet.
    Timeout,
    /// There will be none.
    Gone,
}

/// An answer that is wanted.
pub(super) fn answer<T>() -> (Giver<T>, Answer<T>) {
    let shared = Arc::new((Mutex::new(State::Wanted), Condvar::new()));
    (Giver(Arc::clone(&shared)), Answer(shared))
}

impl<T> Giver<T> {
    pub(super) fn give(self, answer: T) {
        *self.0.0.lock() = State::Given(answer);
        // Dropped now, which wakes whoever waits.
    }
}

impl<T> Drop for Giver<T> {
    fn drop(&mut self) {
        {
            let mut state = self.0.0.lock();
            if matches!(*state, State::Wanted) {
                *state = State::Gone;
            }
        }
        self.0.1.notify_one();
    }
}

impl<T> Answer<T> {
    /// The answer, once; waits for it until `deadline`.
    pub(super) fn wait_until(&self, deadline: Instant) -> Result<T, Silence> {
        let (state, given) = &*self.0;
        let mut state = state.lock();
        // Woken for no reason, it goes on waiting.
        while matches!(*state, State::Wanted) && !given.wait_until(&mut state, deadline).timed_out() {}
        state.take()
    }

    /// As [`Answer::wait_until`], without waiting.
    pub(super) fn look(&self) -> Result<T, Silence> {
        self.0.0.lock().take()
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Result<T, Silence> {
        if matches!(self, Self::Wanted) {
            return Err(Silence::Timeout);
        }
        match std::mem::replace(self, Self::Gone) {
            Self::Given(answer) => Ok(answer),
            Self::Wanted | Self::Gone => Err(Silence::Gone),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_answer_comes_once_and_who_goes_without_one_is_known_to_be_gone() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let late = Instant::now() + Duration::from_secs(60);
        let (giver, wanted) = answer();
        assert_eq!(
            (wanted.look(), wanted.wait_until(soon())),
            (Err(Silence::Timeout), Err(Silence::Timeout))
        );
        let giving = std::thread::spawn(move || giver.give(5));
        assert_eq!(wanted.wait_until(late), Ok(5));
        assert_eq!(wanted.look(), Err(Silence::Gone), "it was taken");
        giving.join().unwrap();
        let (giver, wanted) = answer::<u8>();
        let leaving = std::thread::spawn(move || drop(giver));
        assert_eq!(wanted.wait_until(late), Err(Silence::Gone));
        leaving.join().unwrap();
    }
}
