//! The state of pools: configuration, results of health checks, and operator overrides.
//!
//! [`BackendRegistry`] is the state machine; a [`PoolView`] is its snapshot of one pool, for all
//! that choose backends; [`SavedStates`] outlive the agent.

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

/// A read-only snapshot of a pool, shared by all that choose backends.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// The configuration of the pool.
    pub pool: Arc<config::Pool>,
    /// The state of each backend, in the order of `pool.backends`.
    pub states: Vec<BackendState>,
    /// The operator override of each backend, in the same order.
    pub overrides: Vec<AdminState>,
    /// When each backend came up, or was added, while the agent was running, in the same order;
    /// `None` for one that was up at the start.
    pub came_up: Vec<Option<SystemTime>>,
}

/// What happens to new connections to a pool without a backend that is up.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AllDown {
    /// They go to the backends without an operator override.
    Trying,
    /// They are refused, by the configuration or because all backends have an operator override.
    Refusing,
}

impl PoolView {
    /// A pool with its backends in these states, without overrides.
    #[must_use]
    pub fn new(pool: Arc<config::Pool>, states: Vec<BackendState>) -> Self {
        Self {
            overrides: vec![AdminState::Ready; states.len()],
            came_up: vec![None; states.len()],
            pool,
            states,
        }
    }

    /// Returns what happens to new connections while no backend is up; `None` if one is up.
    #[must_use]
    pub fn all_down(&self) -> Option<AllDown> {
        if self.states.contains(&BackendState::Up) {
            return None;
        }
        let tries = self.pool.when_all_down == WhenAllDown::TryAll;
        Some(if tries && self.overrides.contains(&AdminState::Ready) {
            AllDown::Trying
        } else {
            AllDown::Refusing
        })
    }

    /// The effective states for new connections, in the order of `pool.backends`: the states of the
    /// backends, but up for those that are tried because no backend is up.
    #[must_use]
    pub fn taken_states(&self) -> Vec<BackendState> {
        if self.all_down() != Some(AllDown::Trying) {
            return self.states.clone();
        }
        let backends = self.states.iter().zip(&self.overrides);
        let taken = backends.map(|(state, order)| match order {
            AdminState::Ready => BackendState::Up,
            AdminState::Drain | AdminState::Down => *state,
        });
        taken.collect()
    }
}

/// Identity of a backend: its pool and address. They do not change when a reload renames the
/// backend.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BackendKey {
    /// Name of the pool.
    pub pool: Name,
    /// Address and port of the backend.
    pub address: SocketAddr,
}

impl BackendKey {
    /// The key of a backend of this pool.
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

/// The operator override of a backend; a stricter one is greater.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// No override: health checks decide.
    #[default]
    Ready,
    /// The backend gets no new connections; established ones continue.
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

/// Combines health and operator override. A failed check takes a draining backend down, too: it can
/// no longer serve its established connections.
#[must_use]
pub fn combined_state(healthy: bool, order: AdminState) -> BackendState {
    match (healthy, order) {
        (false, _) | (_, AdminState::Down) => BackendState::Down,
        (true, AdminState::Drain) => BackendState::Draining,
        (true, AdminState::Ready) => BackendState::Up,
    }
}

/// Returns the name of a state in status, logs and metrics.
#[must_use]
pub fn state_name(state: BackendState) -> &'static str {
    match state {
        BackendState::Up => "up",
        BackendState::Draining => "draining",
        BackendState::Down => "down",
    }
}
