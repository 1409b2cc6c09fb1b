//! Pseudorandom numbers that a seed determines.

use std::time::Duration;

/// A generator of pseudorandom numbers (SplitMix64). The same seed gives the same numbers, and so
/// the same simulated world.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// Returns a generator whose numbers this seed determines.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        // The seed is multiplied and one number discarded, because consecutive seeds must give
        // unrelated numbers.
        let mut chance = Self(seed.wrapping_mul(0xD120_0A3B_5C1F_7A4D));
        chance.number();
        chance
    }

    /// Returns a number of 64 random bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number less than `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number().checked_rem(limit).unwrap_or(0)
    }

    /// Returns true with a probability of `percent` per cent.
    pub fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.below(100) < u64::from(percent)
    }

    /// Returns a duration of at least `least` and less than `most`.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        least + Duration::from_nanos(self.below(span))
    }

    /// Returns a duration of at least `least` and less than `most` milliseconds.
    pub fn millis(&mut self, least: u64, most: u64) -> Duration {
        self.between(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// Returns one of `choices`, which must not be empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let index = self.below(choices.len() as u64);
        choices[usize::try_from(index).unwrap_or(0)]
    }
}
