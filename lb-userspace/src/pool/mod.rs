//! Pools as they are now: the configuration, what the checks found, and what the operator said.
//!
//! [`BackendRegistry`] is the state machine; a [`PoolView`] is what it says of one pool, handed to all that
//! choose backends; [`SavedStates`] is what outlives the agent.

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

/// One pool at one moment: read-only, shared by all that choose backends.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// What the configuration says.
    pub pool: Arc<config::Pool>,
    /// The state of each backend, in the order of `pool.backends`.
    pub states: Vec<BackendState>,
    /// What the operator said of each, in the same order.
    pub overrides: Vec<AdminState>,
    /// When each came up, or came to the pool, while the agent ran, in the same order; `None`: it was
    /// there from the start.
    pub came_up: Vec<Option<SystemTime>>,
}

/// What becomes of new connections to a pool of which no backend is up.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AllDown {
    /// They go to the backends that the operator did not drain or take down.
    Trying,
    /// They are refused: by the configuration, or because the operator left no backend.
    Refusing,
}

impl PoolView {
    /// A pool with its backends in these states, of which the operator said nothing.
    #[must_use]
    pub fn new(pool: Arc<config::Pool>, states: Vec<BackendState>) -> Self {
        Self {
            overrides: vec![AdminState::Ready; states.len()],
            came_up: vec![None; states.len()],
            pool,
            states,
        }
    }

    /// What becomes of new connections where no backend is up; `None`: one is.
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

    /// The states by which new connections are given out, in the order of `pool.backends`: those
    /// of the backends, but up for those that are tried because no backend is.
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

/// Which backend is meant: its pool and its address. Both stay when a reload gives it another name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BackendKey {
    /// The pool it belongs to.
    pub pool: Name,
    /// Where it listens.
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

/// What the operator said about a backend; the stricter is the greater.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// The checks decide.
    #[default]
    Ready,
    /// No new connections; established ones go on.
    Drain,
    /// No traffic at all.
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

/// What checks and operator make of a backend together. A failed check takes a draining backend
/// down too: nobody is left to answer its established flows.
#[must_use]
pub fn combined_state(healthy: bool, order: AdminState) -> BackendState {
    match (healthy, order) {
        (false, _) | (_, AdminState::Down) => BackendState::Down,
        (true, AdminState::Drain) => BackendState::Draining,
        (true, AdminState::Ready) => BackendState::Up,
    }
}

/// The word for a state: in status, logs and metrics.
#[must_use]
pub fn state_name(state: BackendState) -> &'static str {
    match state {
        BackendState::Up => "up",
        BackendState::Draining => "draining",
        BackendState::Down => "down",
    }
}
