//! A small seeded generator (SplitMix64) for jitter. Not for secrets. The seed is handed in, so a run can be repeated.

use crate::time::Duration;

/// Deterministic random numbers from a seed (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator that repeats for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `base` times a random factor in 0.75..=1.0 (RFC 4271 §10).
    pub fn jitter(&mut self, base: Duration) -> Duration {
        let factor = 750 + u32::try_from(self.next_u64() % 251).unwrap_or(0);
        base * factor / 1_000
    }
}
