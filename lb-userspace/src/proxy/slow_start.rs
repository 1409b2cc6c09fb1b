//! The share of requests that a backend in slow start gets. Pure: time is an argument.

use std::time::Duration;

/// The full share of a backend, in units of the number that [`share`] returns.
pub(super) const WHOLE: u32 = 1000;
/// The share of a backend that has just come up, in units of 1/[`WHOLE`]: a tenth (as in Envoy), so
/// that some requests warm the backend up.
const FIRST: u32 = WHOLE / 10;

/// Returns the share, in units of 1/[`WHOLE`], of a backend that came up `came_up` ago. The share
/// grows linearly over the time `slow_start`, with a tenth of the full share as the minimum.
pub(super) fn share(came_up: Duration, slow_start: Duration) -> u32 {
    if came_up >= slow_start {
        return WHOLE;
    }
    let share = u128::from(WHOLE) * came_up.as_nanos() / slow_start.as_nanos().max(1);
    u32::try_from(share).unwrap_or(WHOLE).clamp(FIRST, WHOLE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_grows_evenly_from_a_tenth_to_the_whole() {
        let seconds = Duration::from_secs;
        for (after, wanted) in [
            (0, 100),
            (2, 100),
            (3, 150),
            (10, 500),
            (19, 950),
            (20, 1000),
        ] {
            assert_eq!(share(seconds(after), seconds(20)), wanted, "{after}");
        }
        assert_eq!(share(Duration::MAX, seconds(20)), WHOLE);
        assert_eq!(share(Duration::ZERO, Duration::ZERO), WHOLE);
    }

    proptest! {
        #[test]
        fn it_never_shrinks_and_stays_within_its_bounds(
            one in 0..200_000_000_000_u64,
            more in 0..200_000_000_000_u64,
            slow_start in 1..100_000_000_000_u64,
        ) {
            let slow_start = Duration::from_nanos(slow_start);
            let before = share(Duration::from_nanos(one), slow_start);
            let after = share(Duration::from_nanos(one + more), slow_start);
            prop_assert!((FIRST..=WHOLE).contains(&before) && before <= after && after <= WHOLE);
        }
    }
}
