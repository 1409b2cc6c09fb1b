//! The retry budget of a worker: a share of the requests of the last ten seconds, plus a number of
//! retries per second (as in Finagle and Linkerd). Pure: time is an argument.
//!
//! Each worker limits its retries to the share of its own requests, so all workers together keep to
//! that share, too.

use std::time::Instant;

use crate::config::Percent;

/// Length of the sliding window of the budget, in seconds.
const SECONDS: usize = 10;

/// The number of requests and retries of each of the last ten seconds.
#[derive(Debug)]
pub(super) struct RetryBudget {
    epoch: Instant,
    /// One slot for each second of the window, indexed by the second modulo the window's length.
    seconds: [Second; SECONDS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// The second, counted from the budget's creation, of which this slot has the counts.
    number: u64,
    requests: u32,
    retries: u32,
}

/// The limit of retries that a pool configures.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    /// The share of the requests that may be retried, in per cent.
    pub(super) share: Percent,
    /// Number of retries per second that are allowed in addition to the share.
    pub(super) per_second: u32,
}

impl RetryBudget {
    /// Creates a budget that has counted no requests.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            seconds: [Second::default(); SECONDS],
        }
    }

    /// Counts a request that began at the time `now`.
    pub(super) fn request(&mut self, now: Instant) {
        let second = self.second(now);
        second.requests = second.requests.saturating_add(1);
    }

    /// Returns whether a retry is allowed at the time `now`; if so, counts it.
    pub(super) fn retry(&mut self, allowance: Allowance, now: Instant) -> bool {
        let number = self.number(now);
        let is_recent = |second: &&Second| number - second.number.min(number) < SECONDS as u64;
        let (requests, retries) = self.seconds.iter().filter(is_recent).fold(
            (0_u64, 0_u64),
            |(requests, retries), second| {
                let requests = requests + u64::from(second.requests);
                (requests, retries + u64::from(second.retries))
            },
        );
        let requests = usize::try_from(requests).unwrap_or(usize::MAX);
        let shared = allowance.share.of(requests) as u64;
        if retries >= shared + u64::from(allowance.per_second) * SECONDS as u64 {
            return false;
        }
        let second = self.second(now);
        second.retries = second.retries.saturating_add(1);
        true
    }

    fn number(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_secs()
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        let number = self.number(now);
        let place = usize::try_from(number % SECONDS as u64).unwrap_or_default();
        let second = &mut self.seconds[place];
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn allowance(share: u8, per_second: u32) -> Allowance {
        Allowance {
            share: Percent::new(share),
            per_second,
        }
    }

    #[test]
    fn a_share_of_the_requests_and_some_a_second_besides_are_sent_again() {
        let now = Instant::now();
        let mut budget = RetryBudget::new(now);
        for _ in 0..50 {
            budget.request(now);
        }
        let mut granted = |allowance| (0..1000).filter(|_| budget.retry(allowance, now)).count();
        assert_eq!(granted(allowance(0, 0)), 0);
        assert_eq!(granted(allowance(20, 0)), 10);
        assert_eq!(granted(allowance(20, 0)), 0);
        assert_eq!(granted(allowance(20, 2)), 20);
    }

    #[test]
    fn what_is_ten_seconds_ago_counts_no_more() {
        let began = Instant::now();
        let mut budget = RetryBudget::new(began);
        for _ in 0..100 {
            budget.request(began);
        }
        let mut granted = |second| {
            let now = began + Duration::from_secs(second);
            let tries = 0..1000;
            tries
                .filter(|_| budget.retry(allowance(10, 1), now))
                .count()
        };
        assert_eq!([granted(0), granted(9)], [20, 0]);
        // Ten seconds later, neither the earlier requests nor their retries count any more.
        assert_eq!([granted(10), granted(19), granted(20)], [10, 0, 10]);
        assert_eq!(granted(1000), 10);
    }

    #[test]
    fn where_all_fails_load_grows_by_the_share_and_not_by_the_tries() {
        let began = Instant::now();
        let mut budget = RetryBudget::new(began);
        let (mut requests, mut sent) = (0_u32, 0_u32);
        for millisecond in (0..60_000).step_by(2) {
            let now = began + Duration::from_millis(millisecond);
            budget.request(now);
            requests += 1;
            sent += 1;
            for _ in 0..3 {
                sent += u32::from(budget.retry(allowance(20, 10), now));
            }
        }
        // In addition to 20 % of the requests, ten retries per second are allowed, and at the start
        // those of ten seconds at once.
        let most = f64::from(requests) * 1.2 + 10.0 * 70.0;
        let sent = f64::from(sent);
        assert!(sent <= most && sent > most - 200.0, "{sent} of {requests}");
    }

    proptest! {
        #[test]
        fn no_ten_seconds_have_more_retries_than_allowed(
            steps in vec((0..3_000_u64, 0..20_u32, 0..40_u32), 1..60),
            share in 0..=100_u8,
            per_second in 0..4_u32,
        ) {
            let began = Instant::now();
            let mut budget = RetryBudget::new(began);
            let mut at = 0;
            // For each step of the test: its second, the number of its requests, and the number of
            // its granted retries.
            let mut seen: Vec<(u64, u64, u64)> = Vec::new();
            for (pause, requests, tries) in steps {
                at += pause;
                let now = began + Duration::from_millis(at);
                for _ in 0..requests {
                    budget.request(now);
                }
                let tries = 0..tries;
                let allowance = allowance(share, per_second);
                let granted = tries.filter(|_| budget.retry(allowance, now)).count() as u64;
                let second = at / 1000;
                seen.push((second, u64::from(requests), granted));
                let recent = seen.iter().filter(|(when, ..)| second - when < 10);
                let (requests, retries) = recent.fold((0, 0), |sum, one| (sum.0 + one.1, sum.1 + one.2));
                let most = requests * u64::from(share) / 100 + u64::from(per_second) * 10;
                // Retries that were granted when there were more requests are not revoked.
                prop_assert!(granted == 0 || retries <= most, "{retries} of {requests}");
            }
        }
    }
}
