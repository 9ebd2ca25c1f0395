//! Means whose loop begins at four places of a line of 64 bytes of the processor's memory.
//!
//! Where the compiler puts a loop of twenty instructions is luck, which a change anywhere in the program turns: a processor
//! that fetches by lines needs a cycle more, or two, for one that lies badly, and the whole of a mean is four.

use super::{Bar, Contestant, contest, contestant};
use std::hint::black_box;
use ta::Next as _;
use ta::indicators::SimpleMovingAverage;
use vela::feature::indicator::Sma;
use yata::methods::SMA;
use yata::prelude::Method as _;

/// `$step` of `$state`, made anew, over all bars in a loop that lies `$k` bytes, and what the compiler puts before it, behind the
/// beginning of a line; written out for each, so that a step is part of its loop as in the program of a user.
macro_rules! at {
    ($k:literal, $name:literal, $begin:expr, $step:expr) => {
        contestant($name, move || {
            let begun = $begin;
            move |bars: &[Bar]| {
                let mut state = begun;
                let mut last = f64::NAN;
                // SAFETY: instructions that do nothing; where they stand matters, not what they do.
                #[cfg(target_arch = "x86_64")]
                unsafe {
                    std::arch::asm!(".balign 64", ".nops {k}", k = const $k, options(nomem, nostack, preserves_flags));
                }
                for bar in bars {
                    last = black_box($step(&mut state, bar));
                }
                last
            }
        })
    };
}

/// The same contestant at the four places.
macro_rules! four {
    ($name:literal, $begin:expr, $step:expr) => {
        [
            at!(1, $name, $begin, $step),
            at!(16, $name, $begin, $step),
            at!(32, $name, $begin, $step),
            at!(48, $name, $begin, $step),
        ]
    };
}

/// Prints the fastest and the median of each, at each place.
pub fn print(bars: &[Bar]) {
    println!("\nmeans at four places of a line, the fastest round / the median one, ns a bar\n");
    println!("| | | | | | |\n| --- | --- | --- | --- | --- | --- |");
    let first = bars[0].close;
    for n in [10, 20, 100, 250, 1000].map(black_box) {
        let mut contestants: Vec<Contestant<'_>> =
            four!("vela alone", Sma::new(n).unwrap(), |sma: &mut Sma, bar: &Bar| sma.update(bar)).into();
        // yata's windows are of 254 items at most.
        if let Ok(n) = u8::try_from(n) {
            let step = |sma: &mut SMA, bar: &Bar| sma.next(&bar.close);
            contestants.extend(four!("yata", SMA::new(n, &first).unwrap(), step));
        }
        let step = |sma: &mut SimpleMovingAverage, bar: &Bar| sma.next(bar.close);
        contestants.extend(four!("ta", SimpleMovingAverage::new(n).unwrap(), step));
        let found = contest(bars, &contestants);
        for (places, found) in contestants.chunks(4).zip(found.chunks(4)) {
            print!("| `sma_{n}` | {}", places[0].0);
            for found in found {
                print!(" | {:.2} / {:.2}", found.fastest, found.median);
            }
            println!(" |");
        }
    }
}
