//! Outlier detection: backends that fail requests in a row are ejected for a while, whatever their
//! health checks report.
//!
//! Consecutive failures are counted over all workers and services, in one atomic for each backend.
//! The lock is taken only when a backend reaches the limit, to decide whether the pool can spare
//! it. Time is an argument.

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

/// The failure records of a pool's backends.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    records: Registry<SocketAddr, FailureRecord>,
    /// Held while a backend is being ejected.
    ejecting: Mutex<()>,
}

/// The failure record of one backend.
#[derive(Debug)]
pub(super) struct FailureRecord {
    /// The reference point of `until`.
    epoch: Instant,
    /// Consecutive failures.
    failures: AtomicU32,
    /// The end of the last ejection, in nanoseconds since `epoch`; 0 if there was none.
    until: AtomicU64,
    /// Consecutive ejections.
    ejections: AtomicU32,
}

/// An ejection of a backend.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ejection {
    /// Its duration.
    pub(super) time: Duration,
    /// Consecutive failures that caused it.
    pub(super) failures: u32,
    /// Consecutive ejections, including this one.
    pub(super) ejections: u32,
}

impl Outliers {
    /// Returns the failure record of a backend, and creates it if there is none.
    pub(super) fn record(&self, backend: SocketAddr) -> Arc<FailureRecord> {
        self.records.get_or_create(&backend)
    }

    /// Returns the record of a backend if one is in use.
    pub(super) fn get(&self, backend: SocketAddr) -> Option<Arc<FailureRecord>> {
        self.records.get(&backend)
    }

    /// Counts a failed request, and ejects the backend if it has reached the limit of `rules` and
    /// the pool can spare it. `pool` returns the records of all backends, and whether each takes
    /// new requests, ejections aside.
    pub(super) fn failed(
        &self,
        backend: &Arc<FailureRecord>,
        rules: &Outlier,
        pool: impl FnOnce() -> Vec<(Arc<FailureRecord>, bool)>,
        now: Instant,
    ) -> Option<Ejection> {
        // A late result of a request sent before the ejection.
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

/// Returns whether a backend may be ejected: another backend takes requests, and fewer backends are
/// ejected than `rules` allow (at least one is always allowed).
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
    /// Records a request that succeeded.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Returns whether the backend is ejected.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejection_end().is_some_and(|end| now < end)
    }

    /// Returns the end of the last ejection; `None` if there was none.
    pub(super) fn ejection_end(&self) -> Option<Instant> {
        match self.until.load(Relaxed) {
            0 => None,
            nanoseconds => Some(self.epoch + Duration::from_nanos(nanoseconds)),
        }
    }

    /// Ejects the backend, for longer with each consecutive ejection. Each `ejection_time` that
    /// passes without an ejection reduces the count of consecutive ejections by one.
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
