//! Requests that HTTP/2 clients take back.
//!
//! A request that is taken back has cost its backend something already. A client that takes back
//! most of what it asks has its backends work for nothing (CVE-2023-44487, "rapid reset"), however
//! it paces its resets: its connection is ended.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// How many requests more than it lets be answered a client may take back. A page with many images
/// that is left while it loads takes back some dozens.
const ALLOWANCE: u32 = 100;
/// Each such time one more may be taken back, for clients whose requests are all long and end by
/// being taken back.
const REGAINED_EVERY: Duration = Duration::from_secs(1);
/// For how long the response to a request that was taken back is waited for, so that its connection
/// to the backend can be kept.
pub(super) const DRAIN_FOR: Duration = Duration::from_millis(250);
/// How much of such a response is read.
pub(super) const DRAIN_BYTES: usize = 64 * 1024;
/// How many requests of one connection are waited for in that way.
const DRAINS: usize = 16;

/// What one connection took back.
#[derive(Debug)]
pub(super) struct Cancellations {
    left: Cell<u32>,
    /// Once there were too many it stays so.
    too_many: Cell<bool>,
    regained: Cell<Instant>,
    drains: Cell<usize>,
}

impl Cancellations {
    /// None yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: Cell::new(ALLOWANCE),
            too_many: Cell::new(false),
            regained: Cell::new(now),
            drains: Cell::new(0),
        }
    }

    /// A request was answered.
    pub(super) fn answered(&self) {
        self.gain(1);
    }

    /// A request was taken back.
    pub(super) fn taken_back(&self, now: Instant) {
        let periods = now.duration_since(self.regained.get()).as_secs() / REGAINED_EVERY.as_secs();
        if let Ok(periods @ 1..) = u32::try_from(periods) {
            self.gain(periods);
            self.regained.set(now);
        }
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        self.too_many.set(self.too_many.get() || left == 0);
    }

    /// Whether the client took back so much that every request is worth a look at the others first.
    pub(super) fn are_many(&self) -> bool {
        self.left.get() <= ALLOWANCE / 2
    }

    /// Whether the client took back too much.
    pub(super) fn are_too_many(&self) -> bool {
        self.too_many.get()
    }

    /// Whether the response to one more request may be waited for; counts it until the result is
    /// dropped.
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

/// A request that was taken back and whose response is waited for.
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
                cancellations.taken_back(now);
            }
            cancellations.answered();
            asked += 10;
        }
        assert!((100..150).contains(&asked), "{asked}");
    }

    #[test]
    fn a_client_that_lets_half_be_answered_may_go_on() {
        let now = Instant::now();
        let cancellations = Cancellations::new(now);
        for _ in 0..10_000 {
            cancellations.taken_back(now);
            cancellations.answered();
        }
        assert!(!cancellations.are_too_many());
    }

    #[test]
    fn requests_that_are_long_may_all_be_taken_back() {
        let began = Instant::now();
        let cancellations = Cancellations::new(began);
        for second in 0..10_000 {
            cancellations.taken_back(began + second * REGAINED_EVERY);
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
