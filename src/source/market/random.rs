//! Noise and functions that are the same bits on every platform.

/// x' = kept * x + noise, with this standard deviation in the long run.
pub(super) struct Autoregression {
    pub(super) kept: f64,
    pub(super) deviation: f64,
}

impl Autoregression {
    pub(super) fn next(&self, x: f64, random: &mut Random) -> f64 {
        self.kept * x + self.deviation * (1.0 - self.kept * self.kept).sqrt() * random.gaussian()
    }
}

/// xoshiro256++ 1.0 by D. Blackman and S. Vigna, seeded by SplitMix64, both public domain
/// (<https://prng.di.unimi.it>). Written out here because a crate's generator may change with its version,
/// and the bundled models were trained on these very bars.
#[derive(Clone, Debug)]
pub(super) struct Random {
    pub(super) state: [u64; 4],
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut mixed = seed;
        let state = std::array::from_fn(|_| {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = mixed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Self { state }
    }

    pub(super) fn bits(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// In [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Mean 0, variance 1, at most 6 from 0: twelve 16-bit uniforms added up as integers (Irwin and Hall),
    /// so that no logarithm or cosine of a platform's library decides a bit.
    pub(super) fn gaussian(&mut self) -> f64 {
        let mut sum = 0;
        for _ in 0..3 {
            let bits = self.bits();
            sum += (bits & 0xffff) + (bits >> 16 & 0xffff) + (bits >> 32 & 0xffff) + (bits >> 48);
        }
        (sum as f64 - 12.0 * 32_767.5) / 65_536.0
    }
}

/// e^x for |x| up to about 20: Taylor's series at x/256, squared eight times. Accurate to about 1e-13, and,
/// unlike the platform's, the same everywhere.
pub(super) fn exp(x: f64) -> f64 {
    let y = x / 256.0;
    let mut result = 1.0;
    for n in (1..=9).rev() {
        result = 1.0 + y / f64::from(n) * result;
    }
    for _ in 0..8 {
        result *= result;
    }
    result
}

pub(super) fn power_of_ten(exponent: u32) -> f64 {
    10_u64.pow(exponent) as f64
}

/// 64-bit FNV-1a.
pub(super) fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
