//! How long to wait before what is away is tried again: a pure function.

const FIRST_MS: u64 = 10;
const LONGEST_MS: u64 = 5_000;

/// The pause before attempt `attempt` (the first retry is 1), in ms: doubling from 10 ms to 5 s, each
/// shortened by up to a quarter by `seed`, so that writers that failed together do not return together.
pub fn pause_ms(attempt: u32, seed: u64) -> u64 {
    let full = FIRST_MS.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(LONGEST_MS);
    // One round of splitmix64 (Steele, Lea, Flood 2014) spreads the seed's bits.
    let mut mixed = seed.wrapping_add(u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    full - (mixed >> 32) % (full / 4 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_never_vanish() {
        for (attempt, full) in [(1, 10), (2, 20), (3, 40), (9, 2560), (10, 5000), (500, 5000)] {
            for seed in 0..200 {
                let pause = pause_ms(attempt, seed);
                assert!((full - full / 4..=full).contains(&pause), "{attempt}: {pause}");
            }
        }
        assert_ne!(pause_ms(8, 1), pause_ms(8, 2));
    }
}
