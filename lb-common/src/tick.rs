//! The clock of the packet path.

/// A time on the kernel's clock: the low 32 bits of jiffies. Reading them costs one load; a call
/// for the time would cost as much as the rest of steering. The settings hold the number of ticks
/// per second.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tick(pub u32);

impl Tick {
    /// Returns the ticks from `earlier` to this time; 0 if `earlier` is slightly in the future, as
    /// when another CPU has just written it. The clock wraps in 49 days at 1,000 Hz: a connection
    /// that was last seen one whole cycle ago appears fresh for a minute.
    #[must_use]
    #[inline(always)]
    pub const fn since(self, earlier: Self) -> u32 {
        let span = self.0.wrapping_sub(earlier.0);
        if span < u32::MAX - MAX_SKEW { span } else { 0 }
    }
}

/// Maximum number of ticks by which one CPU can be ahead of another; far more than in practice.
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
