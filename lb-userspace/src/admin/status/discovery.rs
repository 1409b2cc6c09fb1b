//! The part of the status about pools that discover their backends.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Moment;

/// The state of the discovery of a pool's backends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct DiscoveryStatus {
    /// The source of the backends, such as `DNS name web.internal`.
    pub source: String,
    /// When the source last answered with backends; `null` if it has not since the agent started or
    /// the source was configured.
    pub answered: Option<Moment>,
    /// Since when the source has failed or answered without backends; `null` if the last query
    /// found backends, or none was made.
    pub failing_since: Option<Moment>,
    /// Why the last query of the source failed or found no backends; `null` otherwise.
    pub error: Option<String>,
    /// The discovered backends that cannot be used.
    pub excluded: Vec<ExcludedStatus>,
}

/// A discovered backend that cannot be used.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ExcludedStatus {
    /// The address and port of the backend.
    pub address: SocketAddr,
    /// Why it cannot be used: the end of a sentence that begins with the backend.
    pub reason: String,
}
