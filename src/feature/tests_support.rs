//! Bars and comparisons for the tests of this module.

use crate::domain::{Admission, Bar, Timestamp};
use proptest::prelude::*;
use std::path::PathBuf;

/// The reference material beside the repository, if it is there; says so if it is not.
pub fn reference(relative: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(relative);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// The bars of a CSV file with the header `ts,open,high,low,close,volume`.
pub fn read_bars(path: &std::path::Path) -> Vec<Bar> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("ts,open,high,low,close,volume"));
    lines
        .map(|line| {
            let (ts, numbers) = line.split_once(',').unwrap();
            let n: Vec<f64> = numbers.split(',').map(|x| x.parse().unwrap()).collect();
            let ts = ts.parse().unwrap();
            Bar { ts, open: n[0], high: n[1], low: n[2], close: n[3], volume: n[4] }
        })
        .collect()
}

/// Splitmix64: small, seeded, the same everywhere.
#[derive(Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }
}

/// A market that walks around `level` in ticks, falls flat for a while now and then, and trades nothing in some
/// bars. A level of 0 jumps between tiny and huge ones.
#[derive(Clone)]
pub struct Market {
    random: Random,
    level: f64,
    ticks: f64,
    flat: u32,
    minute: i64,
}

impl Market {
    pub fn new(seed: u64, level: f64) -> Self {
        Self { random: Random(seed), level, ticks: 10_000.0, flat: 0, minute: 27_000_000 }
    }
}

impl Iterator for Market {
    type Item = Bar;

    fn next(&mut self) -> Option<Bar> {
        let random = &mut self.random;
        if self.flat == 0 && random.chance(0.002) {
            self.flat = (random.unit() * 200.0) as u32;
        }
        let mut tick = self.level / 10_000.0;
        if self.level == 0.0 {
            tick = [1e-12, 1.0, 1e8][(self.minute / 300 % 3) as usize];
        }
        let open = self.ticks;
        let (mut high, mut low, mut volume) = (open, open, 0.0);
        if self.flat > 0 {
            self.flat -= 1;
        } else {
            let mut step = || (random.unit() * 41.0).floor() - 20.0;
            self.ticks = (open + step()).clamp(5_000.0, 20_000.0);
            high = open.max(self.ticks) + step().abs();
            low = open.min(self.ticks) - step().abs();
        }
        if random.chance(0.7) {
            volume = random.unit() * 1000.0;
        }
        self.minute += 1;
        Some(Bar {
            ts: Timestamp::from_secs(self.minute * 60),
            open: open * tick,
            high: high * tick,
            low: low * tick,
            close: self.ticks * tick,
            volume,
        })
    }
}

/// What a feed does next with the bars of one series.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    /// A bar closed, behind so many that are left out for now.
    Next { left_out: usize },
    /// The bar so many before the newest has other numbers.
    Revised { back: usize },
    /// One that was left out comes right behind the bar so many before the newest.
    Late { back: usize },
    /// The bar so many before the newest is taken back.
    Withdrawn { back: usize },
}

/// Whatever a feed may do, now and then a gap of `long` bars among it.
pub fn told(long: usize) -> impl Strategy<Value = Told> {
    prop_oneof![
        10 => (0..3_usize).prop_map(|left_out| Told::Next { left_out }),
        1 => Just(Told::Next { left_out: long }),
        3 => (0..12_usize).prop_map(|back| Told::Revised { back }),
        3 => (1..12_usize).prop_map(|back| Told::Late { back }),
        3 => (0..12_usize).prop_map(|back| Told::Withdrawn { back }),
    ]
}

/// A bar as it comes, and where it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub bar: Bar,
    pub admission: Admission,
    /// Its place among the bars that there are once it was taken, or were before it was taken back.
    pub at: usize,
    /// Whether a series that keeps `revision_bars` has to take it; of older ones it may.
    pub promised: bool,
}

/// The feed of one series: which bars there are by now, and which may still come late.
pub struct Feed {
    market: Market,
    random: Random,
    revision_bars: usize,
    left_out: Vec<Bar>,
    /// The bars as they should have come.
    pub bars: Vec<Bar>,
    /// Each bar that is taken back makes one less that can still be changed.
    pub withdrawn: usize,
}

impl Feed {
    pub fn new(seed: u64, revision_bars: usize) -> Self {
        let (market, random) = (Market::new(seed, 10.0), Random(seed));
        Self { market, random, revision_bars, left_out: Vec::new(), bars: Vec::new(), withdrawn: 0 }
    }

    /// The bar that comes; `None` where there is none to do that with.
    pub fn say(&mut self, told: Told) -> Option<Said> {
        let place = |back: usize| self.bars.len().checked_sub(back + 1);
        let promised = |back: usize| back + self.withdrawn < self.revision_bars;
        Some(match told {
            Told::Next { left_out } => {
                self.left_out.extend(self.market.by_ref().take(left_out));
                let bar = self.market.next()?;
                Said { bar, admission: Admission::Next, at: self.bars.len(), promised: true }
            }
            Told::Revised { back } => {
                let (at, promised) = (place(back)?, promised(back));
                let mut bar = self.bars[at];
                bar.close = bar.low + (bar.high - bar.low) * self.random.unit();
                bar.volume += 1.0;
                Said { bar, admission: Admission::Revision, at, promised }
            }
            Told::Late { back } => {
                let before = place(back)?;
                let between = self.bars[before].ts..self.bars[before + 1].ts;
                let bar = *self.left_out.iter().find(|bar| between.contains(&bar.ts))?;
                // So many are behind it: one less than behind the bar before it.
                Said { bar, admission: Admission::Late, at: before + 1, promised: promised(back - 1) }
            }
            Told::Withdrawn { back } => {
                let at = place(back).filter(|_| self.withdrawn < self.revision_bars)?;
                Said { bar: self.bars[at], admission: Admission::Withdrawn, at, promised: promised(back) }
            }
        })
    }

    /// The bars as they are once `said` was taken.
    pub fn with(&self, said: &Said) -> Vec<Bar> {
        let mut bars = self.bars.clone();
        match said.admission {
            Admission::Next | Admission::Late => bars.insert(said.at, said.bar),
            Admission::Revision => bars[said.at] = said.bar,
            Admission::Withdrawn => drop(bars.remove(said.at)),
        }
        bars
    }

    /// Notes that `said` was taken.
    pub fn settle(&mut self, said: &Said) {
        self.bars = self.with(said);
        match said.admission {
            Admission::Late => self.left_out.retain(|bar| bar.ts != said.bar.ts),
            Admission::Withdrawn => {
                self.left_out.push(said.bar);
                self.withdrawn += 1;
            }
            Admission::Next | Admission::Revision => {}
        }
    }

    /// The bar that closes next behind `ahead` others.
    pub fn forming(&self, ahead: usize) -> Bar {
        self.market.clone().nth(ahead).unwrap()
    }
}

/// Whether `a` and `b` are both undefined, or within 1e-9 of `scale`.
pub fn agree(a: f64, b: f64, scale: f64) -> bool {
    if a.is_nan() || b.is_nan() { a.is_nan() && b.is_nan() } else { (a - b).abs() <= 1e-9 * scale }
}

pub fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}
