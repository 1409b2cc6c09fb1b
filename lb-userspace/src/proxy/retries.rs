//! Whether a request is sent again after an attempt that failed.

use std::time::Duration;

use tokio::time::Instant;

use super::reason::Reason;

/// What to do after an attempt that failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Retry {
    /// Nothing: the client gets the failure.
    No,
    /// The same backend once more, over a new connection: the connection that failed was kept from
    /// an earlier request, and its end says nothing about the backend.
    SameBackend,
    /// A backend that was not tried yet.
    OtherBackend,
    /// Nothing, for the budget has nothing left.
    OverBudget,
}

/// What may still be tried for one request.
#[derive(Debug)]
pub(super) struct Retries {
    /// The pool's `retries`.
    allowed: u8,
    /// How many of them are used up.
    used: u8,
    /// For how long backends that refuse the connection are passed over.
    refusals_for: Duration,
    refused_since: Option<Instant>,
    /// Whether a kept connection was found dead: no other kept one is tried after that.
    stale: bool,
}

impl Retries {
    /// For a request to a pool with that many `retries`. Backends that refuse the connection are
    /// passed over for `refusals_for` after the first one.
    pub(super) fn new(allowed: u8, refusals_for: Duration) -> Self {
        Self {
            allowed,
            used: 0,
            refusals_for,
            refused_since: None,
            stale: false,
        }
    }

    /// Whether only new connections are used from here on.
    pub(super) fn only_new_connections(&self) -> bool {
        self.stale
    }

    /// Decides after a failure. `reused`: the connection was kept from an earlier request.
    /// `harmless`: the request may be sent twice (RFC 9110 §9.2.2) and is still complete. `budget` is
    /// asked before a backend is given more work than it would have without retries.
    pub(super) fn after(
        &mut self,
        failure: Reason,
        (reused, harmless): (bool, bool),
        budget: impl FnOnce() -> bool,
        now: Instant,
    ) -> Retry {
        match failure {
            // Each backend is tried once, and a refusal costs it and us next to nothing: only the
            // time is bounded, for pools of thousands.
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

    /// A budget that has something left.
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
        // Where there would be none anyway, the budget has no part in it.
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
