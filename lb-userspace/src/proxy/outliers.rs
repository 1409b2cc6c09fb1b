//! Backends that fail requests in a row are ejected for a while, whatever their checks say.
//!
//! Failures in a row are counted for all workers and services together, with an atomic for each
//! backend. The lock is taken where a backend has as many as it may have, to judge whether the pool can
//! do without it. Time is an argument.

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

/// What is known of the backends of one pool.
#[derive(Debug, Default)]
pub(super) struct Outliers {
    records: Registry<SocketAddr, FailureRecord>,
    /// Held while a backend is ejected.
    ejecting: Mutex<()>,
}

/// What is known of one backend.
#[derive(Debug)]
pub(super) struct FailureRecord {
    /// What times are counted from.
    epoch: Instant,
    /// Failures since the last success.
    failures: AtomicU32,
    /// The end of the last ejection, in nanoseconds since the epoch; 0: there was none.
    until: AtomicU64,
    /// How many ejections there were in a row.
    ejections: AtomicU32,
}

/// A backend was ejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ejection {
    /// For how long.
    pub(super) time: Duration,
    /// How many failures in a row it had.
    pub(super) failures: u32,
    /// How many ejections in a row this one makes.
    pub(super) ejections: u32,
}

impl Outliers {
    /// The record of a backend.
    pub(super) fn record(&self, backend: SocketAddr) -> Arc<FailureRecord> {
        self.records.get_or_create(&backend)
    }

    /// The record of a backend that a pool has.
    pub(super) fn get(&self, backend: SocketAddr) -> Option<Arc<FailureRecord>> {
        self.records.get(&backend)
    }

    /// A backend failed a request: counts it, and ejects the backend where that makes as many in a row
    /// as `rules` say, and the pool can do without it. `pool` is asked for all its backends, and whether
    /// each takes new requests, ejections apart.
    pub(super) fn failed(
        &self,
        backend: &Arc<FailureRecord>,
        rules: &Outlier,
        pool: impl FnOnce() -> Vec<(Arc<FailureRecord>, bool)>,
        now: Instant,
    ) -> Option<Ejection> {
        // What comes late of the requests that it had.
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

/// Whether a backend may be ejected: another one takes requests, and fewer are ejected than may be,
/// which is one at least.
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
    /// The backend answered a request as it should.
    pub(super) fn succeeded(&self) {
        if self.failures.load(Relaxed) > 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// Whether it is ejected.
    pub(super) fn is_ejected(&self, now: Instant) -> bool {
        self.ejection_end().is_some_and(|end| now < end)
    }

    /// The end of its last ejection; `None`: there was none.
    pub(super) fn ejection_end(&self) -> Option<Instant> {
        match self.until.load(Relaxed) {
            0 => None,
            nanoseconds => Some(self.epoch + Duration::from_nanos(nanoseconds)),
        }
    }

    /// Ejections in a row last longer each time. Each time that a backend is there for `ejection_time`
    /// makes up for one.
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
