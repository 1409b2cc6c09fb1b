//! Decides when the moving addresses are announced to the network, without I/O or a clock.

use std::time::{Duration, Instant};

/// Number of announcements of each address in a burst, as in keepalived: frames may be lost, and a
/// switch may be slow to learn.
const AT_ONCE: u32 = 5;
const LATER: Duration = Duration::from_secs(5);

/// The announcements of the moving addresses that are still to be made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Schedule {
    next: Option<Instant>,
    /// Whether another burst of announcements follows the next one.
    again: bool,
}

impl Schedule {
    /// Schedules a burst of announcements now and another burst later, because the moving addresses
    /// were added.
    pub(super) fn begin(&mut self, now: Instant) {
        self.again_at(now);
    }

    /// Cancels all scheduled announcements, because the moving addresses were removed.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Schedules both bursts again, the first at the time `then`, because an announcement failed.
    pub(super) fn again_at(&mut self, then: Instant) {
        *self = Self {
            next: Some(then),
            again: true,
        };
    }

    /// Returns how many announcements of each address are to be sent now, and schedules the next
    /// burst of announcements.
    pub(super) fn due(&mut self, now: Instant) -> u32 {
        if self.next.is_none_or(|next| now < next) {
            return 0;
        }
        self.next = self.again.then_some(now + LATER);
        self.again = false;
        AT_ONCE
    }

    /// Returns when [`Self::due`] is to be called again; `None` if nothing is scheduled.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_at_once_and_five_more_after_five_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        assert_eq!((schedule.due(start), schedule.next()), (0, None));
        schedule.begin(start);
        assert_eq!(schedule.due(start), 5);
        assert_eq!(schedule.due(start + Duration::from_millis(4_999)), 0);
        assert_eq!(schedule.next(), Some(start + LATER));
        assert_eq!(schedule.due(start + LATER), 5);
        assert_eq!(
            (schedule.due(start + LATER * 9), schedule.next()),
            (0, None)
        );
    }

    #[test]
    fn nothing_is_announced_once_the_addresses_are_gone() {
        let start = Instant::now();
        let mut schedule = Schedule::default();
        schedule.begin(start);
        schedule.end();
        assert_eq!((schedule.due(start + LATER), schedule.next()), (0, None));
    }
}
