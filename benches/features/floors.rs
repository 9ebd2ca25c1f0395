//! The least that a window's mean and deviation take: by sums that run on, and by sums that are exact.
//!
//! Written out for full windows alone, over arrays, of a length that the compiler knows (and one whose length it does not): no
//! readiness, no snapshot, nothing else a library needs. What another library takes beside an exact one is to be read against these.

use super::{Bar, Contestant, contestant};
use std::hint::black_box;

/// A mean by a sum that runs on: what is added is taken away again `N` bars later, and its rounding stays.
pub fn running_mean<const N: usize>() -> Contestant<'static> {
    let run = |bars: &[Bar]| {
        let (mut ring, mut at, mut sum, mut last) = ([0.0; N], 0, 0.0, f64::NAN);
        for bar in bars {
            sum += bar.close - std::mem::replace(&mut ring[at], bar.close);
            at = if at + 1 == N { 0 } else { at + 1 };
            last = black_box(sum / N as f64);
        }
        last
    };
    contestant("running sum", move || run)
}

/// A mean by sums that only add: those of the items before were summed up backwards when their block of `N` ended.
pub fn exact_mean<const N: usize>() -> Contestant<'static> {
    let run = |bars: &[Bar]| {
        let (mut slots, mut at, mut block, mut last) = ([0.0; N], 0, 0.0, f64::NAN);
        for bar in bars {
            // Slot 0 holds the whole block before, which has left the window with the bar that begins the next.
            let before = if at + 1 == N { 0.0 } else { slots[at + 1] };
            block += bar.close;
            slots[at] = bar.close;
            last = black_box((before + block) * (1.0 / N as f64));
            at += 1;
            if at == N {
                let mut sum = 0.0;
                for slot in slots.iter_mut().rev() {
                    sum += *slot;
                    *slot = sum;
                }
                (at, block) = (0, 0.0);
            }
        }
        last
    };
    contestant("exact, the least", move || run)
}

/// The same for a window whose length is known only when it runs, as a library's is.
pub fn exact_mean_of(n: usize) -> Contestant<'static> {
    let run = move |bars: &[Bar]| {
        let (mut slots, mut at, mut block, mut last) = (vec![0.0; n - 1], 0, 0.0, f64::NAN);
        let share = 1.0 / n as f64;
        for bar in bars {
            block += bar.close;
            let before = std::mem::replace(&mut slots[at], bar.close);
            last = black_box((before + block) * share);
            at += 1;
            if at == slots.len() {
                let mut sum = 0.0;
                for slot in slots.iter_mut().rev() {
                    sum += *slot;
                    *slot = sum;
                }
                (at, block) = (0, 0.0);
            }
        }
        last
    };
    contestant("exact, any length", move || run)
}

/// The upper band of two deviations by such sums, from a price of the window as the origin.
pub fn exact_deviation<const N: usize>() -> Contestant<'static> {
    let run = |bars: &[Bar]| {
        let (mut slots, mut at, mut block, mut last) = ([[0.0; 2]; N], 0, [0.0; 2], f64::NAN);
        let mut origin = bars[0].close;
        for bar in bars {
            let [sum, squares] = slots[at];
            let d = bar.close - origin;
            block = [block[0] + d, block[1] + d * d];
            slots[at] = [bar.close, 0.0];
            let (sum, squares) = (sum + block[0], squares + block[1]);
            let mean = sum * (1.0 / N as f64);
            let variance = (squares - sum * mean) * (1.0 / N as f64);
            last = black_box(origin + mean + 2.0 * if variance < 0.0 { 0.0 } else { variance }.sqrt());
            at += 1;
            // A block is one shorter than the window: its last price is in every window of the next.
            if at + 1 == N {
                origin = bar.close;
                let mut sums = [0.0; 2];
                for slot in slots[..at].iter_mut().rev() {
                    let d = slot[0] - origin;
                    sums = [sums[0] + d, sums[1] + d * d];
                    *slot = sums;
                }
                (at, block) = (0, [0.0; 2]);
            }
        }
        last
    };
    contestant("exact, the least", move || run)
}
