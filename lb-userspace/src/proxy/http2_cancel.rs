//! Limits the requests that HTTP/2 clients cancel.
//!
//! A cancelled request has already cost its backend work. A client that cancels most of its
//! requests makes backends work for nothing (CVE-2023-44487, "rapid reset"), however it paces its
//! resets: its connection is ended.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// How many requests a client may cancel beyond the number that it completes. Leaving a page with
/// many images while it loads cancels some dozens.
const ALLOWANCE: u32 = 100;
/// One more cancellation is allowed for each interval of this length, for clients whose requests
/// are all long and end by cancellation.
const REGAINED_EVERY: Duration = Duration::from_secs(1);
/// How long the front waits for the response to a cancelled request, so that the request's
/// connection to the backend can be reused.
pub(super) const DRAIN_FOR: Duration = Duration::from_millis(250);
/// Limit of the bytes that are read and discarded of the response to a cancelled request.
pub(super) const DRAIN_BYTES: usize = 64 * 1024;
/// Limit of the number of responses to cancelled requests that one connection waits for at a time.
const DRAINS: usize = 16;

/// The count of cancelled requests of one HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Cancellations {
    left: Cell<u32>,
    /// Whether the client ever cancelled more requests than allowed; never reset to false.
    too_many: Cell<bool>,
    regained: Cell<Instant>,
    drains: Cell<usize>,
}

impl Cancellations {
    /// Creates the state of a connection on which no request was cancelled.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: Cell::new(ALLOWANCE),
            too_many: Cell::new(false),
            regained: Cell::new(now),
            drains: Cell::new(0),
        }
    }

    /// Records that a request was completed, which allows one more cancellation.
    pub(super) fn completed(&self) {
        self.gain(1);
    }

    /// Records that a request was cancelled at the time `now`.
    pub(super) fn cancelled(&self, now: Instant) {
        let periods = now.duration_since(self.regained.get()).as_secs() / REGAINED_EVERY.as_secs();
        if let Ok(periods @ 1..) = u32::try_from(periods) {
            self.gain(periods);
            self.regained.set(now);
        }
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        self.too_many.set(self.too_many.get() || left == 0);
    }

    /// Returns whether the client cancelled so many requests that the tasks of open streams must
    /// record their cancellations before each new request.
    pub(super) fn are_many(&self) -> bool {
        self.left.get() <= ALLOWANCE / 2
    }

    /// Returns whether the client ever cancelled more requests than allowed.
    pub(super) fn are_too_many(&self) -> bool {
        self.too_many.get()
    }

    /// Reserves the right to wait for the response to a cancelled request, until the guard that is
    /// returned is dropped; `None` if as many waits as allowed are in progress.
    pub(super) fn drain(&self) -> Option<Drain<'_>> {
        let drains = self.drains.get();
        if drains >= DRAINS {
            return None;
        }
        self.drains.set(drains + 1);
        Some(Drain(&self.drains))
    }

    fn gain(&self, count: u32) {
        let left = self.left.get().saturating_add(count);
        self.left.set(left.min(ALLOWANCE));
    }
}

/// Guard of one wait for the response to a cancelled request; it counts towards the limit of waits
/// until dropped.
#[derive(Debug)]
pub(super) struct Drain<'a>(&'a Cell<usize>);

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_back_nearly_everything_is_found_out() {
        let now = Instant::now();
        let cancellations = Cancellations::new(now);
        let mut asked = 0;
        while !cancellations.are_too_many() {
            for _ in 0..9 {
                cancellations.cancelled(now);
            }
            cancellations.completed();
            asked += 10;
        }
        assert!((100..150).contains(&asked), "{asked}");
    }

    #[test]
    fn a_client_that_lets_half_be_answered_may_go_on() {
        let now = Instant::now();
        let cancellations = Cancellations::new(now);
        for _ in 0..10_000 {
            cancellations.cancelled(now);
            cancellations.completed();
        }
        assert!(!cancellations.are_too_many());
    }

    #[test]
    fn requests_that_are_long_may_all_be_taken_back() {
        let began = Instant::now();
        let cancellations = Cancellations::new(began);
        for second in 0..10_000 {
            cancellations.cancelled(began + second * REGAINED_EVERY);
        }
        assert!(!cancellations.are_too_many());
    }

    #[test]
    fn few_are_waited_for_at_once() {
        let cancellations = Cancellations::new(Instant::now());
        let drains: Vec<_> = (0..DRAINS).map(|_| cancellations.drain()).collect();
        assert!(drains.iter().all(Option::is_some));
        assert!(cancellations.drain().is_none());
        drop(drains);
        assert!(cancellations.drain().is_some());
    }
}
