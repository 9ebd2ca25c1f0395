//! A seeded discrete-event simulation of the four stages: mailboxes, ready lanes with their credits, bounded stages
//! that push back, workers that share cores. Time is virtual: an hour takes as long as its events.
//!
//! Cores are shared evenly among the workers that compute; each one beyond the cores costs all of them a little, as
//! switching does. What waits for the store takes no core.

use super::scenario::{Load, Scenario};
use crate::support::Random;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use vela::config::Settings;
use vela::control::{BatchRules, BatchState, Rules, Sample, State, decide, run_max_ns};
use vela::domain::Lane;
use vela::link::{BatchLimit, BatchReading, credit};

/// What one worker more than there are cores costs everybody.
const SWITCHING: f64 = 0.03;
const ROOM: usize = 20_000;
const BATCH_MAX: usize = 256;
const PERSIST_BATCH_MAX: usize = 1024;
const STAGES: usize = 4;
const PERSIST: usize = 3;

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    /// The policy, from the defaults on.
    Controller,
    /// Nobody: workers of each stage, and rows a batch.
    Fixed([usize; STAGES], usize),
}

/// What came of a run.
pub struct Run {
    /// From when a bar was due until it was stored, in ns.
    pub latencies: Vec<u64>,
    /// Workers at the end of every interval.
    pub widths: Vec<(f64, [usize; STAGES])>,
    /// (second, stage, from, to) of every change.
    pub changes: Vec<(f64, usize, usize, usize)>,
    pub batch: Vec<usize>,
    pub core_budget: usize,
}

impl Run {
    pub fn p99_ms(&self) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 99 / 100).map_or(0.0, |ns| *ns as f64 / 1e6)
    }
}

#[derive(Clone, Copy)]
struct Item {
    due_ns: u64,
    put_ns: u64,
    series: usize,
}

struct Mailbox {
    waiting: VecDeque<Item>,
    called: bool,
    lane: Lane,
}

struct Turn {
    stage: usize,
    key: usize,
    items: Vec<Item>,
    begin_ns: u64,
    /// Items that are put into the next stage already.
    put: usize,
    blocked_since_ns: u64,
}

#[derive(Default)]
struct Counts {
    items: u64,
    busy_ns: u64,
    blocked_ns: u64,
    waits: Vec<u64>,
    depth_before: usize,
}

struct Stage {
    keys: Vec<Mailbox>,
    lanes: [VecDeque<usize>; 3],
    takings: usize,
    depth: usize,
    width: usize,
    busy: usize,
    /// Turns of the stage before that wait for room here.
    blocked: VecDeque<Turn>,
    counts: Counts,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Bar { series: usize },
    Stored { turn: usize },
    Tick,
}

pub struct Sim<'a> {
    scenario: &'a Scenario,
    who: Who,
    random: Random,
    now_ns: u64,
    /// Work done by each busy core since the beginning, in ns.
    work_ns: f64,
    computing: BinaryHeap<Reverse<(u64, usize)>>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    numbers: usize,
    turns: Vec<Option<Turn>>,
    stages: Vec<Stage>,
    source: VecDeque<Item>,
    limits: Vec<Arc<BatchLimit>>,
    run: Run,
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl<'a> Sim<'a> {
    pub fn run(scenario: &'a Scenario, who: Who) -> Run {
        let (max_latency_ms, workers_max) = (scenario.max_latency_ms, scenario.workers_max);
        let settings = Settings { max_latency_ms, workers_max, ..Settings::default() };
        settings.check().unwrap();
        let rules = Rules::of(&settings, scenario.cores);
        let (widths, rows) = match who {
            Who::Controller => ([settings.workers_initial; STAGES], settings.batch_size_initial),
            Who::Fixed(widths, rows) => (widths, rows),
        };
        let limit = || Arc::new(BatchLimit::new(rows, run_max_ns(&settings)));
        let keys = [scenario.series, scenario.series, scenario.models, 1];
        let stage = |n: usize| Stage {
            keys: (0..keys[n])
                .map(|_| Mailbox { waiting: VecDeque::new(), called: false, lane: Lane::Normal })
                .collect(),
            lanes: Default::default(),
            takings: 0,
            depth: 0,
            width: widths[n],
            busy: 0,
            blocked: VecDeque::new(),
            counts: Counts::default(),
        };
        let mut sim = Sim {
            scenario,
            who,
            random: Random(scenario.seed),
            now_ns: 0,
            work_ns: 0.0,
            computing: BinaryHeap::new(),
            events: BinaryHeap::new(),
            numbers: 0,
            turns: Vec::new(),
            stages: (0..STAGES).map(stage).collect(),
            source: VecDeque::new(),
            limits: (0..scenario.models).map(|_| limit()).collect(),
            run: Run {
                latencies: Vec::new(),
                widths: Vec::new(),
                changes: Vec::new(),
                batch: Vec::new(),
                core_budget: rules.core_budget,
            },
        };
        sim.offer();
        let batch = BatchRules {
            rows_initial: settings.batch_size_initial,
            rows_max: settings.batch_size_max,
            run_max_ns: run_max_ns(&settings),
        };
        sim.go(&rules, batch);
        sim.run.batch = sim.limits.iter().map(|limit| limit.get()).collect();
        sim.run
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((at_ns, self.numbers, event)));
    }

    fn unit(&mut self) -> f64 {
        (self.random.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Enters every bar of the scenario.
    fn offer(&mut self) {
        for load in self.scenario.load.clone() {
            let Load { from, to, per_s, per_s_end, burst, burst_every, .. } = load;
            let end = per_s_end.unwrap_or(per_s);
            let mut at = from;
            while per_s.max(end) > 0.0 {
                let rate = per_s + (end - per_s) * (at - from) / (to - from);
                at -= (1.0 - self.unit()).ln() / rate.max(1e-3);
                if at >= to {
                    break;
                }
                let series = self.random.between(0, self.scenario.series - 1);
                self.at(ns(at), Event::Bar { series });
            }
            let mut at = from;
            while burst > 0 && at < to {
                for series in 0..burst {
                    self.at(ns(at), Event::Bar { series: series % self.scenario.series });
                }
                at += burst_every;
            }
        }
    }

    /// How fast each computing worker goes: 1 where it has a core of its own.
    fn speed(&self) -> f64 {
        let (busy, cores) = (self.computing.len() as f64, self.scenario.cores as f64);
        (cores / busy.max(1.0)).min(1.0) / (1.0 + SWITCHING * (busy - cores).max(0.0))
    }

    fn pass(&mut self, to_ns: u64) {
        self.work_ns += (to_ns - self.now_ns) as f64 * self.speed();
        self.now_ns = to_ns;
    }

    fn go(&mut self, rules: &Rules, batch: BatchRules) {
        let interval_ns = rules.interval_ms * 1_000_000;
        let mut state = State::default();
        let mut models: Vec<(BatchState, BatchReading)> = vec![Default::default(); self.limits.len()];
        self.at(interval_ns, Event::Tick);
        let end_ns = ns(self.scenario.seconds);
        loop {
            let computed_ns = self.computing.peek().map(|Reverse((work, _))| {
                self.now_ns + ((*work as f64 - self.work_ns).max(0.0) / self.speed()).ceil() as u64
            });
            let event_ns = self.events.peek().map(|Reverse((at, ..))| *at);
            match (computed_ns, event_ns) {
                (Some(computed), event) if event.is_none_or(|event| computed <= event) => {
                    self.pass(computed);
                    let Some(Reverse((_, turn))) = self.computing.pop() else { return };
                    self.finish(turn);
                }
                (_, Some(at)) => {
                    self.pass(at);
                    let Some(Reverse((_, _, event))) = self.events.pop() else { return };
                    match event {
                        Event::Bar { series } => {
                            self.source.push_back(Item { due_ns: at, put_ns: 0, series });
                            self.pour();
                        }
                        Event::Stored { turn } => self.finish(turn),
                        Event::Tick => {
                            if self.who == Who::Controller {
                                state = self.tick(rules, state, interval_ns);
                                self.tick_models(batch, &mut models);
                            }
                            let widths = std::array::from_fn(|n| self.stages[n].width);
                            self.run.widths.push((self.now_ns as f64 / 1e9, widths));
                            if self.now_ns < end_ns {
                                self.at(at + interval_ns, Event::Tick);
                            }
                        }
                    }
                }
                _ => return,
            }
        }
    }

    /// Moves bars from the source into ingest, while there is room.
    fn pour(&mut self) {
        while self.stages[0].depth < ROOM {
            let Some(item) = self.source.pop_front() else { return };
            self.put(0, item);
        }
    }

    fn key_of(&self, stage: usize, item: &Item) -> usize {
        [item.series, item.series, item.series % self.scenario.models, 0][stage]
    }

    /// Series by rank: the first fifth goes first, the second half last.
    fn lane_of(&self, stage: usize, item: &Item) -> Lane {
        match item.series as f64 / self.scenario.series as f64 {
            _ if stage == PERSIST => Lane::Normal,
            rank if rank < 0.2 => Lane::High,
            rank if rank >= 0.5 => Lane::Low,
            _ => Lane::Normal,
        }
    }

    fn put(&mut self, stage: usize, item: Item) {
        let (key, lane) = (self.key_of(stage, &item), self.lane_of(stage, &item));
        let target = &mut self.stages[stage];
        target.depth += 1;
        let mailbox = &mut target.keys[key];
        mailbox.waiting.push_back(Item { put_ns: self.now_ns, ..item });
        if !mailbox.called {
            (mailbox.called, mailbox.lane) = (true, lane);
            target.lanes[lane as usize].push_back(key);
            self.dispatch(stage);
        }
    }

    fn take(&mut self, stage: usize) -> Option<usize> {
        let target = &mut self.stages[stage];
        let first = credit(target.takings);
        let order = std::iter::once(first).chain(Lane::ALL);
        let key = order.into_iter().find_map(|lane| target.lanes[lane as usize].pop_front())?;
        target.takings += 1;
        Some(key)
    }

    fn dispatch(&mut self, stage: usize) {
        while self.stages[stage].busy < self.stages[stage].width {
            let Some(key) = self.take(stage) else { return };
            let max =
                [BATCH_MAX, BATCH_MAX, self.limits.get(key).map_or(1, |l| l.get()), PERSIST_BATCH_MAX][stage];
            let target = &mut self.stages[stage];
            target.busy += 1;
            let mailbox = &mut target.keys[key];
            let count = mailbox.waiting.len().min(max);
            let items: Vec<Item> = mailbox.waiting.drain(..count).collect();
            for item in &items {
                target.counts.waits.push(self.now_ns - item.put_ns);
            }
            let work_ns = self.work_of(stage, key, items.len());
            let turn = Turn { stage, key, items, begin_ns: self.now_ns, put: 0, blocked_since_ns: 0 };
            let number = self.turns.iter().position(Option::is_none).unwrap_or(self.turns.len());
            if number == self.turns.len() {
                self.turns.push(None);
            }
            self.turns[number] = Some(turn);
            if stage == PERSIST {
                let stall = self
                    .scenario
                    .stall
                    .iter()
                    .find(|stall| (ns(stall.from)..ns(stall.to)).contains(&self.now_ns));
                let begin = stall.map_or(self.now_ns, |stall| ns(stall.to));
                self.at(begin + work_ns as u64, Event::Stored { turn: number });
            } else {
                self.computing.push(Reverse(((self.work_ns + work_ns) as u64, number)));
            }
        }
    }

    fn work_of(&mut self, stage: usize, key: usize, items: usize) -> f64 {
        let (cost, n, now) = (&self.scenario.cost, items as f64, self.now_ns);
        let load = self.scenario.load.iter().rfind(|load| (ns(load.from)..ns(load.to)).contains(&now));
        let times = |of: fn(&Load) -> Option<f64>| load.and_then(of).unwrap_or(1.0);
        let slow = self.scenario.slow.as_ref().filter(|slow| slow.model == key);
        let us = match stage {
            0 => cost.ingest * n,
            1 => cost.feature * n * times(|load| load.feature_times),
            2 => {
                let line = slow.map_or((cost.predict_call, cost.predict_row), |slow| (slow.call, slow.row));
                (line.0 + line.1 * n) * times(|load| load.predict_times)
            }
            _ => cost.persist_call + cost.persist_row * n,
        };
        us * 1e3 * (0.8 + 0.4 * self.unit())
    }

    /// The work of a turn is done: its items go on.
    fn finish(&mut self, number: usize) {
        let Some(turn) = self.turns[number].take() else { return };
        let service_ns = self.now_ns - turn.begin_ns;
        let counts = &mut self.stages[turn.stage].counts;
        counts.items += turn.items.len() as u64;
        counts.busy_ns += service_ns;
        if turn.stage == 2 {
            self.limits[turn.key].note(turn.items.len(), service_ns);
        }
        self.hand_on(turn);
    }

    fn hand_on(&mut self, mut turn: Turn) {
        let next = turn.stage + 1;
        while turn.put < turn.items.len() {
            let item = turn.items[turn.put];
            if next == STAGES {
                self.run.latencies.push(self.now_ns - item.due_ns);
            } else if self.stages[next].depth < ROOM {
                self.put(next, item);
            } else {
                turn.blocked_since_ns = self.now_ns;
                return self.stages[next].blocked.push_back(turn);
            }
            turn.put += 1;
        }
        let stage = turn.stage;
        let target = &mut self.stages[stage];
        target.depth -= turn.items.len();
        target.busy -= 1;
        let mailbox = &mut target.keys[turn.key];
        if mailbox.waiting.is_empty() {
            mailbox.called = false;
        } else {
            let lane = mailbox.lane as usize;
            target.lanes[lane].push_back(turn.key);
        }
        self.dispatch(stage);
        // There is room here now.
        while self.stages[stage].depth < ROOM {
            let Some(waiting) = self.stages[stage].blocked.pop_front() else { break };
            self.stages[waiting.stage].counts.blocked_ns += self.now_ns - waiting.blocked_since_ns;
            self.hand_on(waiting);
        }
        if stage == 0 {
            self.pour();
        }
    }

    fn tick(&mut self, rules: &Rules, state: State, interval_ns: u64) -> State {
        let seen: Vec<Sample> = self
            .stages
            .iter_mut()
            .map(|stage| {
                let mut counts = std::mem::take(&mut stage.counts);
                stage.counts.depth_before = stage.depth;
                counts.waits.sort_unstable();
                let at = (counts.waits.len() * 99 / 100).min(counts.waits.len().saturating_sub(1));
                Sample {
                    workers: stage.width,
                    parallel: stage.keys.len(),
                    pinned: false,
                    lasted_ns: interval_ns,
                    arrivals: (counts.items + stage.depth as u64).saturating_sub(counts.depth_before as u64),
                    items: counts.items,
                    busy_ns: counts.busy_ns,
                    blocked_ns: counts.blocked_ns,
                    wait_p99_ns: counts.waits.get(at).copied().unwrap_or(0),
                    depth: stage.depth,
                }
            })
            .collect();
        let (state, changes) = decide(rules, state, &seen, self.now_ns / 1_000_000);
        for change in changes {
            self.stages[change.stage].width = change.to;
            let second = self.now_ns as f64 / 1e9;
            self.run.changes.push((second, change.stage, change.from, change.to));
            self.dispatch(change.stage);
        }
        state
    }

    fn tick_models(&mut self, rules: BatchRules, models: &mut [(BatchState, BatchReading)]) {
        for (limit, (state, before)) in self.limits.iter().zip(models) {
            let now = limit.read();
            let (next, change) = std::mem::take(state).step(rules, limit.get(), &now.since(before));
            (*state, *before) = (next, now);
            if let Some((rows, ..)) = change {
                limit.set(rows);
            }
        }
    }
}
