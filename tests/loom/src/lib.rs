//! Every interleaving of producers and workers around one mailbox, and of those who sleep and who call them, explored by
//! loom.
//!
//! `cargo test --manifest-path tests/loom/Cargo.toml`
#![cfg(test)]

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    /// Looking again before sleeping adds states and no behaviour.
    pub(super) const LOOKS: u32 = 0;

    /// As the system has it: who finds another word does not sleep, and a call wakes one who does.
    pub(super) struct Futex {
        word: AtomicU32,
        queue: (loom::sync::Mutex<()>, loom::sync::Condvar),
    }

    impl Futex {
        pub(super) fn new(word: u32) -> Self {
            Self {
                word: AtomicU32::new(word),
                queue: (loom::sync::Mutex::new(()), loom::sync::Condvar::new()),
            }
        }
        pub(super) fn load(&self) -> u32 {
            self.word.load(Ordering::SeqCst)
        }
        pub(super) fn wait(&self, seen: u32) {
            let queue = self.queue.0.lock().unwrap();
            if self.load() == seen {
                drop(self.queue.1.wait(queue).unwrap());
            }
        }
        pub(super) fn call_one(&self) {
            self.word.fetch_add(1, Ordering::SeqCst);
            let _queue = self.queue.0.lock().unwrap();
            self.queue.1.notify_one();
        }
    }

    pub(super) fn spin_loop() {
        loom::thread::yield_now();
    }

    /// A lock that no panic poisons.
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }
        pub(super) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    /// A queue whose operations are atomic, as those of the real one are.
    pub(super) struct Queue<T>(loom::sync::Mutex<std::collections::VecDeque<T>>);

    impl<T> Queue<T> {
        pub(super) fn new() -> Self {
            Self(loom::sync::Mutex::new(std::collections::VecDeque::new()))
        }
        pub(super) fn push(&self, item: T) {
            self.0.lock().unwrap().push_back(item);
        }
        pub(super) fn pop(&self) -> Option<T> {
            self.0.lock().unwrap().pop_front()
        }
    }
}

#[path = "../../../src/link/fair.rs"]
#[allow(dead_code)]
mod fair;

#[path = "../../../src/link/mailbox.rs"]
#[allow(dead_code)]
mod mailbox;

#[path = "../../../src/link/parking.rs"]
mod parking;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::mpsc::{Receiver, Sender, channel};
use loom::thread;
use mailbox::Mailbox;
use parking::Parking;

/// The ready channel of one key: a message for every call.
struct Desk {
    mailbox: Mailbox<usize>,
    inside: AtomicUsize,
}

/// One turn, as a worker of the product runs it; calls again through `ready` where it must.
fn turn(desk: &Desk, batch: usize, slots: usize, ready: &Sender<()>, seen: &mut Vec<usize>) {
    let inside = desk.inside.fetch_add(1, Ordering::Relaxed);
    assert!(inside < slots, "more workers in one key than it has slots");
    desk.mailbox.claim(batch, |item| seen.push(item));
    desk.inside.fetch_sub(1, Ordering::Relaxed);
    if desk.mailbox.release(batch) {
        ready.send(()).unwrap();
    }
}

fn serve(desk: &Desk, batch: usize, slots: usize, ready: &(Sender<()>, Receiver<()>)) -> Vec<usize> {
    let mut seen = Vec::new();
    while ready.1.try_recv().is_ok() {
        turn(desk, batch, slots, &ready.0, &mut seen);
    }
    seen
}

/// Two producers and a worker that is started by the first call. Nothing may be left behind when all have
/// ended: whatever was put is handled, or a call for it is waiting in the ready channel.
#[test]
fn no_item_is_left_without_a_call() {
    loom::model(|| {
        let desk = Arc::new(Desk { mailbox: Mailbox::new(1), inside: AtomicUsize::new(0) });
        let ready = Arc::new(loom::sync::Mutex::new(0_usize));
        let producers: Vec<_> = (0..2)
            .map(|n| {
                let (desk, ready) = (Arc::clone(&desk), Arc::clone(&ready));
                thread::spawn(move || {
                    if desk.mailbox.put(n, 1) {
                        *ready.lock().unwrap() += 1;
                    }
                })
            })
            .collect();
        let mut seen = Vec::new();
        let serve_once = |seen: &mut Vec<usize>| {
            let called = {
                let mut calls = ready.lock().unwrap();
                let called = *calls > 0;
                *calls -= usize::from(called);
                called
            };
            if called {
                desk.mailbox.claim(1, |item| seen.push(item));
                if desk.mailbox.release(1) {
                    *ready.lock().unwrap() += 1;
                }
            }
            called
        };
        // Meets the producers in every possible way …
        serve_once(&mut seen);
        serve_once(&mut seen);
        for producer in producers {
            producer.join().unwrap();
        }
        // … and after them finds a call for whatever is left.
        while serve_once(&mut seen) {}
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
        assert_eq!(desk.mailbox.waiting(), 0);
    });
}

/// One producer, two workers: order within the key, one worker at a time, nothing lost, nothing twice.
#[test]
fn with_one_slot_items_are_handled_in_order_by_one_worker_at_a_time() {
    loom::model(|| {
        let desk = Arc::new(Desk { mailbox: Mailbox::new(1), inside: AtomicUsize::new(0) });
        let calls = Arc::new(AtomicUsize::new(0));
        let order = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let worker = |desk: Arc<Desk>, calls: Arc<AtomicUsize>, order: Arc<loom::sync::Mutex<Vec<usize>>>| {
            move || {
                // A call is taken by exactly one worker.
                let take = |n: usize| n.checked_sub(1);
                for _ in 0..2 {
                    if calls.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok() {
                        let inside = desk.inside.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(inside, 0, "two workers in one key");
                        desk.mailbox.claim(1, |item| order.lock().unwrap().push(item));
                        desk.inside.fetch_sub(1, Ordering::Relaxed);
                        if desk.mailbox.release(1) {
                            calls.fetch_add(1, Ordering::AcqRel);
                        }
                    }
                }
            }
        };
        let other = thread::spawn(worker(Arc::clone(&desk), Arc::clone(&calls), Arc::clone(&order)));
        for n in 0..2 {
            if desk.mailbox.put(n, 1) {
                calls.fetch_add(1, Ordering::AcqRel);
            }
        }
        worker(Arc::clone(&desk), Arc::clone(&calls), Arc::clone(&order))();
        other.join().unwrap();
        while calls.load(Ordering::Acquire) > 0 {
            worker(Arc::clone(&desk), Arc::clone(&calls), Arc::clone(&order))();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1]);
        assert_eq!(desk.mailbox.waiting(), 0);
    });
}

/// Two slots: a second worker is called when more waits than the first takes, never a third, nothing lost.
#[test]
fn with_two_slots_two_workers_share_what_waits() {
    loom::model(|| {
        let desk = Arc::new(Desk { mailbox: Mailbox::new(2), inside: AtomicUsize::new(0) });
        let ready = channel();
        for n in 0..3 {
            if desk.mailbox.put(n, 1) {
                ready.0.send(()).unwrap();
            }
        }
        let (first, second) = (ready.1.try_recv().is_ok(), ready.1.try_recv().is_ok());
        assert!(first && second, "three items, one a turn: both slots are called");
        assert!(ready.1.try_recv().is_err(), "and no third");
        let (sender, other_desk) = (ready.0.clone(), Arc::clone(&desk));
        let other = thread::spawn(move || {
            let mut seen = Vec::new();
            turn(&other_desk, 1, 2, &sender, &mut seen);
            seen
        });
        let mut seen = Vec::new();
        turn(&desk, 1, 2, &ready.0, &mut seen);
        seen.extend(other.join().unwrap());
        seen.extend(serve(&desk, 1, 2, &ready));
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
    });
}

/// Lanes and series, two slots, items that come while both take, one of them past its time: each takes as many as it
/// claimed and one for what was spent, nothing is lost, nothing twice, and no series' items change their order.
#[test]
fn of_a_shared_mailbox_two_workers_find_all_they_claimed() {
    loom::model(|| {
        let desk = Arc::new(Desk { mailbox: Mailbox::shared(2), inside: AtomicUsize::new(0) });
        let ready = channel();
        for (lane, series, item) in [(2, 7, 20), (2, 8, 30)] {
            if desk.mailbox.put_in((lane, series), item, 1) {
                ready.0.send(()).unwrap();
            }
        }
        assert!(ready.1.try_recv().is_ok() && ready.1.try_recv().is_ok(), "two items: both slots are called");
        let take = |desk: &Desk, first: usize, seen: &mut Vec<usize>| {
            let before = seen.len();
            let spent = desk.mailbox.claim_from(first, 1, |item| *item == 20, |item| seen.push(item));
            assert!(seen.len() - before <= 1 + spent, "a place for one item in time");
            desk.mailbox.release(1)
        };
        let (other_desk, sender) = (Arc::clone(&desk), ready.0.clone());
        let other = thread::spawn(move || {
            let mut seen = Vec::new();
            if take(&other_desk, 2, &mut seen) {
                sender.send(()).unwrap();
            }
            seen
        });
        if desk.mailbox.put_in((2, 7), 21, 1) {
            ready.0.send(()).unwrap();
        }
        let mut mine = Vec::new();
        if take(&desk, 0, &mut mine) {
            ready.0.send(()).unwrap();
        }
        let others = other.join().unwrap();
        while ready.1.try_recv().is_ok() {
            if take(&desk, 0, &mut mine) {
                ready.0.send(()).unwrap();
            }
        }
        for seen in [&mine, &others] {
            let of_7: Vec<_> = seen.iter().filter(|item| **item < 30).collect();
            assert!(of_7.is_sorted(), "{seen:?}");
        }
        let mut seen = [mine, others].concat();
        seen.sort_unstable();
        assert_eq!(seen, [20, 21, 30]);
        assert_eq!(desk.mailbox.waiting(), 0);
    });
}

/// The bound, in whatever order a producer and two workers come: two of one series wait before the first of another, which
/// is served before the second of the first once both are there.
#[test]
fn of_a_shared_mailbox_who_put_in_more_is_served_no_sooner() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::shared(2));
        for item in [10, 11, 20] {
            let _ = mailbox.put_in((2, item / 10), item as usize, 1);
        }
        let order = Arc::new(loom::sync::Mutex::new(Vec::new()));
        let turn = |mailbox: Arc<Mailbox<usize>>, order: Arc<loom::sync::Mutex<Vec<usize>>>| {
            move || {
                // Claimed and noted as one step, so that what is noted is the order in which they were taken.
                let mut order = order.lock().unwrap();
                mailbox.claim_from(0, 1, |_| false, |item| order.push(item));
            }
        };
        let other = thread::spawn(turn(Arc::clone(&mailbox), Arc::clone(&order)));
        let _ = mailbox.put_in((2, 1), 12, 1);
        turn(Arc::clone(&mailbox), Arc::clone(&order))();
        other.join().unwrap();
        let mut order = order.lock().unwrap();
        mailbox.claim_from(0, 9, |_| false, |item| order.push(item));
        assert_eq!(*order, [10, 20, 11, 12]);
    });
}

/// Explores the runs in which threads are interrupted at most three times: with all of them it takes hours.
fn few_preemptions(run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = model.preemption_bound.or(Some(3));
    model.check(run);
}

/// One announces, others sleep: each announcement is found, and nobody sleeps beside one. loom ends a run in which
/// all sleep.
fn announced_and_found(sleepers: usize, announcements: usize) {
    few_preemptions(move || {
        let desk = Arc::new((Parking::default(), AtomicUsize::new(0)));
        let sleeping: Vec<_> = (0..sleepers)
            .map(|_| {
                let desk = Arc::clone(&desk);
                thread::spawn(move || {
                    let (parking, waiting) = &*desk;
                    let take = || {
                        let one = |n: usize| n.checked_sub(1);
                        waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).ok()
                    };
                    let more = || waiting.load(Ordering::SeqCst) > 0;
                    (0..announcements / sleepers).for_each(|_| drop(parking.wait(take, more)));
                })
            })
            .collect();
        for _ in 0..announcements {
            desk.1.fetch_add(1, Ordering::SeqCst);
            desk.0.call();
        }
        sleeping.into_iter().for_each(|one| one.join().unwrap());
        assert_eq!(desk.1.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn who_sleeps_is_called_for_every_announcement() {
    announced_and_found(1, 2);
}

/// Another who is awake may be faster than the one that is called: the next announcement wakes it all the same.
#[test]
fn a_call_that_comes_to_nothing_keeps_back_no_other() {
    few_preemptions(|| {
        let desk = Arc::new((Parking::default(), AtomicUsize::new(0)));
        let take = |waiting: &AtomicUsize| {
            let one = |n: usize| n.checked_sub(1);
            waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one).ok()
        };
        let sleeping = {
            let desk = Arc::clone(&desk);
            thread::spawn(move || {
                let (parking, waiting) = &*desk;
                parking.wait(|| take(waiting), || waiting.load(Ordering::SeqCst) > 0)
            })
        };
        let announce = || {
            desk.1.fetch_add(1, Ordering::SeqCst);
            desk.0.call();
        };
        announce();
        if take(&desk.1).is_some() {
            announce();
        }
        sleeping.join().unwrap();
    });
}

/// `LOOM_MAX_PREEMPTIONS=5` takes three quarters of a minute.
#[test]
fn two_who_sleep_are_called_for_two_announcements() {
    announced_and_found(2, 2);
}
