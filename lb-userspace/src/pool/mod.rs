//! The state of the backends of pools: configuration, results of health checks, and operator
//! overrides.
//!
//! [`BackendRegistry`] is the state machine; a [`PoolView`] is its snapshot of one pool, for all
//! parts of the agent that choose backends; [`SavedStates`] are what outlives the agent.

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use lb_common::backend::BackendState;
use serde::{Deserialize, Serialize};

use crate::config::{self, Name, WhenAllDown};

mod metrics;
mod overrides;
mod registry;
mod state_file;

pub(crate) use metrics::FAMILIES as METRICS;
pub use metrics::{BackendReading, PoolMetrics};
pub use overrides::{Overrides, OverridesMessage, Stamp, StampedOverride};
pub use registry::{
    BackendRegistry, BackendStatus, Change, OverrideApplied, OverrideError, OverridesMerged,
};
pub use state_file::{SavedState, SavedStates, StateFile};

/// A read-only snapshot of a pool, shared by all parts of the agent that choose backends.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// The configuration of the pool.
    pub pool: Arc<config::Pool>,
    /// The state of each backend, in the order of `pool.backends`.
    pub states: Vec<BackendState>,
    /// The operator override of each backend, in the order of `pool.backends`.
    pub overrides: Vec<AdminState>,
    /// When each backend came up, or was added, while the agent was running, in the order of
    /// `pool.backends`; `None` for a backend that was up at the start of the agent.
    pub came_up: Vec<Option<SystemTime>>,
}

/// What happens to new connections to a pool of which no backend is up.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AllDown {
    /// New connections go to the backends that have no operator override.
    Trying,
    /// New connections are refused, because the configuration says so or all backends have an
    /// operator override.
    Refusing,
}

impl PoolView {
    /// Creates the snapshot of a pool whose backends are in these states and have no operator
    /// overrides.
    #[must_use]
    pub fn new(pool: Arc<config::Pool>, states: Vec<BackendState>) -> Self {
        Self {
            overrides: vec![AdminState::Ready; states.len()],
            came_up: vec![None; states.len()],
            pool,
            states,
        }
    }

    /// Returns what happens to new connections while no backend is up; `None` if a backend is up,
    /// or if a healthy backend is leaving the pool, which gets new connections in that case.
    #[must_use]
    pub fn all_down(&self) -> Option<AllDown> {
        let is_leaving = (0..self.states.len()).any(|index| self.is_healthy_and_leaving(index));
        if is_leaving || self.states.contains(&BackendState::Up) {
            return None;
        }
        let tries = self.pool.when_all_down == WhenAllDown::TryAll;
        Some(if tries && self.overrides.contains(&AdminState::Ready) {
            AllDown::Trying
        } else {
            AllDown::Refusing
        })
    }

    /// Returns the states that apply to new connections, in the order of `pool.backends`: the
    /// states of the backends, but `up` for backends that are used because no backend is up. These
    /// are healthy backends that are leaving the pool, so that a source can replace all backends at
    /// once, or else the backends that are tried.
    #[must_use]
    pub fn taken_states(&self) -> Vec<BackendState> {
        if self.states.contains(&BackendState::Up) {
            return self.states.clone();
        }
        let Some(all_down) = self.all_down() else {
            let states = self.states.iter().enumerate();
            let states = states.map(|(index, state)| match self.is_healthy_and_leaving(index) {
                true => BackendState::Up,
                false => *state,
            });
            return states.collect();
        };
        if all_down == AllDown::Refusing {
            return self.states.clone();
        }
        let backends = self.states.iter().zip(&self.overrides);
        let taken = backends.map(|(state, order)| match order {
            AdminState::Ready => BackendState::Up,
            AdminState::Drain | AdminState::Down => *state,
        });
        taken.collect()
    }

    /// Returns whether the backend with this index is healthy and is drained only because it is
    /// leaving the pool, not by an operator override.
    fn is_healthy_and_leaving(&self, index: usize) -> bool {
        self.pool.backends[index].leaving
            && self.states[index] == BackendState::Draining
            && self.overrides[index] == AdminState::Ready
    }
}

#[cfg(test)]
mod tests;

/// Identity of a backend: its pool and its address, which do not change when a reload renames the
/// backend.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BackendKey {
    /// Name of the backend's pool.
    pub pool: Name,
    /// Address and port of the backend.
    pub address: SocketAddr,
}

impl BackendKey {
    /// Returns the key of a backend of this pool.
    #[must_use]
    pub fn of(pool: &config::Pool, backend: &config::Backend) -> Self {
        Self {
            pool: pool.name.clone(),
            address: backend.address,
        }
    }
}

impl fmt::Display for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.pool, self.address)
    }
}

/// The operator override of a backend; of two overrides, the stricter one is greater.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// There is no override: health checks decide about the backend.
    #[default]
    Ready,
    /// The backend gets no new connections; its established connections continue.
    Drain,
    /// The backend gets no traffic at all.
    Down,
}

impl fmt::Display for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Down => "down",
        })
    }
}

/// Combines the result of health checks and the operator override. Failed checks take a draining
/// backend down, too, because it can no longer serve its established connections.
#[must_use]
pub fn combined_state(healthy: bool, order: AdminState) -> BackendState {
    match (healthy, order) {
        (false, _) | (_, AdminState::Down) => BackendState::Down,
        (true, AdminState::Drain) => BackendState::Draining,
        (true, AdminState::Ready) => BackendState::Up,
    }
}

/// Returns the name by which a state is shown in status, logs and metrics.
#[must_use]
pub fn state_name(state: BackendState) -> &'static str {
    match state {
        BackendState::Up => "up",
        BackendState::Draining => "draining",
        BackendState::Down => "down",
    }
}
