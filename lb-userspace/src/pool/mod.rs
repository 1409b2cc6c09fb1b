//! Pools as they are now: the configuration, what the checks found, and what the operator said.

use std::sync::Arc;

use lb_common::backend::BackendState;

use crate::config;

/// One pool at one moment: read-only, shared by all that choose backends.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolView {
    /// What the configuration says.
    pub pool: Arc<config::Pool>,
    /// The state of each backend, in the order of `pool.backends`.
    pub states: Vec<BackendState>,
}
