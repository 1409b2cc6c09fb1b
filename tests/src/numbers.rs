//! Pseudo-random numbers, the same in every run (xorshift).

/// A sequence of pseudo-random numbers, determined by its seed.
#[derive(Clone, Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// Returns the sequence that belongs to a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The state must not be zero, because xorshift never leaves that state.
        Self((0x9e37_79b9_7f4a_7c15 ^ seed).max(1))
    }

    /// Returns the next 64 bits of the sequence.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns the next 64 bits of the sequence as two numbers of 32 bits.
    pub fn pair(&mut self) -> (u32, u32) {
        let word = self.word();
        ((word >> 32) as u32, word as u32)
    }
}
