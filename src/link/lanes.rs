//! Ready keys, in one bounded channel a lane, taken by priority and never starving.
//!
//! A token channel beside the lanes counts what is in them, so that a worker waits for one channel (one
//! wake-up) and chooses the lane when it wakes.

use super::parking::Parking;
use crate::domain::Lane;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One round of takings: which lane is asked first. High comes first in 12 of 16, normal in 3, low in 1;
/// a lane that is empty passes its turn on, so these shares are the least that a busy lane gets.
const ROUND: [Lane; 16] = {
    use Lane::{High, Low, Normal};
    [High, High, High, Normal, High, High, High, Normal, High, High, High, Normal, High, High, High, Low]
};

/// The lane that is asked first in the n-th taking.
pub fn credit(taking: usize) -> Lane {
    ROUND[taking % ROUND.len()]
}

/// What a worker can be woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// There is one more ready key.
    Ready,
    /// Look around: the width changed.
    Nudge,
    /// End the loop.
    Stop,
}

/// The ready keys of one stage.
pub(super) struct Lanes<K> {
    lanes: [(Sender<K>, Receiver<K>); 3],
    wakes: (Sender<Wake>, Receiver<Wake>),
    /// Where workers sleep while there is no token.
    parking: Parking,
    workers_max: usize,
    takings: AtomicUsize,
}

impl<K> Lanes<K> {
    /// Lanes for at most `keys_max` announcements at a time and `workers_max` workers.
    pub(super) fn new(keys_max: usize, workers_max: usize) -> Self {
        Self {
            lanes: Lane::ALL.map(|_| bounded(keys_max)),
            // Room for a token for every announcement, and a nudge or a stop for every worker.
            wakes: bounded(keys_max + 2 * workers_max),
            parking: Parking::default(),
            workers_max,
            takings: AtomicUsize::new(0),
        }
    }

    /// Announces a ready key. Never blocks: there is room for every key there can be.
    pub(super) fn announce(&self, key: K, lane: Lane) {
        // Neither end is ever dropped before the other: they live in the same struct.
        let sent = self.lanes[lane as usize].0.send(key);
        debug_assert!(sent.is_ok());
        let woken = self.wakes.0.send(Wake::Ready);
        debug_assert!(woken.is_ok());
        self.parking.call();
    }

    /// Wakes `count` parked workers to look around; one caller at a time. Where as much waits as there can be
    /// workers none of them is parked, and further nudges would take the room of announcements: a worker that
    /// announces its own key would wait for a worker to come, which may be nobody but itself.
    pub(super) fn nudge(&self, count: usize) {
        for _ in 0..count {
            if self.wakes.0.len() < self.workers_max {
                let _ = self.wakes.0.try_send(Wake::Nudge);
                self.parking.call();
            }
        }
    }

    /// Tells `count` workers to end, after what was announced before.
    pub(super) fn stop(&self, count: usize) {
        for _ in 0..count {
            let _ = self.wakes.0.send(Wake::Stop);
            self.parking.call();
        }
    }

    /// Parks until there is something to do.
    pub(super) fn wait(&self) -> Wake {
        let look = || match self.wakes.1.try_recv() {
            Ok(wake) => Some(wake),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Wake::Stop),
        };
        self.parking.wait(look, || !self.is_empty())
    }

    /// Whether nothing is announced.
    pub(super) fn is_empty(&self) -> bool {
        self.wakes.1.is_empty()
    }

    /// Takes a ready key by priority. Call only after `wait` returned `Ready`: that promises one.
    pub(super) fn take(&self) -> K {
        let first = credit(self.takings.fetch_add(1, Ordering::Relaxed));
        loop {
            for lane in std::iter::once(first).chain(Lane::ALL) {
                match self.lanes[lane as usize].1.try_recv() {
                    Ok(key) => return key,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
                }
            }
            // Keys are sent before their tokens, so one is there: another worker, whose own key is
            // being sent right now, was faster with ours. Its key is ours then.
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_high_lane_leaves_the_others_their_share() {
        let lanes = Lanes::new(1000, 1);
        for lane in Lane::ALL {
            for _ in 0..200 {
                lanes.announce(lane, lane);
            }
        }
        let mut taken = [0; 3];
        for _ in 0..160 {
            assert_eq!(lanes.wait(), Wake::Ready);
            taken[lanes.take() as usize] += 1;
        }
        assert_eq!(taken, [120, 30, 10]);
    }

    #[test]
    fn every_announcement_finds_a_worker_awake_or_asleep() {
        let (workers, announcements) = (4, 20_000);
        let lanes = Lanes::new(announcements, workers);
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    while lanes.wait() == Wake::Ready {
                        lanes.take();
                        taken.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            for n in 1..=announcements {
                lanes.announce(n, Lane::ALL[n % 3]);
                // Sometimes all are done and go to sleep, sometimes it is one of many.
                while n % 7 == 0 && taken.load(Ordering::SeqCst) < n {
                    std::thread::yield_now();
                }
            }
            lanes.stop(workers);
        });
        assert_eq!(taken.into_inner(), announcements);
        assert!(lanes.is_empty());
    }

    #[test]
    fn nudges_that_nobody_takes_leave_room_for_every_announcement_and_stop() {
        let (keys_max, workers_max) = (3, 4);
        let lanes = Lanes::new(keys_max, workers_max);
        for _ in 0..100 {
            lanes.nudge(workers_max - 1);
        }
        let room = lanes.wakes.0.capacity().unwrap() - lanes.wakes.0.len();
        assert!(room >= keys_max + workers_max, "{room}");
        for key in 0..keys_max {
            lanes.announce(key, Lane::Normal);
        }
        lanes.stop(workers_max);
    }

    #[test]
    fn an_empty_lane_passes_its_turn_on() {
        let lanes = Lanes::new(64, 1);
        for n in 0..50 {
            lanes.announce(n, Lane::Low);
        }
        let order: Vec<i32> = (0..50).map(|_| lanes.take()).collect();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
