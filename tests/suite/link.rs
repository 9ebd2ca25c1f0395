//! The mechanism between stages, on its own: random schedules against a plain model, and real threads.

use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use vela::domain::Lane;
use vela::link::{KeyOptions, Link, LinkOptions, Mailbox, Stage, Workers, credit, long_work};

#[derive(Clone, Copy, Debug)]
enum Step {
    Put,
    /// The n-th of the workers that are called or inside goes on.
    Worker(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![Just(Step::Put), (0..8_usize).prop_map(Step::Worker)];
    proptest::collection::vec(step, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    /// Goal: order, exclusion and no lost wake-up under any schedule. Method: workers are little machines
    /// (called, inside with what they claimed); proptest chooses who moves next.
    #[test]
    fn random_schedules_keep_order_exclusion_and_lose_nothing(
        steps in steps(), slots in 1..4_u32, batch in 1..5_usize,
    ) {
        let mailbox = Mailbox::new(slots);
        let (mut put, mut claimed) = (0, Vec::new());
        // false: called; true: has claimed and is inside.
        let mut workers: VecDeque<bool> = VecDeque::new();
        let mut go = |workers: &mut VecDeque<bool>, n: usize| {
            if workers.is_empty() { return }
            let n = n % workers.len();
            if !workers[n] {
                mailbox.claim(batch, |item: i32| claimed.push(item));
                workers[n] = true;
            } else if mailbox.release(batch) {
                workers[n] = false;
            } else {
                workers.remove(n);
            }
        };
        for step in steps {
            match step {
                Step::Put => {
                    if mailbox.put(put, batch) { workers.push_back(false) }
                    put += 1;
                }
                Step::Worker(n) => go(&mut workers, n),
            }
            prop_assert!(workers.len() <= slots as usize);
            prop_assert!(mailbox.waiting() == 0 || !workers.is_empty(), "items wait and nobody comes");
        }
        while !workers.is_empty() { go(&mut workers, 0) }
        prop_assert_eq!(claimed, (0..put).collect::<Vec<_>>());
    }
}

/// Records what it is given, key by key; panics over what it is told to.
#[derive(Default)]
struct Recorder {
    batch_max: usize,
    chunk_max: usize,
    panics_over: Option<u64>,
    /// Items below it are past their time.
    spent_below: u64,
    /// How many items each turn had, spent ones aside.
    turns: Mutex<Vec<usize>>,
    panicked: Mutex<Vec<(u64, String)>>,
    next: Option<Arc<dyn Fn(u64) + Send + Sync>>,
}

#[derive(Default)]
struct Seen {
    inside: AtomicBool,
    items: Mutex<Vec<u64>>,
}

impl Stage for Recorder {
    type Key = Seen;
    type Item = u64;

    fn batch_max(&self, _: &Seen) -> usize {
        self.batch_max
    }

    fn chunk_max(&self) -> usize {
        self.chunk_max
    }

    fn step(&self, key: &Seen, items: &[u64]) {
        assert!(items.len() <= self.chunk_max);
        if items.iter().any(|item| Some(*item) == self.panics_over) {
            panic!("over {items:?}");
        }
        assert!(!key.inside.swap(true, Ordering::Acquire), "two workers in one key");
        key.items.lock().extend(items);
        key.inside.store(false, Ordering::Release);
        if let Some(next) = &self.next {
            items.iter().for_each(|item| next(*item));
        }
    }

    fn is_spent(&self, item: &u64, _: u64) -> bool {
        *item < self.spent_below
    }

    fn turned(&self, _: &Seen, items: usize, _: u64) {
        self.turns.lock().push(items);
    }

    fn panicked(&self, _: &Seen, item: &u64, message: &str) {
        self.panicked.lock().push((*item, message.to_owned()));
    }
}

fn options(items_max: usize) -> LinkOptions {
    LinkOptions { items_max, keys_max: 1000, workers_max: 8 }
}

fn drained<S: Stage>(link: &Link<S>) {
    while link.depth() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn order_within_every_key_holds_while_the_width_changes_under_load() {
    let link = Link::new(Recorder { batch_max: 7, chunk_max: 3, ..Recorder::default() }, options(64));
    let workers = Workers::start("test", Arc::clone(&link), 8, 2).unwrap();
    let keys: Vec<_> = (0..50).map(|_| link.key(Seen::default(), KeyOptions::default()).unwrap()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut width = 1;
            while !done.load(Ordering::Relaxed) {
                width = width * 5 % 9;
                assert_eq!(workers.set_width(width), width.clamp(1, 8));
                assert_eq!(link.width(), width.clamp(1, 8));
            }
        });
        let producers: Vec<_> = (0..4_usize)
            .map(|producer| {
                let keys = &keys;
                scope.spawn(move || {
                    for n in 0..20_000_u64 {
                        // Each key has one producer, so that its order is known.
                        let mine = (n as usize * 7 + n as usize / 13) % (keys.len() / 4);
                        keys[mine * 4 + producer].put(n, Lane::ALL[n as usize % 3]);
                    }
                })
            })
            .collect();
        for producer in producers {
            producer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    drained(&link);
    let mut total = 0;
    for key in &keys {
        let items = key.data.items.lock();
        assert!(items.windows(2).all(|pair| pair[0] < pair[1]), "out of order");
        total += items.len();
    }
    assert_eq!(total, 80_000);
    assert_eq!(link.meter().read().items, 80_000);
    workers.stop();
}

#[test]
fn what_is_past_its_time_takes_no_place_in_a_turn_and_is_handled_in_order() {
    let stage = Recorder { batch_max: 2, chunk_max: 1000, spent_below: 600, ..Recorder::default() };
    let link = Link::new(stage, options(2000));
    let shared = KeyOptions { shared: true, ..KeyOptions::default() };
    let [plain, lanes] = [KeyOptions::default(), shared].map(|o| link.key(Seen::default(), o).unwrap());
    // All wait before the first worker comes.
    (0..603).for_each(|n| plain.put(n, Lane::Normal));
    (0..200).for_each(|n| lanes.put(n, Lane::Low));
    (600..700).for_each(|n| lanes.put(n, Lane::High));
    (700..702).for_each(|n| lanes.put(n, Lane::Low));
    let workers = Workers::start("test", Arc::clone(&link), 1, 1).unwrap();
    drained(&link);
    workers.stop();
    assert_eq!(*plain.data.items.lock(), (0..603).collect::<Vec<_>>());
    // 600 were passed over in turns that are bounded themselves; then a turn of two, and the last.
    assert_eq!(link.stage().turns.lock().iter().filter(|items| **items == 1).count(), 1);
    assert_eq!(link.stage().turns.lock().len(), 2 + 100 / 2 + 1);
    // The one turn in sixteen that the low lane has first clears it, down to what is still in time.
    let items = lanes.data.items.lock();
    let first_low = items.iter().position(|item| *item == 700).unwrap();
    assert_eq!(items[first_low - 200..first_low], (0..200).collect::<Vec<_>>()[..]);
    assert_eq!(first_low, 200 + 15 * 2);
}

#[test]
fn a_panic_costs_its_item_and_nothing_else() {
    let stage = Recorder { batch_max: 100, chunk_max: 100, panics_over: Some(13), ..Recorder::default() };
    let link = Link::new(stage, options(1000));
    let key = link.key(Seen::default(), KeyOptions::default()).unwrap();
    // All wait before the first worker comes: they are one batch, and the bad one sits in the middle.
    (0..30).for_each(|n| key.put(n, Lane::Normal));
    let workers = Workers::start("test", Arc::clone(&link), 1, 1).unwrap();
    drained(&link);
    key.put(99, Lane::Normal);
    drained(&link);
    let expected: Vec<u64> = (0..30).filter(|n| *n != 13).chain([99]).collect();
    assert_eq!(*key.data.items.lock(), expected);
    assert_eq!(*link.stage().panicked.lock(), [(13, "over [13]".to_owned())]);
    assert_eq!(link.meter().read().panics, 1);
    workers.stop();
}

#[test]
fn a_full_stage_pushes_back_and_goes_on_when_there_is_room() {
    let link = Link::new(Recorder { batch_max: 1, chunk_max: 1, ..Recorder::default() }, options(4));
    let key = link.key(Seen::default(), KeyOptions::default()).unwrap();
    for n in 0..4 {
        assert_eq!(key.try_put(n, Lane::Normal), Ok(()));
    }
    assert_eq!(key.try_put(4, Lane::Normal), Err(4));
    assert_eq!(link.depth(), 4);
    let workers = Workers::start("test", Arc::clone(&link), 1, 1).unwrap();
    (4..100).for_each(|n| key.put(n, Lane::Normal));
    drained(&link);
    assert_eq!(*key.data.items.lock(), (0..100).collect::<Vec<_>>());
    workers.stop();
}

/// Items are done at once, or take until the test says; counts who is at work.
struct Waits {
    until: Receiver<()>,
    inside: AtomicUsize,
    inside_most: AtomicUsize,
    done: AtomicUsize,
}

impl Stage for Waits {
    type Key = ();
    /// Whether it takes long.
    type Item = bool;

    fn batch_max(&self, (): &()) -> usize {
        1
    }

    fn chunk_max(&self) -> usize {
        1
    }

    fn step(&self, (): &(), items: &[bool]) {
        let long = items.contains(&true).then(|| long_work(1_000_000_000));
        if long.is_some() {
            // Its sender is never dropped before.
            self.until.recv().unwrap();
        } else {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.inside_most.fetch_max(inside, Ordering::SeqCst);
            std::thread::yield_now();
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    fn panicked(&self, (): &(), _: &bool, message: &str) {
        panic!("{message}");
    }
}

/// Goal: work that takes long never has the last worker. Method: as many keys as there are threads but one are in it,
/// and others are handled all the same, by no more workers at a time than are wanted; widths change meanwhile.
#[test]
fn whoever_is_in_long_work_has_a_stand_in_and_nobody_is_left_over() {
    let (threads, width, begin) = (4, 2, Instant::now());
    let (release, until) = bounded(0);
    let (inside, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stage = Waits { until, inside, inside_most: AtomicUsize::new(0), done };
    let link = Link::new(stage, LinkOptions { items_max: 1000, keys_max: 100, workers_max: threads });
    let workers = Workers::start("test", Arc::clone(&link), threads, width).unwrap();
    let key = || link.key((), KeyOptions::default()).unwrap();
    let done = |count: usize| {
        while link.stage().done.load(Ordering::SeqCst) < count {
            std::thread::yield_now();
        }
    };
    let quick: Vec<_> = (0..20).map(|_| key()).collect();
    let all_quick = || quick.iter().for_each(|key| key.put(false, Lane::Normal));
    let mut expected = 0;
    for round in 0..50 {
        let long: Vec<_> = (0..threads - 1).map(|_| key()).collect();
        for (n, key) in long.iter().enumerate() {
            key.put(true, Lane::High);
            all_quick();
            expected += quick.len();
            done(expected);
            // The last that is free is told to end, or another is wanted.
            workers.set_width(1 + (round + n) % width);
            all_quick();
            expected += quick.len();
            done(expected);
        }
        for _ in &long {
            release.send(()).unwrap();
        }
        expected += long.len();
        done(expected);
    }
    // They are back: soon no more are left than are wanted.
    workers.set_width(1);
    loop {
        link.stage().inside_most.store(0, Ordering::SeqCst);
        for _ in 0..200 {
            all_quick();
            expected += quick.len();
            done(expected);
        }
        if link.stage().inside_most.load(Ordering::SeqCst) == 1 {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "more are at work than are wanted");
    }
    drop(quick);
    workers.stop();
}

#[test]
fn keys_beyond_the_bound_are_refused() {
    let link = Link::new(Recorder::default(), LinkOptions { items_max: 1, keys_max: 3, workers_max: 1 });
    let two = KeyOptions { slots: 2, shared: false };
    let first = link.key(Seen::default(), two).unwrap();
    assert!(link.key(Seen::default(), two).is_err());
    let second = link.key(Seen::default(), KeyOptions::default()).unwrap();
    assert!(link.key(Seen::default(), KeyOptions::default()).is_err());
    // A key that is gone leaves its room to others.
    drop((first, second));
    let all: Vec<_> = (0..3).map(|_| link.key(Seen::default(), KeyOptions::default()).unwrap()).collect();
    assert!(link.key(Seen::default(), KeyOptions::default()).is_err());
    drop(all);
}

/// Two stages in a row, the second with room for very little and only one key: its producers carry that
/// key themselves and may fill it up while they hold it. That must never stand still.
#[test]
fn carrying_on_never_deadlocks_against_a_full_next_stage() {
    for round in 0..20 {
        let second = Link::new(Recorder { batch_max: 2, chunk_max: 2, ..Recorder::default() }, options(2));
        let second_workers = Workers::start("second", Arc::clone(&second), 8, 1 + round % 3).unwrap();
        let target = second.key(Seen::default(), KeyOptions::default()).unwrap();
        let next: Arc<dyn Fn(u64) + Send + Sync> = {
            let target = Arc::clone(&target);
            // Each item becomes five.
            Arc::new(move |item| (0..5).for_each(|n| target.put(item * 5 + n, Lane::Normal)))
        };
        let stage = Recorder { batch_max: 10, chunk_max: 10, next: Some(next), ..Recorder::default() };
        let first = Link::new(stage, options(16));
        let first_workers = Workers::start("first", Arc::clone(&first), 8, 2).unwrap();
        let keys: Vec<_> =
            (0..10).map(|_| first.key(Seen::default(), KeyOptions::default()).unwrap()).collect();
        for n in 0..500 {
            keys[n as usize % 10].put(n, Lane::Normal);
        }
        drained(&first);
        drained(&second);
        let mut items = target.data.items.lock().clone();
        items.sort_unstable();
        assert_eq!(items, (0..2500).collect::<Vec<_>>());
        first_workers.stop();
        second_workers.stop();
    }
}

/// High keys are always ready; the low one still gets its turns.
#[test]
fn a_flood_of_high_priority_does_not_starve_the_low_lane() {
    struct Flood {
        turns: AtomicUsize,
        again: Mutex<HashMap<u8, Box<dyn Fn() + Send + Sync>>>,
        low_at: Mutex<Vec<usize>>,
    }
    impl Stage for Flood {
        type Key = u8;
        type Item = ();
        fn batch_max(&self, _: &u8) -> usize {
            1
        }
        fn chunk_max(&self) -> usize {
            1
        }
        fn step(&self, key: &u8, _: &[()]) {
            let turn = self.turns.fetch_add(1, Ordering::Relaxed);
            if *key == 0 {
                self.low_at.lock().push(turn);
            }
            if turn < 3000 {
                self.again.lock()[key]();
            }
        }
        fn panicked(&self, _: &u8, (): &(), message: &str) {
            unreachable!("{message}");
        }
    }
    let stage = Flood { turns: AtomicUsize::new(0), again: Mutex::default(), low_at: Mutex::default() };
    let link = Link::new(stage, options(1000));
    for n in 0..20_u8 {
        let lane = if n == 0 { Lane::Low } else { Lane::High };
        let key = link.key(n, KeyOptions::default()).unwrap();
        // Fewer in flight than there is room for: these puts never wait.
        link.stage().again.lock().insert(n, Box::new(move || key.put((), lane)));
    }
    link.stage().again.lock().values().for_each(|put| put());
    let workers = Workers::start("test", Arc::clone(&link), 1, 1).unwrap();
    drained(&link);
    workers.stop();
    let low_at = link.stage().low_at.lock();
    let longest = low_at.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(longest.is_some_and(|gap| gap <= 32), "the low lane waited {longest:?} turns");
    link.stage().again.lock().clear();
}

/// Of each series under three times the load: how often it was served, and the longest that it was not, in rows' time.
struct Served {
    lane: Lane,
    times: u64,
    last: u64,
    longest: u64,
}

/// A mailbox of 200 series in simulated time, a row a tick, bars of all series `together` or spread over the period in
/// which a bar of each comes; rows are past their time after `overdue` ticks.
fn overloaded(together: bool, overdue: u64) -> Vec<Served> {
    const SERIES: u64 = 200;
    const BATCH: u64 = 10;
    const TICKS: u64 = 200_000;
    let mailbox = Mailbox::shared(1);
    // A fifth goes first, half goes last: as ranked by default, whatever the volumes.
    let lane =
        |n| if n < SERIES / 5 { Lane::High } else { [Lane::Normal, Lane::Low][usize::from(n >= SERIES / 2)] };
    let mut all: Vec<Served> =
        (0..SERIES).map(|n| Served { lane: lane(n), times: 0, last: 0, longest: 0 }).collect();
    let (mut put, mut turns) = (0, 0);
    for now in (0..TICKS).step_by(BATCH as usize) {
        // Three bars a tick.
        let due = if together { 3 * now / SERIES * SERIES } else { 3 * now };
        for n in put..due {
            let series = n % SERIES;
            let _ = mailbox.put_in((lane(series) as usize, series as u32), (series, now), BATCH as usize);
        }
        put = due;
        let is_spent = |(_, came): &(u64, u64)| now - came > overdue;
        mailbox.claim_from(credit(turns) as usize, BATCH as usize, is_spent, |(series, came)| {
            if now - came <= overdue {
                let served = &mut all[series as usize];
                served.longest = served.longest.max(now - served.last);
                (served.last, served.times) = (now, served.times + 1);
            }
        });
        turns += 1;
    }
    all.iter_mut().for_each(|served| served.longest = served.longest.max(TICKS - served.last));
    all
}

/// Goal: nobody waits for ever. Under three times the load, which series of a lane is served says nothing about it but
/// how long ago that was: the longest gap is that of as many places as the lane has series, at its share of the turns.
#[test]
fn under_three_times_the_load_no_series_of_a_lane_is_served_less_often_than_another() {
    for (together, overdue) in [(false, 3000), (true, 3000), (true, 20), (false, 20)] {
        let all = overloaded(together, overdue);
        for (lane, share) in [(Lane::High, 12.0), (Lane::Normal, 3.0), (Lane::Low, 1.0)] {
            let of_lane: Vec<&Served> = all.iter().filter(|served| served.lane == lane).collect();
            let longest = of_lane.iter().map(|served| served.longest).max().unwrap();
            let [least, most] =
                [u64::min, u64::max].map(|of| of_lane.iter().map(|served| served.times).reduce(of).unwrap());
            println!(
                "together {together}, overdue {overdue}, {lane:?}: served {least} to {most} times, longest gap {longest}"
            );
            assert!(least > 0);
            // Where always one of each waits in time; but for the round of turns at the beginning and at the end.
            if overdue == 3000 {
                let bound = of_lane.len() as f64 * 16.0 / share + 2.0 * 160.0;
                assert!((longest as f64) <= bound, "{lane:?}: {longest} of {bound}");
            }
            // All come at the same times: in turn, each as often.
            if together {
                assert!(most - least <= 1, "{lane:?}: {least} to {most}");
            }
        }
    }
}
