//! The clock of the packet path.

/// A moment on the kernel's clock: the low 32 bits of its jiffies, which cost one load, where any
/// call for the time would cost as much as all the rest of steering. How many make a second is in
/// the settings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks from `earlier` to this moment; none if `earlier` lies a little ahead, as it does when
    /// another CPU has just written it. The clock goes round in 49 days at 1,000 Hz: a connection
    /// that was last seen a whole round ago looks fresh for a minute.
    #[must_use]
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let span = self.0.wrapping_sub(earlier.0);
        if span < u32::MAX - MAX_SKEW { span } else { 0 }
    }
}

/// Ticks that one CPU may be ahead of another: far more than they ever are.
const MAX_SKEW: u32 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_right_over_the_clock_s_end_and_for_weeks() {
        assert_eq!(Tick(5).since(Tick(u32::MAX - 4)), 10);
        assert_eq!(Tick(3_000_000_000).since(Tick(0)), 3_000_000_000);
        assert_eq!(
            Tick(1000).since(Tick(1001)),
            0,
            "another CPU was a tick ahead"
        );
    }
}
