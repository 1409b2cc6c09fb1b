//! The times at which backends are checked.

use std::time::Duration;

/// The time after the start within which every backend is checked for the first time.
const FIRST_ROUND: Duration = Duration::from_millis(500);

/// The times at which one of several backends is checked. The first round is quick; later rounds
/// are spread over the interval, each backend at its own offset, so that checks do not coincide.
/// All times count from the start of the schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    first: Duration,
    place: Duration,
    interval: Duration,
}

impl Schedule {
    /// Returns the schedule of the backend with number `index`, from 0, of `count` backends.
    #[must_use]
    pub fn new(interval: Duration, index: usize, count: usize) -> Self {
        let share = index as f64 / count.max(1) as f64;
        Self {
            first: interval.min(FIRST_ROUND).mul_f64(share),
            place: interval.mul_f64(share),
            interval,
        }
    }

    /// Returns when the first check begins, as the time since the start of the schedule.
    #[must_use]
    pub fn first(&self) -> Duration {
        self.first
    }

    /// Returns when the next check after `now` begins, as the time since the start of the schedule.
    /// Checks begin one interval apart; a check that took longer than that skips the times that it
    /// missed.
    #[must_use]
    pub fn next_after(&self, now: Duration) -> Duration {
        let Some(into) = now.checked_sub(self.place) else {
            return self.place;
        };
        let interval = self.interval.as_nanos().max(1);
        let rounds = into.as_nanos() / interval + 1;
        let nanos = rounds.saturating_mul(interval);
        self.place + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn four_backends_share_the_interval() {
        let places = (0..4).map(|index| {
            let schedule = Schedule::new(ms(2000), index, 4);
            (schedule.first(), schedule.next_after(ms(2000)))
        });
        let wanted = [
            (ms(0), ms(4000)),
            (ms(125), ms(2500)),
            (ms(250), ms(3000)),
            (ms(375), ms(3500)),
        ];
        assert_eq!(places.collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_check_that_took_longer_skips_those_it_missed() {
        let schedule = Schedule::new(ms(1000), 0, 1);
        assert_eq!(schedule.next_after(ms(2300)), ms(3000));
    }

    proptest! {
        #[test]
        fn the_first_round_is_quick_and_starts_are_never_more_than_an_interval_apart(
            interval in 1_u64..100_000,
            count in 1_usize..500,
            index in 0_usize..500,
        ) {
            let interval = ms(interval);
            let schedule = Schedule::new(interval, index % count, count);
            prop_assert!(schedule.first() <= FIRST_ROUND.min(interval));
            let second = schedule.next_after(schedule.first());
            prop_assert!(second > schedule.first());
            prop_assert!(second - schedule.first() <= interval);
            let third = schedule.next_after(second);
            prop_assert_eq!(third - second, interval);
        }
    }
}
