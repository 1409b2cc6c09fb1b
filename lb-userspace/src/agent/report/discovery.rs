//! The part of the status about pools that discover their backends.

use crate::{
    admin::{DiscoveryStatus, ExcludedStatus, Moment},
    discovery::PoolDiscovery,
};

/// Converts the state of a pool's discovery to its form in the status.
pub(super) fn status(pool: PoolDiscovery) -> DiscoveryStatus {
    let PoolDiscovery {
        source,
        state,
        excluded,
    } = pool;
    let excluded = excluded.into_iter().map(|one| ExcludedStatus {
        address: one.address,
        reason: one.reason.to_string(),
    });
    DiscoveryStatus {
        source,
        answered: state.answered.map(Moment),
        failing_since: state.failing_since.map(Moment),
        error: state.error,
        excluded: excluded.collect(),
    }
}
