//! The metrics of pools and their backends.

use std::{fmt, time::Duration};

use lb_common::backend::BackendState;

use super::state_name;
use crate::{
    config::Name,
    metrics::{Collector, DescriptorEncoder, Samples, families, flag},
};

families! {
    BACKEND_UP: Gauge "lb_backend_up" ["pool", "backend"]
        "1 while a backend gets new connections, 0 while it is draining or down.";
    BACKEND_STATE: Gauge "lb_backend_state" ["pool", "backend", "state"]
        "1 for the current state of a backend, 0 for the other states.";
    BACKEND_EJECTED: Gauge "lb_backend_ejected" ["pool", "backend"]
        "1 while a backend is ejected for failing requests, 0 otherwise.";
    BACKEND_CHECK: Gauge "lb_backend_check_seconds" ["pool", "backend"]
        "Duration of the last health check of a backend, in seconds.";
    POOL_ALL_DOWN: Gauge "lb_pool_all_down" ["pool"]
        "1 while no backend of a pool is up, 0 otherwise.";
}

/// The pools and their backends at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct PoolMetrics {
    /// The state of each backend of all pools.
    pub backends: Vec<BackendReading>,
    /// The name of each pool, with true if none of its backends is up.
    pub pools: Vec<(Name, bool)>,
}

/// The state of one backend of a pool, for the metrics.
#[derive(Clone, Debug)]
pub struct BackendReading {
    /// The name of the pool.
    pub pool: Name,
    /// The name of the backend.
    pub backend: Name,
    /// The state that the backend is in: `up`, `draining` or `down`.
    pub state: BackendState,
    /// Whether the backend is ejected for failing requests; `None` for a pool without outlier
    /// ejection.
    pub ejected: Option<bool>,
    /// Duration of the last health check; `None` before the first check, and in a pool without
    /// checks.
    pub check: Option<Duration>,
}

impl Collector for PoolMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let states = [BackendState::Up, BackendState::Draining, BackendState::Down].map(state_name);
        let mut up = Samples::begin(encoder, &BACKEND_UP)?;
        for one in &self.backends {
            up.gauge(&one.labels(), flag(one.state == BackendState::Up))?;
        }
        let mut state = Samples::begin(encoder, &BACKEND_STATE)?;
        for one in &self.backends {
            state.state(&one.labels(), &states, state_name(one.state))?;
        }
        let mut ejected = Samples::begin(encoder, &BACKEND_EJECTED)?;
        for one in &self.backends {
            if let Some(is_ejected) = one.ejected {
                ejected.gauge(&one.labels(), flag(is_ejected))?;
            }
        }
        let mut check = Samples::begin(encoder, &BACKEND_CHECK)?;
        for one in &self.backends {
            if let Some(duration) = one.check {
                check.gauge(&one.labels(), duration.as_secs_f64())?;
            }
        }
        let mut all_down = Samples::begin(encoder, &POOL_ALL_DOWN)?;
        for (pool, is_down) in &self.pools {
            all_down.gauge(&[pool.as_str()], flag(*is_down))?;
        }
        Ok(())
    }
}

impl BackendReading {
    fn labels(&self) -> [&str; 2] {
        [self.pool.as_str(), self.backend.as_str()]
    }
}
