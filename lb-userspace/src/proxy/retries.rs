//! Decides whether a request is retried after a failed attempt.

use std::time::Duration;

use tokio::time::Instant;

use super::reason::Reason;

/// What is done after a failed attempt to send a request to a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Retry {
    /// The request is not retried: the client gets the failure.
    No,
    /// The request is retried at the same backend over a new connection: a reused connection
    /// failed, which shows nothing about the backend.
    SameBackend,
    /// The request is retried at a backend that was not tried yet.
    OtherBackend,
    /// The request is not retried, because the retry budget is exhausted.
    OverBudget,
}

/// How often one request was retried, and how often it may be.
#[derive(Debug)]
pub(super) struct Retries {
    /// How often a request may be retried, as the pool's `retries` says.
    allowed: u8,
    /// Number of retries so far that count against `allowed`.
    used: u8,
    /// How long, from the first refused connection on, the request may be sent to another backend.
    refusals_for: Duration,
    refused_since: Option<Instant>,
    /// Whether a reused connection turned out to be closed: from then on, the request uses no idle
    /// connection.
    stale: bool,
}

impl Retries {
    /// Creates the state for a request to a pool with `allowed` retries. If backends refuse the
    /// connection, the request is sent to another backend until `refusals_for` after the first
    /// refusal.
    pub(super) fn new(allowed: u8, refusals_for: Duration) -> Self {
        Self {
            allowed,
            used: 0,
            refusals_for,
            refused_since: None,
            stale: false,
        }
    }

    /// Returns whether the next attempts must open a new connection instead of using an idle one.
    pub(super) fn only_new_connections(&self) -> bool {
        self.stale
    }

    /// Decides whether a request is retried after a failure. `reused`: the failed attempt used an
    /// idle connection of the pool. `harmless`: the request is idempotent (RFC 9110 §9.2.2) and its
    /// body can still be sent completely. `budget` is called before a retry that gives a backend
    /// additional work, and returns whether the retry budget allows the retry.
    pub(super) fn after(
        &mut self,
        failure: Reason,
        (reused, harmless): (bool, bool),
        budget: impl FnOnce() -> bool,
        now: Instant,
    ) -> Retry {
        match failure {
            // Each backend is tried at most once, and a refused connection costs next to nothing:
            // only the total time of refusals is limited, for pools of thousands of backends.
            Reason::BackendConnectRefused
            | Reason::BackendConnectUnreachable
            | Reason::BackendConnectDown
                if self.allowed > 0 =>
            {
                let since = *self.refused_since.get_or_insert(now);
                if now.duration_since(since) < self.refusals_for {
                    Retry::OtherBackend
                } else {
                    Retry::No
                }
            }
            Reason::BackendResponseHeadClosed | Reason::BackendResponseHeadReset
                if harmless && reused =>
            {
                self.stale = true;
                Retry::SameBackend
            }
            Reason::BackendConnectTimeout => self.use_one(budget),
            Reason::BackendResponseHeadClosed
            | Reason::BackendResponseHeadReset
            | Reason::BackendResponseHeadDown
                if harmless =>
            {
                self.use_one(budget)
            }
            _ => Retry::No,
        }
    }

    fn use_one(&mut self, budget: impl FnOnce() -> bool) -> Retry {
        if self.used == self.allowed {
            return Retry::No;
        }
        if !budget() {
            return Retry::OverBudget;
        }
        self.used += 1;
        Retry::OtherBackend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    /// Returns true, as a retry budget that has retries left does.
    fn full() -> bool {
        true
    }

    fn empty() -> bool {
        false
    }

    #[test]
    fn refusals_are_passed_over_until_the_time_is_over() {
        let mut retries = Retries::new(1, LIMIT);
        let began = Instant::now();
        for step in 0..20 {
            let now = began + step * LIMIT / 20;
            let next = retries.after(Reason::BackendConnectRefused, (false, false), empty, now);
            assert_eq!(next, Retry::OtherBackend, "{step}");
        }
        let next = retries.after(
            Reason::BackendConnectRefused,
            (false, true),
            full,
            began + LIMIT,
        );
        assert_eq!(next, Retry::No);
    }

    #[test]
    fn failures_after_sending_are_counted_and_need_a_harmless_request() {
        for failure in [
            Reason::BackendResponseHeadClosed,
            Reason::BackendResponseHeadReset,
            Reason::BackendResponseHeadDown,
        ] {
            let mut retries = Retries::new(2, LIMIT);
            let mut after =
                |harmless| retries.after(failure, (false, harmless), full, Instant::now());
            assert_eq!(after(false), Retry::No);
            assert_eq!(after(true), Retry::OtherBackend);
            assert_eq!(after(true), Retry::OtherBackend);
            assert_eq!(after(true), Retry::No);
        }
    }

    #[test]
    fn a_dead_kept_connection_is_not_counted_and_makes_the_next_ones_new() {
        let mut retries = Retries::new(0, LIMIT);
        assert!(!retries.only_new_connections());
        let stale = retries.after(
            Reason::BackendResponseHeadClosed,
            (true, true),
            empty,
            Instant::now(),
        );
        assert_eq!(stale, Retry::SameBackend);
        assert!(retries.only_new_connections());
        let sent_twice = retries.after(
            Reason::BackendResponseHeadClosed,
            (true, false),
            full,
            Instant::now(),
        );
        assert_eq!(sent_twice, Retry::No);
    }

    #[test]
    fn an_empty_budget_ends_retries_that_give_backends_more_work() {
        for failure in [
            Reason::BackendConnectTimeout,
            Reason::BackendResponseHeadClosed,
            Reason::BackendResponseHeadDown,
        ] {
            let mut retries = Retries::new(2, LIMIT);
            let next = retries.after(failure, (false, true), empty, Instant::now());
            assert_eq!(next, Retry::OverBudget, "{failure:?}");
            let next = retries.after(failure, (false, true), full, Instant::now());
            assert_eq!(next, Retry::OtherBackend, "{failure:?}");
        }
        // If the pool allows no retries, the retry budget is not asked.
        let mut retries = Retries::new(0, LIMIT);
        let closed = Reason::BackendResponseHeadClosed;
        let next = retries.after(closed, (false, true), empty, Instant::now());
        assert_eq!(next, Retry::No);
    }

    #[test]
    fn without_retries_no_other_backend_is_tried() {
        let mut retries = Retries::new(0, LIMIT);
        for failure in [
            Reason::BackendConnectRefused,
            Reason::BackendConnectTimeout,
            Reason::BackendResponseHeadDown,
        ] {
            let next = retries.after(failure, (false, true), full, Instant::now());
            assert_eq!(next, Retry::No, "{failure:?}");
        }
    }

    #[test]
    fn what_no_other_backend_can_cure_is_not_tried_again() {
        let mut retries = Retries::new(3, LIMIT);
        for failure in [
            Reason::BackendResponseHeadTimeout,
            Reason::LbConnectNoDescriptor,
            Reason::BackendResponseHeadMalformed,
            Reason::BackendResponseHeadIncomplete,
            Reason::ClientResponseHeadClosed,
            Reason::BackendResponseBodyClosed,
        ] {
            let next = retries.after(failure, (true, true), full, Instant::now());
            assert_eq!(next, Retry::No, "{failure:?}");
        }
    }
}
