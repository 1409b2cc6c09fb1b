//! The state of a pool that all workers and services share.

use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Error, admission_control::AdmissionControl, outliers::Outliers, registry::Registry,
    sticky::SessionKey,
};
use crate::config::{Name, Pool};

/// The state of one pool that all workers and services share.
#[derive(Clone, Debug)]
pub(super) struct SharedPool {
    /// The key of session cookies; `None` if the pool has no sticky sessions.
    pub(super) session_key: Option<Arc<SessionKey>>,
    /// Limits and queues requests; `None` if the pool does not limit requests in flight.
    pub(super) admission: Option<Arc<AdmissionControl>>,
    /// Records the failures of backends; `None` if the pool ejects no backends.
    pub(super) outliers: Option<Arc<Outliers>>,
    /// The retries per second that the pool allows each worker, apart from a share of its requests.
    pub(super) retries_per_second: u32,
}

/// The state of all pools that workers and services share, which outlives a change of
/// configuration.
#[derive(Debug)]
pub(super) struct SharedPools {
    workers: NonZeroUsize,
    admissions: Registry<Name, AdmissionControl>,
    outliers: Registry<Name, Outliers>,
}

impl SharedPools {
    /// Creates the shared state of a process with this number of workers, which has no pools yet.
    pub(super) fn new(workers: NonZeroUsize) -> Self {
        Self {
            workers,
            admissions: Registry::default(),
            outliers: Registry::default(),
        }
    }

    /// Returns the state of a pool that all workers and services share.
    ///
    /// # Errors
    /// The key of the pool's session cookies cannot be used.
    pub(super) fn of(&self, pool: &Pool) -> Result<SharedPool, Error> {
        let per_request = &pool.per_request;
        let admission = per_request
            .limit
            .map(|_limit| self.admissions.get_or_create(&pool.name));
        let outlier = per_request.outlier.as_ref();
        Ok(SharedPool {
            session_key: SessionKey::of(pool)?.map(Arc::new),
            admission,
            outliers: outlier.map(|_rules| self.outliers.get_or_create(&pool.name)),
            retries_per_second: self.part_of(per_request.retry_budget.per_second),
        })
    }

    /// Returns each worker's part of a limit `all` of the whole process, rounded up: at least one
    /// (if `all` is not 0), so that no worker is without a part.
    fn part_of(&self, all: u32) -> u32 {
        let workers = u32::try_from(self.workers.get()).unwrap_or(u32::MAX);
        all.div_ceil(workers)
    }

    /// Returns the current usage of a pool and its backends.
    pub(super) fn usage(&self, pool: &Pool, now: Instant) -> PoolUsage {
        let admission = self.admissions.get(&pool.name);
        let outliers = self.outliers.get(&pool.name);
        let backends = pool.backends.iter().map(|backend| {
            let address = backend.address;
            let in_flight = admission
                .as_ref()
                .and_then(|admission| admission.get(address));
            let record = outliers.as_ref().and_then(|all| all.get(address));
            let ejection_end = record.and_then(|record| record.ejection_end());
            let usage = BackendUsage {
                in_use: in_flight.map_or(0, |in_flight| in_flight.in_use()),
                ejected_for: ejection_end
                    .map(|end| end.saturating_duration_since(now))
                    .filter(|left| !left.is_zero()),
            };
            (address, usage)
        });
        PoolUsage {
            backends: backends.collect(),
            queued: admission
                .as_ref()
                .map_or(0, |admission| admission.waiting()),
        }
    }
}

/// The current usage of one pool, by requests of all services of the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolUsage {
    /// Number of queued requests; 0 if the pool does not limit requests in flight.
    pub queued: usize,
    /// The usage of each backend, by the backend's address.
    pub backends: HashMap<SocketAddr, BackendUsage>,
}

/// The current usage of one backend.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BackendUsage {
    /// Number of requests in flight that count against the pool's limit; 0 if the pool has no
    /// limit.
    pub in_use: usize,
    /// How much longer the backend is ejected; `None` if it is not ejected.
    pub ejected_for: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    fn pool(lines: &str) -> Arc<Pool> {
        let text = format!(
            "[node]\nname = \"lb\"\ninterface = \"lo\"\n[[pool]]\nname = \"web\"\n\
             backends = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\n{lines}\n[[service]]\nname = \"web\"\n\
             listen = \"127.0.0.1:80\"\nmode = \"http\"\npool = \"web\"\n"
        );
        let parsed = Config::parse(Path::new("lb.toml"), &text).expect("a good file");
        Arc::clone(&parsed.config.pools[0])
    }

    fn all(workers: usize) -> SharedPools {
        SharedPools::new(NonZeroUsize::new(workers).expect("not 0"))
    }

    #[test]
    fn what_a_pool_shares_is_kept_over_reloads_and_released_with_its_last_request() {
        let (all, now) = (all(2), Instant::now());
        let limited = pool("max_connections = 1\noutlier = {}");
        let shared = all.of(&limited).expect("usable keys");
        let admission = Arc::clone(shared.admission.as_ref().expect("an admission control"));
        let address = limited.backends[0].address;
        let permit = admission
            .try_acquire(&admission.in_flight(address), 1)
            .expect("a permit");
        drop(admission);
        let in_use = || all.usage(&limited, now).backends[&address].in_use;
        assert_eq!(in_use(), 1);
        // One reload of the configuration removes the limit of requests in flight, and another
        // reload restores it.
        let unlimited = all.of(&pool("")).expect("usable keys");
        assert!(unlimited.admission.is_none() && unlimited.outliers.is_none());
        drop(shared);
        assert_eq!(in_use(), 1, "its request is still under way");
        let again = all.of(&limited).expect("usable keys");
        let admission = again.admission.as_ref().expect("an admission control");
        assert!(
            admission
                .try_acquire(&admission.in_flight(address), 1)
                .is_none()
        );
        drop(again);
        assert!(all.admissions.get(&limited.name).is_some());
        drop(permit);
        assert!(all.admissions.get(&limited.name).is_none());
        assert!(all.outliers.get(&limited.name).is_none());
    }

    #[test]
    fn retries_a_second_are_divided_among_the_workers_and_each_has_one() {
        let part = |workers, lines| {
            let shared = all(workers).of(&pool(lines)).expect("usable keys");
            shared.retries_per_second
        };
        assert_eq!([part(1, ""), part(2, ""), part(64, "")], [10, 5, 1]);
        assert_eq!(part(4, "min_retries_per_second = 0"), 0);
    }
}
