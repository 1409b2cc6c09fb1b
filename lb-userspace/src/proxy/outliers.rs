//! Outlier detection: backends that fail requests in a row are ejected for a while, whatever their
//! health checks report.
//!
//! Consecutive failures are counted over all workers and services, in one atomic counter for each
//! backend. The lock is taken only when a backend reaches the limit of failures, to decide whether
//! the pool can do without that backend. Time is an argument of every function.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::registry::Registry;
use crate::config::Outlier;

/// The failure records of the backends of a pool, by the backend's address.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    records: Registry<SocketAddr, FailureRecord>,
    /// Held while the ejection of a backend is decided.
    ejecting: Mutex<()>,
}

/// The failure record of one backend.
#[derive(Debug)]
pub(super) struct FailureRecord {
    /// The point in time from which `until` counts.
    epoch: Instant,
    /// Number of consecutive failed requests.
    failures: AtomicU32,
    /// When the last ejection ends or has ended, in nanoseconds since `epoch`; 0 if there was none.
    until: AtomicU64,
    /// Number of consecutive ejections.
    ejections: AtomicU32,
}

/// An ejection of a backend, as it is decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ejection {
    /// How long the backend is ejected.
    pub(super) time: Duration,
    /// Number of consecutive failed requests that caused the ejection.
    pub(super) failures: u32,
    /// Number of consecutive ejections, including this one.
    pub(super) ejections: u32,
}

impl Outliers {
    /// Returns the failure record of the backend with this address, and creates the record if there
    /// is none.
    pub(super) fn record(&self, backend: SocketAddr) -> Arc<FailureRecord> {
        self.records.get_or_create(&backend)
    }

    /// Returns the failure record of the backend with this address; `None` if no pool uses one.
    pub(super) fn get(&self, backend: SocketAddr) -> Option<Arc<FailureRecord>> {
        self.records.get(&backend)
    }

    /// Counts a failed request, and ejects the backend if it has reached the limit of failures in
    /// `rules` and the pool can do without it; returns the ejection if so. `pool` returns the
    /// failure records of all backends, each with whether that backend takes new requests,
    /// ejections aside.
    pub(super) fn failed(
        &self,
        backend: &Arc<FailureRecord>,
        rules: &Outlier,
        pool: impl FnOnce() -> Vec<(Arc<FailureRecord>, bool)>,
        now: Instant,
    ) -> Option<Ejection> {
        // A backend that is ejected already: the request was sent before the ejection, and its
        // result came late, so the result is not counted.
        if backend.is_ejected(now) {
            return None;
        }
        let failures = backend.failures.fetch_add(1, Relaxed).saturating_add(1);
        if failures < rules.consecutive_failures {
            return None;
        }
        let _ejecting = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        if backend.is_ejected(now) || !can_spare(&pool(), backend, rules, now) {
            return None;
        }
        Some(backend.eject(rules, failures, now))
    }
}

/// Returns whether the pool can do without a backend, so that it may be ejected: another backend
/// takes requests, and fewer backends are ejected than `rules` allow (at least one is always
/// allowed).
fn can_spare(
    pool: &[(Arc<FailureRecord>, bool)],
    backend: &Arc<FailureRecord>,
    rules: &Outlier,
    now: Instant,
) -> bool {
    let ejected = pool.iter().filter(|(one, _)| one.is_ejected(now)).count();
    let takes_requests = |(one, up): &(Arc<FailureRecord>, bool)| {
        *up && !Arc::ptr_eq(one, backend) && !one.is_ejected(now)
    };
    ejected < rules.max_ejected.of(pool.len()).max(1) && pool.iter().any(takes_requests)
}

impl Default for FailureRecord {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            failures: AtomicU32::new(0),
            until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
        }
    }
}

impl FailureRecord {
    /// Notes that a request succeeded, which ends a series of consecutive failures.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Returns whether the backend is ejected at the time `now`.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejection_end().is_some_and(|end| now < end)
    }

    /// Returns when the last ejection ends or has ended; `None` if the backend was never ejected.
    pub(super) fn ejection_end(&self) -> Option<Instant> {
        match self.until.load(Relaxed) {
            0 => None,
            nanoseconds => Some(self.epoch + Duration::from_nanos(nanoseconds)),
        }
    }

    /// Ejects the backend, for longer with each consecutive ejection. For each `ejection_time` that
    /// passes without an ejection, the number of consecutive ejections is reduced by one.
    fn eject(&self, rules: &Outlier, failures: u32, now: Instant) -> Ejection {
        let quiet = self.ejection_end().map(|end| now.duration_since(end));
        let forgiven = quiet.map_or(u128::MAX, |quiet| {
            quiet.as_nanos() / rules.ejection_time.as_nanos().max(1)
        });
        let forgiven = u32::try_from(forgiven).unwrap_or(u32::MAX);
        let ejections = self.ejections.load(Relaxed).saturating_sub(forgiven) + 1;
        let time = rules.ejection_time.saturating_mul(ejections);
        let time = time.min(rules.max_ejection_time);
        let until = (now + time).duration_since(self.epoch).as_nanos();
        self.ejections.store(ejections, Relaxed);
        self.failures.store(0, Relaxed);
        let until = u64::try_from(until).unwrap_or(u64::MAX);
        self.until.store(until, Relaxed);
        Ejection {
            time,
            failures,
            ejections,
        }
    }
}

#[cfg(test)]
#[path = "outliers_tests.rs"]
mod tests;
