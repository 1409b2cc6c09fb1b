//! What all workers and services share of a pool.

use std::{
    collections::HashMap,
    net::SocketAddr,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Error, gate::Gate, outliers::Outliers, registry::Registry, sessions::SessionKey};
use crate::config::{Name, Pool};

/// What all workers and services share of one pool.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// What its cookies are signed with; `None`: it has none.
    pub(super) session_key: Option<Arc<SessionKey>>,
    /// Where its requests are counted and wait; `None`: they are not limited.
    pub(super) gate: Option<Arc<Gate>>,
    /// Where failures are counted; `None`: no backend is ejected.
    pub(super) outliers: Option<Arc<Outliers>>,
    /// The part of one worker of its retries a second.
    pub(super) retries_per_second: u32,
}

/// The same of every pool, from one configuration to the next.
#[derive(Debug)]
pub(super) struct AllShares {
    workers: NonZeroUsize,
    gates: Registry<Name, Gate>,
    outliers: Registry<Name, Outliers>,
}

impl AllShares {
    /// For that many workers.
    pub(super) fn new(workers: NonZeroUsize) -> Self {
        Self {
            workers,
            gates: Registry::default(),
            outliers: Registry::default(),
        }
    }

    /// Those of a pool.
    ///
    /// # Errors
    /// Its key for cookies cannot be used.
    pub(super) fn of(&self, pool: &Pool) -> Result<Shares, Error> {
        let per_request = &pool.per_request;
        let gate = per_request.limit.map(|_limit| self.gates.of(&pool.name));
        let outlier = per_request.outlier.as_ref();
        Ok(Shares {
            session_key: SessionKey::of(pool)?.map(Arc::new),
            gate,
            outliers: outlier.map(|_rules| self.outliers.of(&pool.name)),
            retries_per_second: self.part_of(per_request.retry_budget.per_second),
        })
    }

    /// The part of one worker of what all may do: at least one, so that each may do something.
    fn part_of(&self, all: u32) -> u32 {
        let workers = u32::try_from(self.workers.get()).unwrap_or(u32::MAX);
        all.div_ceil(workers)
    }

    /// What backends of a pool do now.
    pub(super) fn usage(&self, pool: &Pool, now: Instant) -> PoolUsage {
        let gate = self.gates.held(&pool.name);
        let outliers = self.outliers.held(&pool.name);
        let backends = pool.backends.iter().map(|backend| {
            let address = backend.address;
            let slots = gate.as_ref().and_then(|gate| gate.held(address));
            let record = outliers.as_ref().and_then(|all| all.held(address));
            let ejection_end = record.and_then(|record| record.ejection_end());
            let usage = BackendUsage {
                in_use: slots.map_or(0, |slots| slots.in_use()),
                ejected_for: ejection_end
                    .map(|end| end.saturating_duration_since(now))
                    .filter(|left| !left.is_zero()),
            };
            (address, usage)
        });
        PoolUsage {
            backends: backends.collect(),
            queued: gate.as_ref().map_or(0, |gate| gate.waiting()),
        }
    }
}

/// What the backends of one pool do now, for all services of the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolUsage {
    /// Requests that wait for a backend; 0 where the pool has no limit.
    pub queued: usize,
    /// Each backend.
    pub backends: HashMap<SocketAddr, BackendUsage>,
}

/// What one backend does now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BackendUsage {
    /// Requests under way that count against the pool's limit; 0 where it has none.
    pub in_use: usize,
    /// How long it is still ejected; `None`: it is not.
    pub ejected_for: Option<Duration>,
}
