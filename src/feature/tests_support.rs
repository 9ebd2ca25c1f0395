//! Bars and comparisons for the tests of this module.

use crate::domain::{Bar, Timestamp};
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

/// Whether `a` and `b` are both undefined, or within 1e-9 of `scale`.
pub fn agree(a: f64, b: f64, scale: f64) -> bool {
    if a.is_nan() || b.is_nan() { a.is_nan() && b.is_nan() } else { (a - b).abs() <= 1e-9 * scale }
}

pub fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| x.to_bits()).collect()
}
