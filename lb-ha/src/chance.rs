//! Random jitter from a seed: the same seed gives the same sequence.

use std::time::Duration;

/// A small generator of pseudo-random numbers (xorshift64*). Good for jitter, not for secrets.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn seeded(seed: u64) -> Self {
        // The multiplication spreads seeds that differ in one bit; the generator would stay at a
        // state of zero.
        let mixed = seed.wrapping_mul(0xD120_0A3B_5C1F_7A4D) ^ 0x9E37_79B9_7F4A_7C15;
        Self(mixed.max(1))
    }

    /// Returns 80 to 120 % of `duration`, at random, so that the hosts' intervals do not stay
    /// synchronised.
    pub(crate) fn around(&mut self, duration: Duration) -> Duration {
        duration * 4 / 5 + self.below(duration * 2 / 5)
    }

    /// Returns 50 to 100 % of `duration`, at random, so that retries of several hosts do not
    /// coincide.
    pub(crate) fn upper_half(&mut self, duration: Duration) -> Duration {
        duration / 2 + self.below(duration / 2)
    }

    fn below(&mut self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 {
            return Duration::ZERO;
        }
        Duration::from_nanos(self.next() % nanos)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}
