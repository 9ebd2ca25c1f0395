//! What a source gives, as the tests of those that follow something write it.

use super::{Poll, Source};
use crate::domain::Origin;

/// Polls until there is nothing more: `symbol timeframe minute origin`, minutes since `day_s`, with `w`, `c` and `l` for
/// bars that warm up, catch up, or are live.
pub fn drained(source: &mut dyn Source, day_s: i64) -> Vec<String> {
    let mut bars = Vec::new();
    while source.poll(&mut bars).unwrap() == Poll::Ready {}
    let told = bars.iter().map(|b| {
        let origin = match b.origin {
            Origin::WarmUp => 'w',
            Origin::CatchUp => 'c',
            _ => 'l',
        };
        format!("{} {} {origin}", b.series, (b.bar.ts.as_secs() - day_s) / 60)
    });
    told.collect()
}
