//! In which batches a model answers with the same bits as alone.
//!
//! Batches form by chance; a replay must not depend on chance. Most graphs treat each row by itself, some do
//! not: a vectorised `exp` rounds the last rows of a batch otherwise, dynamic quantisation takes its scale
//! from the whole batch. So a model is asked the same rows alone and together when it is loaded, and only
//! sizes that were tried and gave the same bits are ever used.

use super::manifest::{BatchingPolicy, Manifest};
use super::session::{Row, RunError, Session};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long probing one model may take.
const BUDGET: Duration = Duration::from_millis(30);
/// The most rows that are asked alone. Many, because few show a difference: with a softmax, one in twenty.
const ROWS_MAX: usize = 512;
/// Sizes that are tried first; what time is left goes to those between.
const LADDER: [usize; 8] = [2, 4, 8, 16, 32, 64, 96, 128];

/// The batch sizes a model may be run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    /// The sizes, ascending; 1 is always the first.
    pub sizes: Vec<usize>,
    /// Why these, for people.
    pub reason: String,
}

impl Batching {
    /// One row at a time.
    pub fn single(reason: impl Into<String>) -> Self {
        Self { sizes: vec![1], reason: reason.into() }
    }

    /// The largest allowed size of at most `n` rows; 1 for `n` = 0.
    pub fn largest_at_most(&self, n: usize) -> usize {
        match self.sizes.partition_point(|size| *size <= n) {
            0 => 1,
            after => self.sizes.get(after - 1).copied().unwrap_or(1),
        }
    }
}

/// Finds out in which batches of at most `batch_max` rows `session` answers as it does alone.
pub fn probe(session: &mut Session, manifest: &Manifest, batch_max: usize) -> Batching {
    let mut more = pseudo_rows(session.row_len(), manifest.features.len());
    let mut rows: Vec<Vec<f64>> = Vec::new();
    let symbols = session.symbols().to_vec();
    let fixed = session.batch_max();
    let mut out = Vec::new();
    let run = |range: &mut dyn Iterator<Item = usize>| {
        let symbol = |i: usize| if symbols.is_empty() { "" } else { symbols[i % symbols.len()].as_str() };
        let range: Vec<usize> = range.collect();
        // Made when they are asked for: rows of a long window are large, and few of them are run.
        while range.iter().any(|i| *i >= rows.len()) {
            rows.extend(more.next());
        }
        let batch: Vec<Row<'_>> =
            range.iter().map(|i| Row { window: &rows[*i], symbol: symbol(*i) }).collect();
        session.run(&batch, &mut out).map(|()| out.clone())
    };
    decide(manifest.batching, batch_max, fixed, BUDGET, run)
}

/// The decision, for any `run` that takes positions of rows below [`ROWS_MAX`] and gives their values.
fn decide(
    policy: BatchingPolicy,
    batch_max: usize,
    fixed: usize,
    budget: Duration,
    mut run: impl FnMut(&mut dyn Iterator<Item = usize>) -> Result<Vec<f64>, RunError>,
) -> Batching {
    let failed = |size: usize, e: RunError| Batching::single(format!("a batch of {size} fails: {e}"));
    match policy {
        BatchingPolicy::Off => return Batching::single("the manifest says batching = \"off\""),
        _ if batch_max <= 1 => return Batching::single("batches are limited to one row"),
        _ if fixed <= 1 => return Batching::single("the model was exported for one row"),
        BatchingPolicy::Approximate => {
            // Not compared, but it must work.
            for size in [2, batch_max.min(fixed)] {
                if let Err(e) = run(&mut (0..size).map(|i| i % 2)) {
                    return failed(size, e);
                }
            }
            let reason = "the manifest says batching = \"approximate\"".to_owned();
            return Batching { sizes: (1..=batch_max.min(fixed)).collect(), reason };
        }
        BatchingPolicy::Auto => {}
    }
    let start = Instant::now();
    let mut alone: Vec<Vec<u64>> = Vec::with_capacity(ROWS_MAX);
    // A third of the time for the rows alone, the rest for the batches.
    let mut one = Duration::MAX;
    // The fastest row decides whether all are worth their time, not the clock: a verdict must not depend on
    // how busy the machine was.
    let affordable = |one: Duration| one.saturating_mul(ROWS_MAX as u32) < budget;
    while alone.len() < ROWS_MAX && (alone.len() < 2 || affordable(one) || start.elapsed() < budget / 3) {
        let before = start.elapsed();
        let result = run(&mut std::iter::once(alone.len()));
        // The fastest: on a busy machine the mean says more about the neighbours.
        one = one.min(start.elapsed() - before);
        match result {
            Ok(values) => alone.push(bits(&values)),
            Err(e) => return failed(1, e),
        }
    }
    let known = alone.len();
    // Every batch has other rows, in turn.
    let compared = Cell::new(0);
    let mut same = |size: usize| {
        let from = compared.replace(compared.get() + size);
        let row = |i: usize| (from + i) % known;
        let values = run(&mut (0..size).map(row)).map_err(|e| format!("a batch of {size} fails: {e}"))?;
        let width = values.len() / size;
        match (0..size).find(|i| bits(&values[i * width..(i + 1) * width]) != alone[row(*i)]) {
            None => Ok(()),
            Some(i) => {
                let by = largest_difference(&values[i * width..(i + 1) * width], &alone[row(i)]);
                Err(format!("in a batch of {size} a row's result differs by {by:.1e} from alone"))
            }
        }
    };
    let mut sizes = vec![1];
    let ladder = LADDER.into_iter().chain([batch_max]);
    let between = 2..=batch_max;
    for size in ladder.chain(between) {
        if size > batch_max.min(fixed) || sizes.contains(&size) {
            continue;
        }
        // A batch costs at most what its rows cost alone. The first is tried even where the time is over.
        let first = sizes.len() == 1;
        let spent = if first { Duration::ZERO } else { start.elapsed() };
        if spent + one.saturating_mul(size as u32) > budget {
            if first {
                return Batching::single(format!(
                    "too slow to compare: {:.1} ms a row",
                    one.as_secs_f64() * 1e3
                ));
            }
            continue;
        }
        if let Err(why) = same(size) {
            return Batching::single(why);
        }
        sizes.push(size);
    }
    sizes.sort_unstable();
    // Where few sizes were to be tried, few rows have been in a batch by now.
    let widest = sizes[sizes.len() - 1];
    while compared.get() < known && (affordable(one) || start.elapsed() < budget) {
        if let Err(why) = same(widest) {
            return Batching::single(why);
        }
    }
    let reason =
        format!("{} sizes up to {} give the same bits as alone", sizes.len(), sizes[sizes.len() - 1]);
    Batching { sizes, reason }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn largest_difference(values: &[f64], alone: &[u64]) -> f64 {
    let pairs = values.iter().zip(alone);
    pairs.map(|(v, bits)| (v - f64::from_bits(*bits)).abs()).fold(0.0, f64::max)
}

/// Rows whose scales differ, because a model's own scaling is not known: where all saturate, no difference
/// shows.
fn pseudo_rows(row_len: usize, features: usize) -> impl Iterator<Item = Vec<f64>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    // SplitMix64: fixed seed, the same rows in every process.
    let mut uniform = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0_i32..).map(move |row| {
        let scale = 10_f64.powi(row % 6 - 4);
        let centres: Vec<f64> =
            (0..features).map(|_| if row % 2 == 0 { 0.0 } else { 100.0 * uniform() * scale }).collect();
        (0..row_len).map(|i| centres[i % features] + scale * (2.0 * uniform() - 1.0)).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn auto(
        max: usize,
        run: impl FnMut(&mut dyn Iterator<Item = usize>) -> Result<Vec<f64>, RunError>,
    ) -> Batching {
        decide(BatchingPolicy::Auto, max, usize::MAX, LONG, run)
    }

    #[test]
    fn a_model_that_treats_each_row_by_itself_may_have_every_size() {
        let batching = auto(100, |rows| Ok(rows.flat_map(|i| [i as f64, f64::NAN]).collect()));
        assert_eq!(batching.sizes, (1..=100).collect::<Vec<_>>());
        for (n, expected) in [(0, 1), (1, 1), (57, 57), (1000, 100)] {
            assert_eq!(batching.largest_at_most(n), expected);
        }
        let ladder = Batching { sizes: vec![1, 2, 4, 8], reason: String::new() };
        assert_eq!([3, 7, 9].map(|n| ladder.largest_at_most(n)), [2, 4, 8]);
    }

    #[test]
    fn one_bit_at_one_size_is_enough_for_one_row_at_a_time() {
        let batching = auto(100, |rows| {
            let rows: Vec<usize> = rows.collect();
            let last = if rows.len() == 37 { f64::EPSILON } else { 0.0 };
            Ok(rows.iter().map(|i| 1.0 + *i as f64 * last).collect())
        });
        assert_eq!(batching.sizes, [1]);
        assert!(batching.reason.contains("batch of 37"), "{}", batching.reason);
    }

    #[test]
    fn a_rare_difference_shows_also_where_batches_are_small() {
        for max in 2..=20 {
            let batching = auto(max, |rows| {
                let rows: Vec<usize> = rows.collect();
                let in_batch = if rows.len() > 1 { f64::EPSILON } else { 0.0 };
                Ok(rows.iter().map(|i| if *i == ROWS_MAX - 1 { 1.0 + in_batch } else { 1.0 }).collect())
            });
            assert_eq!(batching.sizes, [1], "{max}");
        }
    }

    #[test]
    fn an_error_a_fixed_size_and_the_manifest_limit_it() {
        let works_to = |max: usize| {
            move |rows: &mut dyn Iterator<Item = usize>| {
                let n = rows.count();
                if n <= max { Ok(vec![0.0; n]) } else { Err(RunError::Model("Reshape".to_owned())) }
            }
        };
        let batching = auto(100, works_to(1));
        assert_eq!(batching.sizes, [1]);
        assert!(batching.reason.contains("batch of 2 fails") && batching.reason.contains("Reshape"));
        assert_eq!(auto(1, works_to(1)).sizes, [1]);
        let fixed = decide(BatchingPolicy::Auto, 100, 1, LONG, works_to(1));
        assert_eq!(fixed.reason, "the model was exported for one row");
        assert_eq!(decide(BatchingPolicy::Off, 100, 100, LONG, works_to(100)).sizes, [1]);
        let approximate = decide(BatchingPolicy::Approximate, 5, usize::MAX, LONG, works_to(100));
        assert_eq!(approximate.sizes, [1, 2, 3, 4, 5]);
        assert_eq!(decide(BatchingPolicy::Approximate, 5, usize::MAX, LONG, works_to(3)).sizes, [1]);
    }

    #[test]
    fn time_that_runs_out_leaves_what_was_tried() {
        let slow = |per_row: u64| {
            move |rows: &mut dyn Iterator<Item = usize>| {
                let n = rows.count();
                std::thread::sleep(Duration::from_millis(per_row * n as u64));
                Ok(vec![0.0; n])
            }
        };
        let budget = Duration::from_millis(60);
        let batching = decide(BatchingPolicy::Auto, 100, usize::MAX, budget, slow(2));
        assert!(batching.sizes.len() > 1 && batching.sizes.len() < 20, "{batching:?}");
        let batching = decide(BatchingPolicy::Auto, 100, usize::MAX, budget, slow(40));
        assert_eq!(batching.sizes, [1]);
        assert!(batching.reason.contains("too slow"), "{}", batching.reason);
    }

    #[test]
    fn the_rows_are_the_same_in_every_process_and_finite() {
        let rows: Vec<_> = pseudo_rows(6, 3).take(ROWS_MAX).collect();
        assert!(pseudo_rows(6, 3).take(ROWS_MAX).eq(rows.iter().cloned()));
        assert!(rows.iter().flatten().all(|v| v.is_finite() && v.abs() < 1e4));
    }
}
