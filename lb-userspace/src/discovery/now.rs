//! The present moment, by both clocks of the host.

use std::time::{Duration, Instant, SystemTime};

/// The present moment, by both clocks of the host. Drain times are measured by the monotonic clock,
/// so that they are right if the wall clock is changed meanwhile. The wall clock gives the moments
/// that are shown, and those that are saved for the next agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// The present moment by the monotonic clock.
    pub monotonic: Instant,
    /// The present moment by the wall clock.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// Returns the moment that is `span` later, by both clocks.
    pub(super) fn after(self, span: Duration) -> Self {
        Self {
            monotonic: self.monotonic + span,
            wall: self.wall + span,
        }
    }
}
